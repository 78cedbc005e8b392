"""Targets that another service knows: asked over HTTP, and believed only in the one shape that an answer has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from licet.errors import CatalogInvalid
from licet.gate.http_resolver import LIMIT_BYTES
from licet.gate.results import Denied, Permitted, Proposed
from licet.testing import in_memory_gate

GOOD = b'{"tenant": "acme", "attributes": {"vip": false}}'
POLICIES = '@id("all")\npermit (principal, action, resource) when { resource.tenant == principal.tenant && !resource.vip };\n'


class Service:
    """A service on this machine: answers with `status`, `headers` and `body`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, GOOD, dict[str, str]()
        self.pause_s = 0.0
        self.asked: list[tuple[str, str | None]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append((self.path, self.headers["X-Token"]))
                time.sleep(service.pause_s)
                self.send_response(service.status)
                for name, value in {"Content-Length": str(len(service.body)), **service.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(service.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    yield found
    found.close()


def config(url: str, more: str = "", limits: str = "resolver_timeout_s = 5.0") -> str:
    return f"""
environment = "production"
[tenants.acme]
[services.importer]
tenants = ["acme"]
[limits]
{limits}
[resources.Customer]
attributes = {{vip = "boolean"}}
url = "{url}"
{more}
[tools."crm.note"]
access = "write"
targets = "Customer::{{customer_id}}"
input = {{customer_id = "string"}}
"""


@contextmanager
def asking(text: str) -> Iterator[Callable[..., Proposed]]:
    with in_memory_gate(text, POLICIES) as gate:

        def ask(customer: str = "C-1") -> Proposed:
            with gate.acting(service="importer"):
                return gate.propose("crm.note", {"customer_id": customer})

        yield ask


def test_what_the_service_knows_decides(service: Service) -> None:
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        assert isinstance(ask("C-1"), Permitted)
        service.body = b'{"tenant": "acme", "environment": "production", "attributes": {"vip": true}}'
        denied = ask("C-1")
        assert isinstance(denied, Denied)
        assert denied.decision.code == "no_permit"
    assert [path for path, _ in service.asked] == ["/customers/C-1", "/customers/C-1"]


@pytest.mark.parametrize("answer", [(404, b""), (200, b'{"tenant": "globex", "attributes": {"vip": false}}')], ids=["missing", "foreign"])
def test_what_is_missing_and_what_is_another_tenants_answer_alike(service: Service, answer: tuple[int, bytes]) -> None:
    service.status, service.body = answer
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        denied = ask("C-9")
    assert isinstance(denied, Denied)
    assert (denied.decision.code, denied.decision.message) == ("target_not_found", 'tenant `acme` has no Customer::"C-9"')


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, GOOD, "it answered with status 500"),
        (201, GOOD, "it answered with status 201"),
        (410, b"", "it answered with status 410"),
        (200, b"", "its answer is not strict JSON"),
        (200, b'{"tenant": "acme", "tenant": "globex"}', "its answer is not strict JSON"),
        (200, b'["acme"]', "no object of `tenant`, `environment` and `attributes`"),
        (200, b'{"tenant": "acme", "vip": false}', "no object of `tenant`, `environment` and `attributes`"),
        (200, b'{"attributes": {"vip": false}}', "it returned no `tenant`"),
        (200, b'{"tenant": "acme", "attributes": []}', "it returned `attributes` that are no object"),
        (200, b'{"tenant": "acme", "attributes": {"vip": "no"}}', "it returned a wrong attribute"),
        (200, b'{"tenant": "acme", "attributes": {}}', "it returned a wrong attribute"),
        (200, b'{"tenant": "acme", "environment": 1, "attributes": {"vip": false}}', "an `environment` that is not text"),
        (200, b'{"tenant": "' + b"a" * LIMIT_BYTES + b'"}', "its answer is not whole, or too long"),
    ],
    ids=["500", "201", "410", "empty", "twice", "list", "unknown", "no tenant", "list", "type", "missing", "environment", "long"],
)
def test_any_other_answer_is_a_denial(service: Service, status: int, body: bytes, message: str) -> None:
    service.status, service.body = status, body
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        denied = ask()
    assert isinstance(denied, Denied)
    assert denied.decision.code == "target_unresolvable"
    assert message in denied.decision.message
    assert "globex" not in denied.decision.message


def test_an_answer_that_is_cut_is_a_denial(service: Service) -> None:
    service.headers = {"Content-Length": str(len(GOOD) + 10)}
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        denied = ask()
    assert isinstance(denied, Denied)
    assert "its answer is not whole" in denied.decision.message


def test_a_redirect_is_not_followed(service: Service) -> None:
    service.status, service.headers = 302, {"Location": f"{service.url}/elsewhere"}
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        denied = ask()
    assert isinstance(denied, Denied)
    assert "it answered with status 302" in denied.decision.message
    assert len(service.asked) == 1


def test_a_service_that_is_slow_or_gone_is_a_denial(service: Service) -> None:
    service.pause_s = 1.0
    with asking(config(f"{service.url}/customers/{{id}}", limits="resolver_timeout_s = 0.1")) as ask:
        slow = ask()
    service.close()
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        gone = ask()
    for denied in (slow, gone):
        assert isinstance(denied, Denied)
        assert denied.decision.code == "target_unresolvable"
    assert isinstance(gone, Denied)
    assert "it cannot be reached" in gone.decision.message


@pytest.mark.parametrize(
    ("id_", "path"),
    [
        ("a/../b", "/customers/a%2F..%2Fb"),
        ("x?y=1#z", "/customers/x%3Fy%3D1%23z"),
        ("%2e%2e", "/customers/%252e%252e"),
        ("é ", "/customers/%C3%A9%20"),
        ("a\r\nX-Token: b", "/customers/a%0D%0AX-Token%3A%20b"),
    ],
    ids=["slashes", "query", "quoted", "unicode", "header"],
)
def test_an_id_is_one_segment_whatever_it_holds(service: Service, id_: str, path: str) -> None:
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        ask(id_)
    assert [asked for asked, _ in service.asked] in ([path], [])


@pytest.mark.parametrize("id_", [".", "..", "..."])
def test_an_id_that_a_server_reads_as_a_folder_is_not_asked_about(service: Service, id_: str) -> None:
    with asking(config(f"{service.url}/customers/{{id}}")) as ask:
        assert isinstance(ask(id_), Denied)
    assert service.asked == []


def test_a_header_comes_from_the_environment_or_a_file_and_is_read_each_time(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_TOKEN", "first")
    with asking(config(f"{service.url}/c?id={{id}}", 'headers = {X-Token = "env:CRM_TOKEN"}')) as ask:
        ask()
        monkeypatch.setenv("CRM_TOKEN", "second")
        ask()
        monkeypatch.delenv("CRM_TOKEN")
        denied = ask()
    assert isinstance(denied, Denied)
    assert denied.decision.code == "target_unresolvable"
    (tmp_path / "token").write_text("third\n")
    with asking(config(f"{service.url}/c?id={{id}}", f'headers = {{X-Token = "file:{tmp_path}/token"}}')) as ask:
        ask()
    assert service.asked == [("/c?id=C-1", "first"), ("/c?id=C-1", "second"), ("/c?id=C-1", "third")]


@pytest.mark.parametrize(
    ("url", "more", "message"),
    [
        ("http://crm.internal/{id}", "", "is on another machine and not https"),
        ("ftp://127.0.0.1/{id}", "", "it begins with https://"),
        ("https://user:secret@crm.internal/{id}", "", "it has no password or fragment"),
        ("https://crm.internal/customers", "", "`url` has `{id}` once"),
        ("https://crm.internal/{id}/{id}", "", "`url` has `{id}` once"),
        ("https://{id}.internal/customers", "", "`url` has `{id}` once"),
        ("https://crm.internal/{id}", 'tenant = "caller"', "its tenant is not its caller's"),
        ("https://crm.internal/{id}", 'headers = {Authorization = "Bearer s3cr3t"}', "a header says where its value comes from"),
    ],
    ids=["http", "scheme", "password", "no id", "two ids", "host", "caller", "secret"],
)
def test_an_address_that_could_lead_elsewhere_is_refused_at_the_start(url: str, more: str, message: str) -> None:
    with pytest.raises(CatalogInvalid, match="resource `Customer`: ") as refused, in_memory_gate(config(url, more), POLICIES):
        pytest.fail("it must not open")
    assert message in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_a_function_does_not_take_the_place_of_an_address(service: Service) -> None:
    with in_memory_gate(config(f"{service.url}/{{id}}"), POLICIES) as gate:

        def customer(identifier: str) -> None:
            """Nothing."""

        with pytest.raises(CatalogInvalid):
            gate.resource("Customer")(customer)

"""Text that is code to a database, a log, a header or a search, in every parameter and every member of every body, on both databases.

Nothing answers that something went wrong here, nothing is found by it, and the log is whole afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from licet.config.server import ServerSettings
from licet.policy.own import default_text
from licet.server.api import endpoints
from licet.server.endpoint import Endpoint
from tests.attacks.test_on_tenants import MORE_BODIES
from tests.gate.proof import assert_whole
from tests.gate.remoting import REMOTE_CONFIG, REMOTE_POLICIES
from tests.server.test_permissions import BODIES, GIVEN
from tests.server.world import ServerWorld
from tests.world import world_on

pytestmark = pytest.mark.heavy

SETTINGS = ServerSettings(requests_per_minute=1_000_000, refusals_per_minute=1_000_000)
TEXTS = (
    "' OR 1=1 --",
    "'; DROP TABLE records; --",
    "%' OR '1'='1",
    "$1",
    "%s{0}{{x}}",
    "\\",
    '"',
    '" OR "a" NEAR(b *',
    "*",
    "text: -a ^b",
    "a' || (SELECT content FROM credentials) || '",
    "E'\\x00'",
    "a\r\nSet-Cookie: b=1",
    "\x1b[2J\x07",
    "\u202eabc\u2028\ufeff",
    "\U0001d4b3",
    "\0",
    "../../etc/passwd",
    "Customer/' OR 1=1",
    "-1",
    "99999999999999999999999999",
    "1e309",
    "NaN",
    "x" * 3_000,
)
QUESTION = {
    "subject": {"type": "User", "id": "alice", "properties": {"a": "b"}},
    "action": {"name": "crm.lookup"},
    "resource": {"type": "Customer", "id": "C-1"},
    "context": {"tenant": "acme"},
}


def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerWorld]:
    folder = Path(tmp_path_factory.mktemp("injected"))
    (folder / "policies").mkdir()
    (folder / "policies" / "licet.cedar").write_text(default_text())
    store = ""
    if request.param == "postgres":
        store = f'store = "{request.getfixturevalue("postgres_server").make_database()}"\n'
    with world_on(folder, store + REMOTE_CONFIG, REMOTE_POLICIES) as inner:
        made = ServerWorld(inner, endpoints(), SETTINGS)
        try:
            inner.adjust(2_500)
            inner.held()
            with inner.gate.acting(tenant="globex", agent="free-bot", user="gina"):
                inner.gate.call("billing.adjust", {"customer_id": "G-1", "amount_cents": 1})
            inner.ran.clear()
            yield made
            assert inner.ran == []
            assert_whole(inner.gate)
        finally:
            made.close()


served = pytest.fixture(scope="module", params=["sqlite", "postgres"], name="served")(there)
clean = pytest.fixture(scope="module", params=["sqlite", "postgres"], name="clean")(there)  # nobody has written such a text into it


def bodies(body: Any, text: str) -> Iterator[Any]:
    """The body with this text in the place of each of its texts and names."""
    plain = json.dumps(body)
    for at in (match.span() for match in re.finditer(r'"[^"]*"', plain)):
        yield json.loads(plain[: at[0]] + json.dumps(text) + plain[at[1] :])


def asked(endpoint: Endpoint, text: str) -> Iterator[tuple[str, Any]]:
    """Paths and bodies with this text in each place in turn."""
    names = endpoint.params.__struct_fields__ if endpoint.params is not None else ()
    given = GIVEN | {"tile": "0/000.p/1"}
    body = BODIES.get(endpoint.operation, MORE_BODIES.get(endpoint.operation))
    if body is None and endpoint.takes_raw:
        body = {"evaluations": [QUESTION]} if "evaluations" in endpoint.path else QUESTION

    def path(changed: str | None) -> str:
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: quote(text, safe="") if match[1] == changed else given[match[1]], endpoint.path)

    for name in names:
        if name in endpoint.path_names:
            yield path(name), body
        else:
            yield f"{path(None)}?{name}={quote(text)}", body
            yield f"{path(None)}?{quote(text)}={name}", body
    for changed in () if body is None else bodies(body, text):
        yield path(None), changed


@pytest.mark.parametrize("endpoint", endpoints(), ids=[endpoint.operation for endpoint in endpoints()])
@pytest.mark.parametrize("who", ["auditor", "admin-acme", "agent", "lena"])
def test_text_that_is_code_somewhere_is_text(served: ServerWorld, endpoint: Endpoint, who: str) -> None:
    for text in TEXTS:
        for path, body in asked(endpoint, text):
            reply = served.request(endpoint.method, path, who, body=body)
            assert reply.status < 500, (path, body, reply.content)
            for name, value in reply.headers.items():
                assert "\n" not in name + value, (path, reply.headers)
            if reply.status < 300:
                assert not {b"G-1", b"gina", b"globex"} & set(re.findall(rb"[A-Za-z0-9-]+", reply.content)), (path, reply.content)


@pytest.mark.parametrize("name", ["actor", "agent", "service", "user", "session", "tool", "target", "policy", "workflow", "trace", "voter"])
def test_nothing_is_found_by_what_nobody_is_called(clean: ServerWorld, name: str) -> None:
    for text in TEXTS[:13]:
        reply = clean.get(f"/api/v1/records?{name}={quote(text)}", "admin")
        assert reply.status in {200, 400}
        assert reply.status == 400 or reply.json["records"] == [], text

"""What proves the gateway to an upstream is its own, per tenant, read again where it is refused, and shown to nobody else."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from licet.config.upstreams import CredentialSettings, UpstreamSettings
from licet.gateway.connection import NotSent
from licet.gateway.upstreams.credentials import AGAIN_S, Credentials, Shown

T = TypeVar("T")
URL = "https://crm.example.com/mcp"


class Hands:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def of(tmp_path: Path, environ: dict[str, str] | None = None, clock: Hands | None = None, **settings: Any) -> Credentials:
    made = UpstreamSettings(**({"url": URL} | settings))
    return Credentials(made, folder=tmp_path, environ=environ or {}, clock=clock or Hands())


def run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    return asyncio.run(main())


def counting(tmp_path: Path, then: str = "") -> str:
    """A command that prints `token-1`, `token-2`, and so on."""
    counted = tmp_path / "count"
    code = f"import pathlib;p=pathlib.Path({str(counted)!r});n=len(p.read_text())+1 if p.exists() else 1;p.write_text('x'*n);print(f'token-{{n}}'){then}"
    return f"command:{sys.executable} -c {shlex.quote(code)}"


def private_file(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_values_come_from_the_environment_a_file_and_a_command(tmp_path: Path) -> None:
    private_file(tmp_path / "secret", "from-file\n")
    headers = {"authorization": "env:TOKEN", "x-key": "file:secret", "x-other": counting(tmp_path)}
    credentials = of(tmp_path, {"TOKEN": "Bearer from-env"}, headers=headers)
    shown = run(credentials.headers("acme"))
    assert shown.headers == {"authorization": "Bearer from-env", "x-key": "from-file", "x-other": "token-1"}


def test_a_tenants_own_headers_stand_in_place_of_the_same_names_whatever_their_case(tmp_path: Path) -> None:
    environ = {"A": "general", "B": "own", "C": "also general"}
    tenants = {"acme": CredentialSettings(headers={"Authorization": "env:B"})}
    credentials = of(tmp_path, environ, headers={"authorization": "env:A", "x-key": "env:C"}, tenants=tenants)
    assert run(credentials.headers("acme")).headers == {"x-key": "also general", "Authorization": "own"}
    assert run(credentials.headers("globex")).headers == {"authorization": "general", "x-key": "also general"}
    assert (credentials.whose("acme"), credentials.whose("globex"), credentials.whose(None)) == ("acme", None, None)


def test_a_process_gets_its_tenants_variables_as_they_are_when_it_starts(tmp_path: Path) -> None:
    environ = {"A": "general", "B": "own"}
    tenants = {"acme": CredentialSettings(env={"TOKEN": "env:B"})}
    credentials = of(tmp_path, environ, url=None, command=("server",), env={"TOKEN": "env:A", "MODE": "env:A"}, tenants=tenants)
    assert run(credentials.environment("acme")) == {"TOKEN": "own", "MODE": "general"}
    environ["B"] = "changed"
    assert run(credentials.environment("acme")) == {"TOKEN": "changed", "MODE": "general"}
    assert run(credentials.environment(None)) == {"TOKEN": "general", "MODE": "general"}


def test_what_was_read_is_kept_until_it_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        credentials = of(tmp_path, headers={"authorization": counting(tmp_path)})
        first = await credentials.headers("acme")
        assert await credentials.headers("acme") is first
        renewed = await credentials.renewed("acme", first)
        assert renewed == Shown({"authorization": "token-2"}, 1)
        assert await credentials.headers("acme") is renewed

    asyncio.run(main())


def test_all_who_met_one_refusal_are_given_one_new_credential(tmp_path: Path) -> None:
    async def main() -> None:
        credentials = of(tmp_path, headers={"authorization": counting(tmp_path)})
        first = await credentials.headers("acme")
        found = await asyncio.gather(*(credentials.renewed("acme", first) for _ in range(20)))
        assert found == [Shown({"authorization": "token-2"}, 1)] * 20

    asyncio.run(main())


def test_an_upstream_that_refuses_everything_makes_no_command_run_for_each_call(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Hands()
        credentials = of(tmp_path, clock=clock, headers={"authorization": counting(tmp_path)})
        shown = await credentials.renewed("acme", await credentials.headers("acme"))
        assert shown is not None
        assert await credentials.renewed("acme", shown) is None
        clock.now += AGAIN_S
        assert await credentials.renewed("acme", shown) == Shown({"authorization": "token-3"}, 2)

    asyncio.run(main())


def test_the_same_value_again_is_nothing_newer(tmp_path: Path) -> None:
    async def main() -> None:
        credentials = of(tmp_path, {"TOKEN": "same"}, headers={"authorization": "env:TOKEN"})
        assert await credentials.renewed("acme", await credentials.headers("acme")) is None

    asyncio.run(main())


def test_without_headers_there_is_nothing_to_renew(tmp_path: Path) -> None:
    async def main() -> None:
        credentials = of(tmp_path)
        assert await credentials.renewed("acme", await credentials.headers("acme")) is None

    asyncio.run(main())


@pytest.mark.parametrize("value", ["a\nx-admin: 1", "a\rb", "a\x00b", "grün", "", "   "])
def test_what_cannot_be_a_header_goes_into_none(tmp_path: Path, value: str) -> None:
    with pytest.raises(NotSent) as caught:
        run(of(tmp_path, {"TOKEN": value}, headers={"authorization": "env:TOKEN"}).headers("acme"))
    said = "is empty" if not value.strip() else "has characters that cannot be sent"
    assert str(caught.value) == f"the upstream's credential at `env:TOKEN` {said}"
    assert (caught.value.status, caught.value.code) == ("not_executed", "upstream_unavailable")


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match=r"^the environment variable `TOKEN`, which should hold the upstream's credential, is not set$"):
        run(of(tmp_path, headers={"authorization": "env:TOKEN"}).headers("acme"))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    private_file(tmp_path / "secret", "s3cret", 0o640)
    with pytest.raises(NotSent, match=r"can be read by others \(mode 640\); run `chmod 600") as caught:
        run(of(tmp_path, headers={"authorization": "file:secret"}).headers("acme"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("content", "said"), [(None, "no such file or directory"), (b"\xff\xfe", "it is no text")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
        (tmp_path / "secret").chmod(0o600)
    with pytest.raises(NotSent, match=f"{said}$"):
        run(of(tmp_path, headers={"authorization": "file:secret"}).headers("acme"))


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    private_file(tmp_path / "secret", "x" * 20_000)
    with pytest.raises(NotSent, match=r"is longer than 16384 bytes$"):
        run(of(tmp_path, headers={"authorization": "file:secret"}).headers("acme"))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("{python} -c 'import sys; print(\"s3cret\"); sys.exit(3)'", "ended with exit code 3"),
        ("/nowhere/at/all --token s3cret", "failed (FileNotFoundError)"),
        ("'unclosed s3cret", "failed (ValueError)"),
        ("{python} -c 'print(\"s3cret\" * 9999)'", "printed more than 16384 bytes"),
    ],
)
def test_a_command_that_fails_says_so_and_nothing_secret(tmp_path: Path, command: str, said: str) -> None:
    source = "command:" + command.format(python=sys.executable)
    with pytest.raises(NotSent) as caught:
        run(of(tmp_path, headers={"authorization": source}).headers("acme"))
    assert str(caught.value).endswith(said)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_failure_is_kept_for_a_while_and_no_longer(tmp_path: Path) -> None:
    async def main() -> None:
        clock, environ = Hands(), {"OTHER": "x"}
        credentials = of(tmp_path, environ, clock, headers={"authorization": "env:TOKEN"})
        with pytest.raises(NotSent) as first:
            await credentials.headers("acme")
        environ["TOKEN"] = "there"
        with pytest.raises(NotSent, match=f"^{re.escape(str(first.value))}$"):
            await credentials.headers("acme")
        clock.now += AGAIN_S
        assert (await credentials.headers("acme")).headers == {"authorization": "there"}

    asyncio.run(main())


def test_a_command_that_fails_is_run_once_for_all_who_wait(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Hands()
        credentials = of(tmp_path, clock=clock, headers={"authorization": counting(tmp_path, ";raise SystemExit(1)")})
        found = await asyncio.gather(*(credentials.headers(tenant) for tenant in ("acme", "globex") * 5), return_exceptions=True)
        assert {(type(one), str(one).partition("ended")[2]) for one in found} == {(NotSent, " with exit code 1")}
        assert (tmp_path / "count").read_text() == "x"
        clock.now += AGAIN_S
        with pytest.raises(NotSent):
            await credentials.headers("acme")
        assert (tmp_path / "count").read_text() == "xx"

    asyncio.run(main())


def test_a_command_that_fails_is_not_run_for_each_process_that_should_start(tmp_path: Path) -> None:
    async def main() -> None:
        clock = Hands()
        source = counting(tmp_path, ";raise SystemExit(1)")
        credentials = of(tmp_path, clock=clock, url=None, command=("server",), env={"TOKEN": source})
        for _ in range(3):
            with pytest.raises(NotSent, match=r"ended with exit code 1$"):
                await credentials.environment("acme")
        assert (tmp_path / "count").read_text() == "x"

    asyncio.run(main())


def test_a_credential_that_cannot_be_renewed_is_asked_for_once_by_all_who_met_the_refusal(tmp_path: Path) -> None:
    async def main() -> None:
        credentials = of(tmp_path, headers={"authorization": counting(tmp_path, ";raise SystemExit(n > 1)")})
        first = await credentials.headers("acme")
        found = await asyncio.gather(*(credentials.renewed("acme", first) for _ in range(5)), return_exceptions=True)
        assert [type(one) for one in found] == [NotSent] * 5
        assert (tmp_path / "count").read_text() == "xx"

    asyncio.run(main())


def test_what_is_shown_does_not_show_itself(tmp_path: Path) -> None:
    assert repr(Shown({"authorization": "Bearer s3cret"}, 0)) == "Shown(['authorization'], generation=0)"

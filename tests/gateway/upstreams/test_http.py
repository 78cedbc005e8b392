"""What an upstream over HTTP is shown: what the protocol asks for, the gateway's own credentials, and nothing of the client's."""

from __future__ import annotations

import asyncio
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from licet.config.upstreams import CredentialSettings
from licet.gateway.connection import NotSent
from licet.model import JsonObject
from tests.gateway.upstreams.crew import call, said, voyage
from tests.gateway.upstreams.scripted import TEXT, Script, answering, connected, event, pool_at, result, serving, stream

LISTED: JsonObject = {
    "tools": [
        {
            "name": "query",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "region": {"type": "string", "x-mcp-header": "Region"},
                    "where": {"type": "object", "properties": {"shard": {"type": "integer", "x-mcp-header": "Shard"}}},
                    "dry": {"type": "boolean", "x-mcp-header": "Dry"},
                },
            },
        },
        {"name": "wrong", "inputSchema": {"type": "object", "properties": {"a": {"type": "number", "x-mcp-header": "A"}}}},
    ]
}


async def list_tools(request: web.Request, message: JsonObject) -> web.StreamResponse:
    return result(message, LISTED)


def secret(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def test_a_modern_request_says_in_its_headers_what_its_body_says() -> None:
    async def main() -> None:
        script = Script(tools__list=list_tools)
        async with connected(script) as connection:
            await connection.request("tools/list", {}, voyage(), timeout_s=30)
            await call(connection, "query", region="東京", where={"shard": 7}, dry=False)
            await connection.request("resources/read", {"uri": "file:///a b"}, voyage(), timeout_s=30)
        found = script.of("tools/call")[0].headers
        wanted = {
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "query",
            "mcp-param-region": "=?base64?5p2x5Lqs?=",
            "mcp-param-shard": "7",
            "mcp-param-dry": "false",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "accept-encoding": "identity",
            "host": f"127.0.0.1:{script.port}",
        }
        assert {name: value for name, value in found.items() if name in wanted} == wanted
        assert set(found) - set(wanted) == {"user-agent", "content-length"}
        assert script.of("resources/read")[0].headers["mcp-name"] == "file:///a b"
        assert script.of("server/discover")[0].headers["mcp-method"] == "server/discover"
        assert [one.verb for one in script.seen] == ["POST"] * 4

    asyncio.run(main())


def test_an_argument_that_is_missing_or_null_is_mirrored_into_nothing() -> None:
    async def main() -> None:
        script = Script(tools__list=list_tools)
        async with connected(script) as connection:
            await connection.request("tools/list", {}, voyage(), timeout_s=30)
            await call(connection, "query", region=None, where={})
        assert [name for name in script.of("tools/call")[0].headers if name.startswith("mcp-param")] == []

    asyncio.run(main())


def test_a_tool_whose_definition_mirrors_what_it_may_not_is_not_called() -> None:
    async def main() -> None:
        script = Script(tools__list=list_tools)
        async with connected(script) as connection:
            await connection.request("tools/list", {}, voyage(), timeout_s=30)
            with pytest.raises(NotSent, match=r"^the definition of `wrong` is not one that may be called over HTTP: `a` is mirrored"):
                await call(connection, "wrong", a=1.5)
        assert script.of("tools/call") == []

    asyncio.run(main())


def test_nothing_of_the_client_goes_on_but_what_is_named() -> None:
    headers = {
        "authorization": "Bearer of-the-client",
        "cookie": "a=b",
        "x-forwarded-for": "10.0.0.1",
        "x-request-id": "r-1",
        "x-tenant-hint": "evil\r\nx-admin: 1",
        "x-other": "not named",
        "mcp-param-region": "not verified",
        "mcp-session-id": "not yours",
        "host": "evil.example.com",
    }

    async def main() -> None:
        script = Script()
        async with connected(script, forward_headers=tuple(headers.keys() - {"x-other"})) as connection:
            await call(connection, "echo", on=voyage(headers=headers))
        found = script.of("tools/call")[0].headers
        assert {name: found[name] for name in headers if name in found} == {"x-request-id": "r-1", "host": f"127.0.0.1:{script.port}"}

    asyncio.run(main())


def test_a_header_that_is_named_cannot_stand_in_for_the_gateways_credential(tmp_path: Path) -> None:
    async def main() -> None:
        secret(tmp_path / "key", "of-the-gateway")
        script = Script()
        async with connected(script, tmp_path, headers={"X-Api-Key": "file:key"}, forward_headers=("x-api-key",)) as connection:
            await call(connection, "echo", on=voyage(headers={"x-api-key": "of-the-client"}))
        assert [one.headers["x-api-key"] for one in script.seen] == ["of-the-gateway"] * 2

    asyncio.run(main())


def test_each_tenant_is_shown_with_its_own_credential_over_sessions_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        secret(tmp_path / "general", "Bearer general")
        secret(tmp_path / "acme", "Bearer acme")
        tenants = {"acme": CredentialSettings(headers={"authorization": "file:acme"})}
        async with serving(Script()) as script:
            more: dict[str, Any] = {"headers": {"authorization": "file:general"}, "tenants": tenants, "share": "all"}
            async with pool_at(script.url, tmp_path, **more) as pool:
                for tenant in ("acme", "globex", "acme", "initech"):
                    on = voyage(tenant=tenant)
                    await call(await pool.connect("it", on), tenant, on=on)
            shown = [(one.headers["mcp-name"], one.headers["authorization"]) for one in script.of("tools/call")]
        assert shown == [
            ("acme", "Bearer acme"),
            ("globex", "Bearer general"),
            ("acme", "Bearer acme"),
            ("initech", "Bearer general"),
        ]

    asyncio.run(main())


def rotating(tmp_path: Path) -> str:
    counted = tmp_path / "count"
    code = f"import pathlib;p=pathlib.Path({str(counted)!r});n=len(p.read_text())+1 if p.exists() else 1;p.write_text('x'*n);print(f'Bearer {{n}}')"
    return f"command:{sys.executable} -c {shlex.quote(code)}"


def test_a_credential_that_is_refused_is_read_again_once_for_all_and_the_calls_are_made_once(tmp_path: Path) -> None:
    async def main() -> None:
        done: list[str] = []

        async def second_only(request: web.Request, message: JsonObject) -> web.StreamResponse:
            if request.headers["authorization"] != "Bearer 2":
                return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
            done.append(message["params"]["name"])
            return result(message, TEXT)

        script = Script(tools__call=second_only)
        async with connected(script, tmp_path, headers={"authorization": rotating(tmp_path)}) as connection:
            found = await asyncio.gather(*(call(connection, f"t{i}") for i in range(10)))
            assert [said(one) for one in found] == ["done"] * 10
        assert sorted(done) == sorted(f"t{i}" for i in range(10))
        assert {one.headers["authorization"] for one in script.of("tools/call")} == {"Bearer 1", "Bearer 2"}

    asyncio.run(main())


def test_a_credential_that_is_refused_again_ends_the_call_which_was_not_executed(tmp_path: Path) -> None:
    async def main() -> None:
        script = Script(tools__call=answering(401))
        async with connected(script, tmp_path, headers={"authorization": rotating(tmp_path)}) as connection:
            for _ in range(3):
                with pytest.raises(NotSent, match=r"^`it` refuses the gateway's credential \(HTTP status 401\); look at its `headers`$"):
                    await call(connection, "echo")
        assert len(script.of("tools/call")) == 4  # the first was repeated with what was read anew; then nothing newer was to be had

    asyncio.run(main())


def test_a_credential_that_cannot_be_had_sends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(Script()) as script:
            async with pool_at(script.url, tmp_path, headers={"authorization": "file:nowhere"}) as pool:
                with pytest.raises(NotSent, match=r"credential cannot be read from .*: no such file or directory$"):
                    await pool.connect("it", voyage())
            assert script.seen == []

    asyncio.run(main())


def test_no_cookie_is_kept() -> None:
    async def with_cookie(request: web.Request, message: JsonObject) -> web.StreamResponse:
        return result(message, TEXT, {"Set-Cookie": "session=1; Path=/"})

    async def main() -> None:
        script = Script(tools__call=with_cookie)
        async with connected(script) as connection:
            await call(connection, "echo")
            await call(connection, "echo")
        assert ["cookie" in one.headers for one in script.seen] == [False] * 3

    asyncio.run(main())


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(Script()) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{proxy.port}")
            async with connected(Script()) as connection:
                assert said(await call(connection, "echo")) == "done"
            assert proxy.seen == []

    asyncio.run(main())


def test_a_name_that_leads_to_this_machine_is_not_connected_to_unless_that_is_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        asked: list[str] = []

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        async with serving(Script()) as script:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
            url = f"http://crm.example.com:{script.port}/mcp"
            async with pool_at(url) as pool:
                with pytest.raises(NotSent, match=r"leads to `127\.0\.0\.1`, which is not public; set `private = true`"):
                    await pool.connect("it", voyage())
            assert (script.seen, asked) == ([], ["crm.example.com"])
            async with pool_at(url, private=True) as pool:
                assert said(await call(await pool.connect("it", voyage()), "echo")) == "done"
            assert script.seen[0].headers["host"] == f"crm.example.com:{script.port}"

    asyncio.run(main())


def test_an_upstream_that_is_known_by_a_forbidden_address_is_sent_nothing() -> None:
    async def main() -> None:
        async with pool_at("http://169.254.169.254/mcp", private=True) as pool:
            with pytest.raises(NotSent, match=r"where a cloud keeps the credentials of its machines"):
                await pool.connect("it", voyage())

    asyncio.run(main())


def test_a_subscription_lasts_and_tells_until_nobody_listens() -> None:
    async def main() -> None:
        ended, told = asyncio.Event(), asyncio.Event()
        heard: list[tuple[str, JsonObject]] = []

        async def listen(request: web.Request, message: JsonObject) -> web.StreamResponse:
            changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}
            response = await stream(request, b": here\n\n", event(changed))
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return response

        def hear(_: object, method: str, params: JsonObject) -> None:
            heard.append((method, params))
            told.set()

        async with serving(Script(subscriptions__listen=listen)) as script, pool_at(script.url) as pool:
            pool.listen(hear)
            connection = await pool.connect("it", voyage())
            waiting = asyncio.create_task(
                connection.request("subscriptions/listen", {"notifications": {}}, voyage(), timeout_s=float("inf"))
            )
            await told.wait()
            assert heard == [("notifications/tools/list_changed", {})]
            waiting.cancel()
            await ended.wait()
            assert said(await call(connection, "echo")) == "done"

    asyncio.run(main())

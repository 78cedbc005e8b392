"""A small shop whose tools every framework is given, and a gate that governs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from licet import Gate
from licet.testing import Read, in_memory_gate, records

TENANT = "acme"
CONFIG = """
environment = "production"
[tenants.acme]
[tenants.globex]
[agents.shop-bot]
tenants = ["acme"]
roles = ["support"]
[agents.other-bot]
tenants = ["acme"]
[users.alice]
tenants = ["acme"]
roles = ["support"]
[users.bob]
tenants = ["acme"]
roles = ["support"]
[users.lena]
tenants = ["acme"]
[groups]
leads = ["lena"]
[limits]
store_timeout_s = {store_timeout_s}
[approvals]
expires = "1h"

[tools.look]
access = "read"
[tools.look_again]
access = "read"
[tools.pay]
access = "write"
touches = ["money"]
input = {customer = "string", cents = "integer"}
[tools.note]
access = "write"
[tools.flaky]
access = "read"
[tools.broken]
access = "write"
[tools.slow]
access = "write"
[tools.ask_helper]
access = "write"
[tools.hand_over]
access = "write"
"""
POLICIES = """
@id("tenant-wall")
forbid (principal, action, resource) unless { resource.tenant == principal.tenant };

@id("support-works")
permit (principal in Role::"support", action, resource);

@id("pay-ceiling")
@reason("nobody pays more than $100 at once")
forbid (principal, action == Action::"pay", resource)
when { context.input.cents > 10000 };

@id("pay-needs-lead")
@require_approval("1 of Group::\\"leads\\"")
@reason("more than a dollar needs a lead")
forbid (principal, action == Action::"pay", resource)
when { context.input.cents > 100 };
"""


class Unreachable(Exception):
    """What `flaky` raises the first time, and `broken` always."""


class Shop:
    """The tools, as plain functions with types and docstrings. `ran` is what really happened, in order.

    With `file`, what happens is written there as well, so that it can be seen from other processes.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.ran: list[str] = []
        self.started = threading.Event()
        self.slow_s = 30.0
        self._file = file
        self._flaked = False

    def happened(self) -> list[str]:
        """Everything that happened, in whichever process."""
        return self._file.read_text().splitlines() if self._file is not None and self._file.exists() else self.ran

    def _happens(self, what: str) -> None:
        self.ran.append(what)
        if self._file is not None:
            with self._file.open("a") as out:
                out.write(what + "\n")

    def tools(self, *names: str) -> list[Callable[..., str]]:
        """The functions of these names."""
        return [getattr(self, f"make_{name}")() for name in names]

    def make_look(self) -> Callable[..., str]:
        def look(customer: str) -> str:
            """A customer's profile."""
            self._happens(f"look {customer}")
            return f"{customer} is a good customer"

        return look

    def make_look_again(self) -> Callable[..., str]:
        def look_again(customer: str, depth: int = 2) -> str:
            """A customer's history."""
            self._happens(f"look_again {customer} {depth}")
            return f"{customer} has {depth} orders"

        return look_again

    def make_pay(self) -> Callable[..., str]:
        def pay(customer: str, cents: int) -> str:
            """Pay a customer."""
            self._happens(f"pay {customer} {cents}")
            return f"paid {cents} to {customer}"

        return pay

    def make_note(self) -> Callable[..., str]:
        def note(text: str) -> str:
            """Write a note."""
            self._happens(f"note {text}")
            return f"noted {text}"

        return note

    def make_unknown(self) -> Callable[..., str]:
        def unknown(text: str) -> str:
            """Nobody has said what this can do."""
            self._happens(f"unknown {text}")
            return text

        return unknown

    def make_flaky(self) -> Callable[..., str]:
        def flaky(customer: str) -> str:
            """A profile from a service that fails at first."""
            self._happens(f"flaky {customer}")
            if not self._flaked:
                self._flaked = True
                raise Unreachable("try again")
            return f"{customer} at last"

        return flaky

    def make_broken(self) -> Callable[..., str]:
        def broken(text: str) -> str:
            """Does its work and fails then."""
            self._happens(f"broken {text}")
            raise Unreachable("it broke after it worked")

        return broken

    def make_slow(self) -> Callable[..., Any]:
        async def slow(text: str) -> str:
            """Takes its time."""
            import asyncio  # noqa: PLC0415

            self._happens(f"slow {text}")
            self.started.set()
            await asyncio.sleep(self.slow_s)
            self._happens(f"slow {text} done")
            return text

        return slow


@contextmanager
def gate_in_memory() -> Iterator[Gate]:
    """The gate of the shop, in memory."""
    with in_memory_gate(CONFIG.replace("{store_timeout_s}", "30.0"), POLICIES) as gate:
        yield gate


def write_gate(folder: Path, *, store_timeout_s: float = 30.0) -> Path:
    """The same as files, for gates of several processes; the path of its licet.toml."""
    (folder / "policies").mkdir()
    (folder / "policies" / "shop.cedar").write_text(POLICIES)
    file = folder / "licet.toml"
    file.write_text(CONFIG.replace("{store_timeout_s}", str(store_timeout_s)))
    return file


def kinds(gate: Gate, tool: str) -> list[str]:
    """The kinds of the records of a tool, oldest first."""
    return [read.kind for read in of_tool(gate, tool)]


def of_tool(gate: Gate, tool: str) -> list[Read]:
    """The records of a tool, oldest first."""
    return [read for read in records(gate, TENANT) if read.envelope.tool is not None and read.envelope.tool.name == tool]

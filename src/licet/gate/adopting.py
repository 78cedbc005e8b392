"""The half of the gate for agents' frameworks: their tools become known, and calls bring what runs them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any

from licet.catalog.adopted import AdoptedTool
from licet.catalog.declared import ToolSettings
from licet.gate.acting import Acting, ActingBlock, acting_for
from licet.gate.async_driver import AsyncDriver
from licet.gate.brought import Brought
from licet.gate.draft import Draft
from licet.gate.house import OpenHouse
from licet.gate.pipeline import ask
from licet.gate.registry import Registry
from licet.gate.results import Held, Result
from licet.model import Access, Touch


class Adopting:
    """What a gate offers to whoever brings tools of a framework."""

    _registry: Registry
    _lock: threading.RLock
    _token: object

    def classify(
        self,
        name: str,
        *,
        access: Access,
        touches: Iterable[Touch] = (),
        targets: str | Iterable[str] = (),
        timeout_s: float | None = None,
        keep_result: bool | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        """Say what a tool of an agent's framework can do, as `[tools.NAME]` of licet.toml does. Parameters as for `tool`.

        The framework says the rest: description and arguments. Raises `CatalogInvalid` where it was said otherwise before, or cannot be.
        """
        table = ToolSettings(
            access=access,
            touches=tuple(touches),
            targets=(targets,) if isinstance(targets, str) else tuple(targets),
            timeout_s=timeout_s,
            keep_result=keep_result,
            secrets=tuple(secrets),
        )
        with self._lock:
            self._registry.classify(name, table)

    def acting_now(self) -> Acting:
        """Who acts for this gate where this is called; nobody where no block is open."""
        return acting_for(self._token)

    def acting_in(self, block: ActingBlock) -> Acting:
        """Who acts for this gate in a block; nobody where another gate has given it."""
        return block.acting_at(self._token)

    def adopt(self, tools: Iterable[AdoptedTool]) -> None:
        """Make tools of a framework known. The same tool again changes nothing. Raises `CatalogInvalid`."""
        with self._lock:
            self._registry.adopt(tools)

    def is_adopted(self, name: str) -> bool:
        """Whether a framework's tool of this name is known, classified or not."""
        return self._registry.adoptions.find(name) is not None

    def call_brought(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        brought: Brought | None,
        *,
        idempotency_key: str | None,
        acting: Acting | None,
    ) -> Result:
        """As `call`, of a tool that `brought` runs; where it is None, of one that this gate has a function for."""
        return self._run(self._brought_draft(tool, arguments, brought, idempotency_key, acting))

    async def acall_brought(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        brought: Brought | None,
        *,
        idempotency_key: str | None,
        acting: Acting | None,
    ) -> Result:
        """As `call_brought`, on the running event loop."""
        return await self._arun(self._brought_draft(tool, arguments, brought, idempotency_key, acting))

    async def aask_brought(
        self,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        *,
        idempotency_key: str | None,
        acting: Acting | None,
    ) -> Held | None:
        """Ask people about a call that needs them, and do nothing else: `acall_brought` with the same arguments makes it.

        None where nobody is to be asked. For frameworks that must be told before a call whether it waits.
        """
        house = self._opened()
        draft = self._brought_draft(tool, arguments, None, idempotency_key, acting)
        return await AsyncDriver(house.services).run(ask(draft, house.house))

    def _opened(self) -> OpenHouse:
        raise NotImplementedError

    def _brought_draft(
        self, tool: str, arguments: Mapping[str, Any] | bytes | str, brought: Brought | None, key: str | None, acting: Acting | None
    ) -> Draft:
        with nullcontext() if acting is None else ActingBlock(self._token, acting):
            return self._draft(tool, arguments, key, None, brought=brought)

    def _draft(
        self,
        tool: str,
        unverified_arguments: Mapping[str, Any] | bytes | str,
        idempotency_key: str | None,
        reason: str | None,
        *,
        brought: Brought | None = None,
    ) -> Draft:
        raise NotImplementedError

    def _run(self, draft: Draft) -> Result:
        raise NotImplementedError

    async def _arun(self, draft: Draft) -> Result:
        raise NotImplementedError

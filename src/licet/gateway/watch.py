"""Whoever is at work for a peer that may leave, or whose credential may be withdrawn, while that takes long.

Most requests are answered before anybody needs to look: until `FIRST_S` have passed there is nothing but a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from licet.gateway.visit import Left, Visit

FIRST_S: Final = 0.05
"""A peer that went away earlier is found out then; nearly all calls have ended."""
LOOK_S: Final = 0.5
"""How often it is looked whether the credential still holds: a revocation counts within a second."""


class Withdrawn(Exception):
    """The client has cancelled its request, or ended its session. It is told nothing more of it."""


class Watch:
    """A block that can be stopped from outside: it is cancelled, and raises why (`reason`). Only one task runs in it.

    It is stopped when the peer leaves (`Left`, if `ends_with_peer`), when its credential does not hold any more (what `visit.look_again`
    raises), or by `stop`. `long_after` is called once when the block has lasted `long_s`.
    """

    def __init__(
        self, visit: Visit, *, ends_with_peer: bool, long_s: float | None = None, long_after: Callable[[], object] | None = None
    ) -> None:
        self._visit = visit
        self._ends_with_peer = ends_with_peer
        self._long_s = long_s
        self._long_after = long_after
        self._task: asyncio.Task[object] | None = None
        self.reason: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(FIRST_S, self._begin)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._task is not None
        assert self._timer is not None
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None  # how it ends refers to this, and would hold the request until the collector comes
        task, self._task = self._task, None
        if self.reason is not None and (kind is None or isinstance(error, Exception | asyncio.CancelledError)):
            # INVARIANT: nobody is answered who has left, was withdrawn or is not who they were, whatever the work has come to
            if task.uncancel() > 0 and kind is not None:
                return  # somebody else cancels the whole task too: that counts
            raise self.reason

    def stop(self, reason: Exception) -> None:
        """The block ends with this, if it has not ended."""
        if self._task is not None and self.reason is None:
            self.reason = reason
            self._task.cancel()

    def _begin(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        leaving = asyncio.ensure_future(self._visit.gone())
        began = asyncio.get_running_loop().time()
        try:
            while not leaving.done() or not self._ends_with_peer:
                if leaving.done():
                    await asyncio.sleep(LOOK_S)
                else:
                    await asyncio.wait({leaving}, timeout=LOOK_S)
                    if leaving.done() and self._ends_with_peer:
                        break
                await self._visit.look_again()
                self._tell_long(began)
            self.stop(Left())
        except Exception as error:  # noqa: BLE001 - whatever the server says of the credential is said in the block
            self.stop(error)
        finally:
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving

    def _tell_long(self, began: float) -> None:
        after = self._long_after
        if after is not None and self._long_s is not None and asyncio.get_running_loop().time() - began >= self._long_s:
            self._long_after = None
            after()

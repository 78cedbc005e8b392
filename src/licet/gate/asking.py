"""The half of the gate for whoever asks without calling: questions, and searches."""

from __future__ import annotations

from collections.abc import Sequence

from licet.gate.acting import acting_for
from licet.gate.async_driver import AsyncDriver
from licet.gate.evaluating import TOGETHER_LIMIT, Evaluated, StopAt, evaluate
from licet.gate.house import OpenHouse
from licet.gate.inquiry import Inquirer, Inquiry
from licet.gate.registry import Registry
from licet.gate.searching import PAGE_LIMIT, Found, Searching, Sought
from licet.gate.sync_driver import SyncDriver


class Asking:
    """What a gate offers to whoever asks without calling."""

    _token: object
    _registry: Registry

    def _opened(self) -> OpenHouse:
        raise NotImplementedError

    def evaluate(self, inquiry: Inquiry, *, inquirer: Inquirer | None = None) -> Evaluated:
        """May this subject do this action on this resource? Recorded before it is answered; executes and consumes nothing.

        `inquirer` is who asks; by default the program of the open `acting` block. A call that people must approve is a `hold`, approved or
        not. Raises `OperatorError` if the gate cannot be opened, `GateClosed` if it was closed.
        """
        return self.evaluate_all((inquiry,), inquirer=inquirer)[0]

    async def aevaluate(self, inquiry: Inquiry, *, inquirer: Inquirer | None = None) -> Evaluated:
        """As `evaluate`, on the running event loop."""
        return (await self.aevaluate_all((inquiry,), inquirer=inquirer))[0]

    def evaluate_all(
        self, inquiries: Sequence[Inquiry], *, inquirer: Inquirer | None = None, stop_at: StopAt = None
    ) -> tuple[Evaluated, ...]:
        """The answers to at most `TOGETHER_LIMIT` questions, in order, in one commit; the first that is `stop_at` is the last.

        Raises `ValueError` for more, and as `evaluate`.
        """
        house = self._opened()
        return SyncDriver(house.services, house.portal).run(
            evaluate(_bounded(inquiries), inquirer or self._inquirer(), house.house, stop_at)
        )

    async def aevaluate_all(
        self, inquiries: Sequence[Inquiry], *, inquirer: Inquirer | None = None, stop_at: StopAt = None
    ) -> tuple[Evaluated, ...]:
        """As `evaluate_all`, on the running event loop."""
        house = self._opened()
        return await AsyncDriver(house.services).run(evaluate(_bounded(inquiries), inquirer or self._inquirer(), house.house, stop_at))

    def search(
        self,
        sought: Sought,
        inquiry: Inquiry,
        *,
        inquirer: Inquirer | None = None,
        start: int = 0,
        limit: int = PAGE_LIMIT,
    ) -> Found:
        """One page of the subjects, resources or actions for which the question would be answered with a permission now.

        The id (of an action, the name) of the part that is sought is not read. At most `limit` results (100 at most), from candidate
        `start` on, as the page before has said.
        Raises as `Searching.find`.
        """
        house = self._opened()
        return Searching(house, self._registry.listers).find(sought, inquiry, inquirer or self._inquirer(), start=start, limit=limit)

    def _inquirer(self) -> Inquirer:
        return Inquirer(acting=acting_for(self._token))


def _bounded(inquiries: Sequence[Inquiry]) -> Sequence[Inquiry]:
    if len(inquiries) > TOGETHER_LIMIT:
        raise ValueError(f"at most {TOGETHER_LIMIT} questions are answered together, and here are {len(inquiries)}")
    return inquiries

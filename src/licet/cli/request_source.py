"""Where `licet approvals` gets requests from, and where votes go: the ledger at hand, or a server. What is printed is the same.

Rules:

1. Neither source decides: the desk does, here or behind the server's door.
2. At hand the voter is named with `--as`, since who can write the ledger can vote in any name; a server knows the voter by the credential.
3. What a vote is cast on is what was shown. Of a server's word for it (`binding`) nothing is believed: it is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from licet.approvals.viewed import Viewed
from licet.model import Receipt, RequestState

if TYPE_CHECKING:
    from licet.cli.approvals_feed import Feed
    from licet.cli.invocation import Invocation

Verb = Literal["approve", "reject", "take_back", "withdraw"]
Verdict = Literal["approve", "reject"]


class Page(Struct, frozen=True):
    """Requests, and what `--after` takes to list those behind them; None where there are none."""

    requests: tuple[Viewed, ...]
    after: str | None


class Done(Struct, frozen=True):
    """The receipt of what was done to a request, and the state of the request after it."""

    receipt: Receipt
    state: str


class CastOnPlan(Struct, frozen=True):
    """The steps of a plan that were decided, and the receipts of their votes."""

    decided: tuple[int, ...]
    receipts: tuple[Receipt, ...]


class Caster(Struct, frozen=True, kw_only=True):
    """Who casts votes here: the user in whose name, and who that is known by. `says` is that as the end of a sentence."""

    voter: str
    operating_user: str | None = None
    credential: str | None = None

    @property
    def says(self) -> str:
        """By what the voter was known."""
        return f"with credential {self.credential}" if self.credential else f"cast by operating user {self.operating_user}"


class Requests(Protocol):
    """Requests, read and decided. What cannot be found raises `Refusal`; what the desk refuses raises `VoteRefused`."""

    def page(self, *, tenant: str | None, states: tuple[RequestState, ...] | None, limit: int, after: str | None) -> Page:
        """A page of requests, what expires first first."""
        ...

    def get(self, request: str, *, viewer: str | None) -> Viewed:
        """One request, held against its records."""
        ...

    def find_steps(self, plan: str, *, viewer: str | None) -> tuple[Viewed, ...]:
        """The steps of a plan that people were asked about, in their order; none where it is no plan."""
        ...

    def viewer(self, named: str | None) -> str | None:
        """Who looks, if somebody is named."""
        ...

    def caster(self, named: str | None) -> Caster:
        """Who votes. Raises `Refusal` where that is nobody, or somebody else than was named."""
        ...

    def decide(self, shown: Viewed, verb: Verb, caster: Caster, comment: str | None) -> Done:
        """Do it on the request that was shown. Raises `Refusal` where it is not the same any more."""
        ...

    def decide_plan(
        self, steps: Sequence[Viewed], chosen: tuple[int, ...], verdict: Verdict, caster: Caster, comment: str | None
    ) -> CastOnPlan:
        """Vote on these steps: on all of them, or on none."""
        ...

    def feed(self, *, tenant: str | None, viewer: str | None) -> Feed:
        """What waits, looked at again and again."""
        ...


@contextmanager
def requests_of(invocation: Invocation) -> Iterator[Requests]:
    """The requests of the server that was named, or else of the ledger at hand."""
    if invocation.server is not None:
        from licet.cli.request_source_remote import RemoteRequests  # noqa: PLC0415 - one of the two is loaded

        yield RemoteRequests(invocation)
        return
    from licet.cli.request_source_local import local_requests  # noqa: PLC0415 - as above

    with local_requests(invocation) as found:
        yield found

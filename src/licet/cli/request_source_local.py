"""Requests of the ledger at hand: read-only for what is shown, opened for writing for the moment of a vote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from licet.approvals.attest import attest_rows
from licet.cli.approvals_feed import LocalFeed
from licet.cli.approvals_vote import operating_user
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import desk, load_settings, reading, utc_now
from licet.cli.request_source import Caster, CastOnPlan, Done, Page, Verb, Verdict
from licet.cli.requests import Viewed, get_request, is_same, stand
from licet.config import Settings
from licet.identity.directory import Directory
from licet.model import PlanId, RequestId, RequestState
from licet.store.contract import Store


@contextmanager
def local_requests(invocation: Invocation) -> Iterator[LocalRequests]:
    """The requests of the ledger that licet.toml names. Raises `StoreError`; `NotAStore` where there is none."""
    settings = load_settings(invocation)
    with reading(settings) as store:
        yield LocalRequests(invocation, settings, store)


class LocalRequests:
    """The requests of a store, under the directory of licet.toml."""

    def __init__(self, invocation: Invocation, settings: Settings, store: Store) -> None:
        self._invocation = invocation
        self._settings = settings
        self._store = store

    def page(self, *, tenant: str | None, states: tuple[RequestState, ...] | None, limit: int, after: str | None) -> Page:
        """A page of requests, what expires first first."""
        directory, now = Directory.from_settings(self._settings), utc_now()
        found = self._store.dossiers(states=states, tenants=None if tenant is None else [tenant], limit=limit + 1, after=self._place(after))
        shown = tuple([stand(one.request, one.votes, directory, now) for one in found[:limit]])
        return Page(shown, shown[-1].request.id if len(found) > limit else None)

    def get(self, request: str, *, viewer: str | None) -> Viewed:
        """One request, held against its records. Raises `Refusal`, `IntegrityBroken`."""
        asked, votes = get_request(self._store, request)
        return stand(asked, votes, Directory.from_settings(self._settings), utc_now(), viewer=viewer)

    def find_steps(self, plan: str, *, viewer: str | None) -> tuple[Viewed, ...]:
        """The steps of a plan that people were asked about, in their order; of one that was held anew, the last."""
        directory, now = Directory.from_settings(self._settings), utc_now()
        steps = {}
        for found in self._store.dossiers_of_plan(PlanId(plan)):
            attest_rows(found)
            steps[found.request.step] = stand(found.request, found.votes, directory, now, viewer=viewer)
        return tuple([steps[number] for number in sorted(steps)])

    def viewer(self, named: str | None) -> str | None:
        """Whoever is named."""
        return named

    def caster(self, named: str | None) -> Caster:
        """Whoever is named, as whom the operating user votes."""
        assert named is not None  # the verb has looked (approvals_vote.py)
        return Caster(voter=named, operating_user=operating_user())

    def decide(self, shown: Viewed, verb: Verb, caster: Caster, comment: str | None) -> Done:
        """Do it on the request that was shown. Raises `Refusal` where it is not the same any more, and as the desk does."""
        request = shown.request.id
        # A request's id stands for one call, one preview and one set of obligations for as long as its records do: it is held against
        # what was on the screen all the same, since whoever can write the store could have put something else in its place.
        now, _ = get_request(self._store, request)
        if not is_same(shown, now):
            message = f"request `{request}` is not what was shown any more"
            step = "look at it again; `licet audit verify` says whether the log is sound"
            raise Refusal(Exit.DENIED, "not_as_shown", message, next_step=step)
        with desk(self._settings) as approvals:
            match verb:
                case "take_back":
                    cast = approvals.take_back(request, caster.voter, comment=comment, operating_user=caster.operating_user)
                case "withdraw":
                    cast = approvals.withdraw(request, caster.voter)
                case "approve" | "reject":
                    cast = approvals.vote(request, caster.voter, verb, comment=comment, operating_user=caster.operating_user)
        return Done(cast.receipt, cast.request.state)

    def decide_plan(
        self, steps: Sequence[Viewed], chosen: tuple[int, ...], verdict: Verdict, caster: Caster, comment: str | None
    ) -> CastOnPlan:
        """Vote on these steps: on all of them, or on none. Raises as the desk does."""
        plan = steps[0].request.plan
        assert plan is not None
        verdicts = dict.fromkeys(chosen, verdict)
        with desk(self._settings) as approvals:
            casts = approvals.vote_plan(plan, caster.voter, verdicts, comment=comment, operating_user=caster.operating_user)
        return CastOnPlan(chosen, tuple([cast.receipt for cast in casts]))

    def feed(self, *, tenant: str | None, viewer: str | None) -> LocalFeed:
        """What waits, looked at again and again. Raises `Refusal` for a viewer whom the directory does not have."""
        feed = LocalFeed(self._invocation, self._store, tenant=tenant, viewer=viewer)
        if viewer is not None and viewer not in feed.directory.users:
            message = f"`{viewer}` is not a user of the directory"
            raise Refusal(Exit.NOT_AUTHENTICATED, "unknown_user", message, next_step="licet.toml lists them")
        return feed

    def _place(self, after: str | None) -> RequestId | None:
        """The request behind which a page begins. Raises `Refusal` where there is none: the page would be empty, as if all were done."""
        if after is None:
            return None
        try:
            return self._store.get_request(RequestId(after)).id
        except KeyError as error:
            message = f"there is no request `{after}` to begin behind"
            raise Refusal(Exit.ERROR, "not_found", message, next_step="leave `--after` out to begin at the top") from error

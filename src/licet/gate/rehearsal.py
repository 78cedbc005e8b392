"""What would be decided, without a store: for `licet can`, `why` and `test`.

It runs steps 0 to 5 of the one pipeline. Targets may be given by hand where there is no application to resolve them; there are no
requests and no votes, so a call that needs people is held. Nothing is recorded or executed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from licet.catalog.python import ResourceFacts
from licet.catalog.spec import Catalog, ResourceSpec
from licet.config import Settings
from licet.errors import CatalogInvalid
from licet.gate import checks
from licet.gate.acting import Acting
from licet.gate.building import build_scene, known_catalog
from licet.gate.draft import Draft
from licet.gate.freeze_view import Stops
from licet.gate.pipeline import Grounds, examine
from licet.gate.registry import Registry
from licet.gate.scene import Resolver, Scene
from licet.gate.session import SessionFacts, Sessions
from licet.gate.steps import FindFreezes, FindRequest, Resolve, ResolverFailed, Step
from licet.gate.sync_driver import Portal, SyncResolver
from licet.gate.workers import Workers
from licet.ledger.entropy import new_id
from licet.model import CallId, Decision, EntityRef
from licet.policy.engine import Question

Given = Mapping[EntityRef, ResourceFacts]


class Rehearsed(Struct, frozen=True):
    """What would be decided. `question` is what policy was asked; None where the call was refused before."""

    decision: Decision
    question: Question | None


class Rehearsal:
    """Decides calls under the policies of `settings` as they are now. Raises `OperatorError` when they do not load.

    `given` are targets by hand; a target that is not among them is resolved by the application, where there is one. `snapshots` are the
    catalogs of other processes, newest first, as `build_scene` takes them. Close it when done.
    """

    def __init__(self, settings: Settings, registry: Registry, given: Given | None = None, snapshots: Iterable[bytes] = ()) -> None:
        others = tuple(snapshots)
        resolvers = _resolvers(registry, known_catalog(registry, others), given or {})
        self.scene: Scene = build_scene(settings, registry, others, resolvers)
        self._settings = settings
        self._workers = Workers()
        self._portal = Portal()
        self._resolver = SyncResolver(self._workers, self._portal, settings.environment, settings.limits.resolver_timeout_s)

    def check(
        self,
        acting: Acting,
        tool: str,
        arguments: Mapping[str, Any] | bytes | str,
        *,
        now: datetime | None = None,
        session: SessionFacts | None = None,
        stops: Stops | None = None,
    ) -> Rehearsed:
        """The decision on one call, and the question it answers. `session` is what the session is taken to be; without it, a new one.

        `stops` is what is frozen; by default nothing.
        """
        moment = now or datetime.now(UTC)
        grounds = Grounds(
            scene=self.scene,
            now=moment,
            sessions=Sessions(tuple(self._settings.meters), session),
            expires_after=timedelta(seconds=self._settings.approvals.expires_s),
        )
        draft = Draft(CallId(new_id()), int(moment.timestamp()) * 1_000_000, acting, tool, arguments)
        draft.undoes = draft.id  # an undo is decided as if it were proposed as one, whatever the arguments: none of this is made
        decision = self._drive(examine(draft, grounds, run_preview=False), stops)
        asked = draft.caller is not None and draft.arguments is not None and bool(draft.targets)
        return Rehearsed(decision, checks.question_of(draft, self.scene, moment) if asked else None)

    def close(self) -> None:
        """Give the threads back."""
        self._workers.close()
        self._portal.close()

    def _drive(self, steps: Generator[Step, Any, Decision], stops: Stops | None) -> Decision:
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as stop:
                decision: Decision = stop.value
                return decision
            answer = error = None
            if isinstance(step, Resolve):
                try:
                    answer = self._resolver.resolve(step)
                except ResolverFailed as failed:
                    error = failed
            elif isinstance(step, FindFreezes):
                answer = stops
            else:
                # Nobody has voted on a call that is not made. No other step is asked for before the intent, without previews.
                assert isinstance(step, FindRequest)


class _GivenResource:
    """A resolver that answers from what was given by hand, then asks the application."""

    def __init__(self, spec: ResourceSpec, given: Given, behind: Resolver | None) -> None:
        self.spec = spec
        self.is_async = behind is not None and behind.resource.is_async
        self._given = given
        self._behind = behind

    @property
    def function(self) -> Callable[[str], Any]:
        """The resolver's function."""
        return self._find_awaited if self.is_async else self._find

    def facts(self, returned: Any) -> ResourceFacts | None:
        """What was given, as it is: the engine checks it against the schema."""
        if returned is None or isinstance(returned, ResourceFacts):
            return returned
        assert self._behind is not None
        return self._behind.resource.facts(returned)

    def _find(self, identifier: str) -> Any:
        found = self._given.get(EntityRef(self.spec.type, identifier))
        if found is not None or self._behind is None:
            return found
        return self._behind.resource.function(identifier)

    async def _find_awaited(self, identifier: str) -> Any:
        found = self._find(identifier)
        return found if found is None or isinstance(found, ResourceFacts) else await found


def _resolvers(registry: Registry, catalog: Catalog, given: Given) -> Mapping[str, Resolver]:
    """The application's resolvers, with those that answer by hand before them for the types that were given."""
    resolvers = dict(registry.resolvers)
    for name in {ref.type for ref in given}:
        spec = catalog.find_resource(name)
        if spec is None:
            raise CatalogInvalid(f"a target of type `{name}` was given, and no tool acts on one")
        behind = resolvers.get(name)
        resolvers[name] = Resolver(_GivenResource(spec, given, behind), blocking=behind is not None and behind.blocking)
    return resolvers

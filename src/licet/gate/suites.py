"""The policies' own tests (`policies/*.test.yaml`), each decided by the gate's order of checks: for `licet test`, and for the console."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing

from msgspec.structs import replace

from licet.config import Settings
from licet.gate.acting import Acting
from licet.gate.registry import Registry
from licet.gate.rehearsal import Rehearsal
from licet.gate.session import SessionFacts
from licet.model import Decision
from licet.policy.suite import CaseResult, SuiteCase, run


def run_suites(cases: Iterable[SuiteCase], settings: Settings, registry: Registry, snapshots: Iterable[bytes]) -> tuple[CaseResult, ...]:
    """How each case went, under the policies as their files are now. Raises `OperatorError` where they do not load.

    There is one rehearsal for each file's targets and each environment.
    """
    others = tuple(snapshots)
    rehearsals: dict[tuple[int, str], Rehearsal] = {}
    with ExitStack() as stack:

        def check(case: SuiteCase) -> Decision:
            environment = case.environment or settings.environment
            rehearsal = rehearsals.get((id(case.resources), environment))
            if rehearsal is None:
                there = replace(settings, environment=environment)
                rehearsal = stack.enter_context(closing(Rehearsal(there, registry, case.resources, others)))
                rehearsals[id(case.resources), environment] = rehearsal
            caller, session = case.caller, case.session
            acting = Acting(tenant=caller.tenant, agent=caller.agent, service=caller.service, user=caller.user)
            facts = SessionFacts(session.labels, session.calls, session.meters)
            return rehearsal.check(acting, case.tool, case.arguments, now=case.now, session=facts).decision

        # Policies that do not load are one fault of their own, not a failure of every case.
        Rehearsal(settings, registry, {}, others).close()
        return run(cases, check)

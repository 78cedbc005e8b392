"""The policies, the configuration and the policy tests of docs/policies.md, as somebody who copies them gets them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from licet import config
from licet.gate.acting import Acting
from licet.gate.registry import Registry
from licet.gate.rehearsal import Rehearsal
from licet.gate.session import SessionFacts
from licet.model import Decision
from licet.policy.suite import SuiteCase, read_cases, run
from tests.documents import Document

PAGE = Document.read(Path(__file__).parents[2] / "docs/policies.md")


def test_the_page_s_cases_have_the_decisions_that_it_says(tmp_path: Path) -> None:
    for block in PAGE.blocks:
        if block.file is not None:
            (tmp_path / block.file).parent.mkdir(exist_ok=True)
            (tmp_path / block.file).write_text(block.code)
    settings = config.load(tmp_path / "licet.toml", environ={})
    found = read_cases(settings.policies)
    given = {ref: facts for case in found for ref, facts in case.resources.items()}

    def check(case: SuiteCase) -> Decision:
        caller = case.caller
        acting = Acting(tenant=caller.tenant, agent=caller.agent, service=caller.service, user=caller.user)
        return rehearsal.check(acting, case.tool, case.arguments, now=case.now, session=SessionFacts()).decision

    with closing(Rehearsal(settings, Registry(settings), given)) as rehearsal:
        results = run(found, check)
    assert [(result.case.name, result.differences) for result in results if not result.passed] == []
    assert len(results) >= 7

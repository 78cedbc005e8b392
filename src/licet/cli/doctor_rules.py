"""What `licet doctor` looks at in conditional rules: an approval that nobody can give is a denial, and its author does not know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from licet.approvals.satisfiable import Code, Problem, find_ownerless, find_unsatisfiable
from licet.cli.finding import Finding
from licet.cli.loading import Loaded
from licet.cli.problems import bundle_problems, directory_problems, policy_problems
from licet.cli.wording import counted, listed
from licet.identity.directory import Directory
from licet.policy.bundle import Bundle
from licet.policy.rules import Rule, rules_of

_STEPS: dict[Code, str] = {
    "group_empty": "put people into `{group}` in licet.toml",
    "group_too_small": 'add members of that tenant to `{group}`, or give the group `scope = "operator"`',
    "only_requesters": "add somebody to `{group}` for whom no agent acts there",
    "agent_owner": "add somebody else to `{group}`, or give the agent another owner",
    "nobody_to_confirm": "ask for an approval, or let the agent act for users only (`acts_for`)",
    "preview_denied": "permit the tool's preview, and let no rule without a condition hold or deny it",
    "together": "add people, or write one rule that asks for all of them",
}
_SENTENCES: dict[Code, str] = {
    "group_empty": "asks for {asked} of `{group}`, which has no members, and nobody can give that",
    "group_too_small": "asks for {asked} of `{group}`, and nobody can give that: {voters}",
    "only_requesters": "asks for {asked} of `{group}`, and nobody can give that: without the one who asks, there are never enough",
    "agent_owner": "asks for {asked} of `{group}`, and nobody can give that: without the agent's owner, there are never enough",
    "nobody_to_confirm": "asks the user to confirm, and there is never one",
    "preview_denied": "asks people who may never see what they decide on: `{tool}.preview` is not allowed",
    "together": "together with {beside} asks for more people than there are on `{tool}`",
}


def rule_findings(loaded: Loaded) -> list[Finding]:
    """Rules that nobody can meet, and those that keep nobody apart.

    Where directory or policies do not load, nothing is said here: `doctor_setup` does.
    """
    settings = loaded.settings
    if directory_problems(settings) or bundle_problems(settings) or policy_problems(settings, loaded.catalog, loaded.registry.adoptions):
        return []
    directory = Directory.from_settings(settings)
    rules = rules_of(Bundle.read(settings.policies), loaded.catalog)
    found = [*_unmet(find_unsatisfiable(rules, directory)), *_apart(find_ownerless(rules, directory), rules)]
    return found or [Finding("ok", "approvers", "every approval that a policy asks for can be given")]


def _unmet(problems: Sequence[Problem]) -> Iterator[Finding]:
    """One line for each rule and reason, over all tenants."""
    alike: dict[tuple[object, ...], list[Problem]] = {}
    for problem in problems:
        actors = () if problem.everywhere else problem.actors
        alike.setdefault((problem.policy, problem.code, actors, problem.tool, problem.beside), []).append(problem)
    for found in alike.values():
        one = found[0]
        tenants = [f"tenant `{problem.tenant}`" for problem in found]
        alone = len({problem.code for problem in problems if problem.policy == one.policy}) == 1
        where = "any tenant" if one.hopeless and alone else listed(tenants)
        whose = "" if one.everywhere else f" when {listed(one.actors)} calls"
        step = _STEPS[one.code].format(group=one.group)
        yield Finding("fail" if one.hopeless else "warn", "approvers", f"{_sentence(one)} for {where}{whose}", step)


def _sentence(problem: Problem) -> str:
    beside = listed([f"`{policy}`" for policy in problem.beside])
    said = _SENTENCES[problem.code].format(
        asked=problem.asked, group=problem.group, voters=_voters(problem), tool=problem.tool, beside=beside
    )
    return f"`{problem.policy}` ({problem.place}) {said}"


def _voters(problem: Problem) -> str:
    return "none of its members may vote" if problem.people == 0 else f"only {counted(problem.people, 'person', 'people')} may vote"


def _apart(ownerless: dict[str, tuple[str, ...]], rules: Sequence[Rule]) -> Iterator[Finding]:
    for rule in rules:
        agents = ownerless.get(rule.policy.id)
        if agents:
            names = listed([f"`{agent}`" for agent in agents])
            message = f"`{rule.policy.id}` ({rule.policy.place}) keeps the agent's owner apart, and {names} names no owner"
            yield Finding("warn", "approvers", message, "write `owner` under the agent in licet.toml")

"""Policy tests: `policies/*.test.yaml`, calls with the decision that they must have.

    resources:
      'Customer::"C-412"': {tenant: acme, vip: false}
    cases:
      - name: a large adjustment needs a lead
        caller: {tenant: acme, agent: support-bot, user: alice}
        tool: billing.adjust
        arguments: {customer_id: C-412, amount_cents: 20000}
        expect: {verdict: hold, reasons: [billing-needs-lead], obligations: [1 of billing-leads]}

Rules:

1. Nothing here decides. `run` hands each case to `check`, which is the gate's own order of checks, and compares.
2. An unknown key is an error, and so is a key that stands twice: a misspelt `reasons` would be a test that cannot fail.
3. `reasons` are the ids of the policies that decided: the permits of an allow, the forbids of a denial or a hold. `obligations` are written
   `N of GROUP`, `confirmation` or `preview_only`, each once however many principals owe it. What is not written is not compared.
4. `approved` names conditional policies whose obligations are taken as met, for every principal; the rest of the hold stays.
5. A case that raises has failed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import yaml
from msgspec import Struct

from licet.catalog.python import ResourceFacts
from licet.errors import ConfigInvalid
from licet.model import Caller, Decision, EntityRef, JsonObject, Obligation, Verdict
from licet.policy.obligations import discharge

FILE_LIMIT_BYTES = 4 * 1024 * 1024
_ENTITY = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)::"((?:[^"\\]|\\["\\])*)"')
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot carry, not even escaped."""


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the session is taken to be."""

    labels: tuple[str, ...] = ()
    calls: int = 0
    meters: dict[str, int] = {}


class Expected(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the decision must be; None is not compared."""

    verdict: Verdict
    code: str | None = None
    reasons: tuple[str, ...] | None = None
    obligations: tuple[str, ...] | None = None


class _Caller(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str
    agent: str | None = None
    service: str | None = None
    user: str | None = None


class _Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    caller: _Caller
    tool: str
    expect: Expected
    arguments: JsonObject = {}
    environment: str | None = None
    now: datetime | None = None
    session: Session = Session()
    approved: tuple[str, ...] = ()


class _Base(Struct, frozen=True):
    tenant: str
    environment: str | None = None


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cases: tuple[_Case, ...]
    resources: dict[str, JsonObject] = {}


class SuiteCase(Struct, frozen=True, kw_only=True):
    """One call to check.

    `arguments` are unverified, as a model would send them; None means the gate's own environment or the time of now.
    """

    file: str
    name: str
    caller: Caller
    tool: str
    arguments: JsonObject
    resources: Mapping[EntityRef, ResourceFacts]
    environment: str | None
    now: datetime | None
    session: Session
    approved: tuple[str, ...]
    expect: Expected


class CaseResult(Struct, frozen=True, kw_only=True):
    """What came of a case: no differences, and it has passed.

    `decision` is None where the check raised, and then `differences` says what.
    """

    case: SuiteCase
    decision: Decision | None
    differences: tuple[str, ...]
    duration_s: float

    @property
    def passed(self) -> bool:
        """Whether the decision is what was expected."""
        return not self.differences


def read_cases(directory: Path) -> tuple[SuiteCase, ...]:
    """All cases of a folder's `*.test.yaml`, in order of file and place. Raises `ConfigInvalid` at the first file that cannot be used."""
    return tuple(case for path in sorted(directory.glob("*.test.yaml")) for case in _read_file(path, f"{directory.name}/{path.name}"))


def run(cases: Iterable[SuiteCase], check: Callable[[SuiteCase], Decision]) -> tuple[CaseResult, ...]:
    """Check every case and compare."""
    return tuple(_run_case(case, check) for case in cases)


def junit(results: Iterable[CaseResult]) -> str:
    """The results as JUnit XML, one suite for each file."""
    root = ET.Element("testsuites")
    suites: dict[str, list[CaseResult]] = {}
    for result in results:
        suites.setdefault(result.case.file, []).append(result)
    for file, found in suites.items():
        failures = sum(not result.passed for result in found)
        total_s = sum(result.duration_s for result in found)
        suite = ET.SubElement(
            root, "testsuite", name=file, tests=str(len(found)), failures=str(failures), errors="0", time=f"{total_s:.3f}"
        )
        for result in found:
            named = {"classname": file, "name": _printable(result.case.name), "time": f"{result.duration_s:.3f}"}
            case = ET.SubElement(suite, "testcase", named)
            if not result.passed:
                text = _printable("\n".join(result.differences))
                ET.SubElement(case, "failure", message=text.partition("\n")[0]).text = text
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _run_case(case: SuiteCase, check: Callable[[SuiteCase], Decision]) -> CaseResult:
    began = time.perf_counter()
    decision: Decision | None = None
    try:
        decision = check(case)
        decision = discharge(decision, {(owed.policy, owed.principal) for owed in decision.obligations if owed.policy in case.approved})
        differences = _differences(case.expect, decision)
    except Exception as error:  # noqa: BLE001 - rule 5
        differences = (f"raised {type(error).__name__}: {error}",)
    return CaseResult(case=case, decision=decision, differences=differences, duration_s=time.perf_counter() - began)


def _differences(expected: Expected, decision: Decision) -> tuple[str, ...]:
    """`- expected` and `+ found` for each that differs, and what the decision says."""
    reasons = {policy.id for policy in decision.policies if policy.effect == ("permit" if decision.verdict == "allow" else "forbid")}
    compared: list[tuple[str, Any, Any]] = [("verdict", expected.verdict, decision.verdict)]
    if expected.code is not None:
        compared.append(("code", expected.code, decision.code))
    if expected.reasons is not None:
        compared.append(("reasons", _listed(expected.reasons), _listed(reasons)))
    if expected.obligations is not None:
        compared.append(("obligations", _listed(expected.obligations), _listed(map(_written, decision.obligations))))
    lines = [line for name, wanted, found in compared if wanted != found for line in (f"- {name}: {wanted}", f"+ {name}: {found}")]
    return (*lines, f"  {decision.message}") if lines else ()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none"


def _written(owed: Obligation) -> str:
    return f"{owed.count} of {owed.group}" if owed.kind == "approval" else owed.kind


def _read_file(path: Path, file: str) -> Iterable[SuiteCase]:
    try:
        content = path.read_bytes()
        if len(content) > FILE_LIMIT_BYTES:
            raise ConfigInvalid(f"{file}: it has more than {FILE_LIMIT_BYTES} bytes", file=file)
        # A safe loader: it makes plain values only.
        found = msgspec.convert(yaml.load(content, Loader=StrictLoader), _File)  # noqa: S506
        resources = {_entity(name): _facts(facts) for name, facts in found.resources.items()}
    except (OSError, yaml.YAMLError, msgspec.ValidationError, ValueError) as error:
        raise ConfigInvalid(f"{file}: {' '.join(str(error).split())}", file=file) from error
    names = [case.name for case in found.cases]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigInvalid(f"{file}: two cases are named `{twice}`", file=file)
    return [
        SuiteCase(
            file=file,
            name=case.name,
            caller=Caller(tenant=case.caller.tenant, agent=case.caller.agent, service=case.caller.service, user=case.caller.user),
            tool=case.tool,
            arguments=case.arguments,
            resources=resources,
            environment=case.environment,
            now=case.now,
            session=case.session,
            approved=case.approved,
            expect=case.expect,
        )
        for case in found.cases
    ]


def _entity(text: str) -> EntityRef:
    match = _ENTITY.fullmatch(text)
    if match is None:
        raise ValueError(f'a resource is written `Type::"id"`, found `{text}`')
    return EntityRef(match[1], re.sub(r"\\(.)", r"\1", match[2]))


def _facts(written: JsonObject) -> ResourceFacts:
    base = msgspec.convert({name: written[name] for name in written if name in _Base.__struct_fields__}, _Base)
    attributes = {name: value for name, value in written.items() if name not in _Base.__struct_fields__}
    return ResourceFacts(base.tenant, base.environment, attributes)


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("\ufffd", text)


class StrictLoader(yaml.SafeLoader):
    """Plain values as JSON has them: no timestamps, no `yes` for true, no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the base's
        """A mapping whose keys are distinct."""
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key `{name}` stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
StrictLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))

"""Deciding: what Cedar answers, judged so that nothing fails open.

The raw engine fails open in many ways; these rules are what closes them.

1. Policies are validated strictly against the schema of the catalog, and beyond it (`lint.py`), before anything is decided. Every request
   is validated against the schema too, and entities are built under it.
2. Anything but a clean answer is a denial: no decision, any error in the diagnostics, an allow without reasons, an exception, a Rust panic.
3. Per principal and target: (a) evaluate all policies; an allow with a reason is an allow. (b) A plain forbid among the reasons, or no
   reason at all, is a denial. (c) Evaluate again without the conditional forbids: if that is no allow, approval would not help, and it is
   a denial. (d) Otherwise hold, with the obligations of the conditional forbids that fired.
4. The call's decision is the strictest over principals x targets; obligations add up.

The law: a call is allowed if and only if Cedar allows it, without errors and with reasons, by the plain policies and the conditional
forbids that are not discharged.

An engine never changes after `load`, except for caches, which are bounded; any number of threads may decide at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from time import perf_counter
from typing import Final

import msgspec
from cedarpy import _internal as cedar

from licet.catalog.spec import Catalog, ToolSpec
from licet.errors import PolicyInvalid
from licet.identity.directory import Directory
from licet.model import Decision, JsonObject, Principal, Target
from licet.policy import wording
from licet.policy.bundle import Bundle
from licet.policy.evaluation import Frame, Question, Slice, asks_of, raw_context
from licet.policy.judgement import combine, denial, denied, judge, with_core
from licet.policy.lint import find_problems
from licet.policy.schema import TENANT, Vocabulary
from licet.policy.shape import ShapeMismatch
from licet.policy.slices import admits, speaks_of

__all__ = ["Engine", "Question"]

ENTITY_SETS = 1024
"""Entity sets kept, the least recently used going first; one takes some 10 KiB."""
CALLERS = 1024
"""Callers whose own entities are kept, by tool; one takes some 8 KiB."""
SLICES = 1024
"""Policy sets kept: one for each tool and each selection of its policies that principals make. A policy in one takes some 5 KiB."""
ADMISSIONS = 4096
"""Selections of a tool's policies kept, by principals."""
_encode = msgspec.json.Encoder().encode
_decode_targets = msgspec.json.Decoder(tuple[Target, ...]).decode


class Engine:
    """A bundle that was found valid for a catalog and a directory. Build it with `load`."""

    def __init__(self, bundle: Bundle, vocabulary: Vocabulary, definitions: dict[str, str]) -> None:
        self.timed: Callable[[float], None] | None = None  # told how many seconds each decision took; it raises nothing
        self.bundle: Final = bundle
        self.schema: Final = vocabulary.content
        self.schema_digest: Final = hashlib.sha256(vocabulary.content).hexdigest()
        self._vocabulary: Final = vocabulary
        self._definitions: Final = definitions
        self._frames: Final[dict[str, Frame]] = {}
        # lru_cache may be used by many threads; two that miss at once both build, and either result will do.
        self._entities: Final = lru_cache(maxsize=ENTITY_SETS)(self._build_entities)
        self._callers: Final = lru_cache(maxsize=CALLERS)(self._build_caller)
        self._slices: Final = lru_cache(maxsize=SLICES)(self._build_slice)
        self._admitted: Final = lru_cache(maxsize=ADMISSIONS)(self._find_admitted)

    @classmethod
    def load(cls, bundle: Bundle, catalog: Catalog, directory: Directory, *, meters: Iterable[str] = ()) -> Engine:
        """An engine for this bundle. Raises `PolicyInvalid` with every problem, each with file, line and policy id."""
        vocabulary = Vocabulary(catalog, meters)
        problems = find_problems(bundle, vocabulary, directory)
        if problems:
            raise PolicyInvalid(problems)
        return cls(bundle, vocabulary, {name: tool.definition for name, tool in catalog.tools.items()})

    def decide(self, question: Question) -> Decision:
        """Allow, deny or hold. Raises nothing but the interpreter's own endings: whatever else goes wrong is a denial, `policy_error`."""
        if self.timed is None:
            return self._decided(question)
        began = perf_counter()
        decision = self._decided(question)
        self.timed(perf_counter() - began)
        return decision

    def _decided(self, question: Question) -> Decision:
        try:
            return self._decide(question)
        except ShapeMismatch as error:
            return denied("policy_error", wording.undecided(str(error)))
        except BaseException as error:
            # A panic in Rust arrives as a BaseException of its own; KeyboardInterrupt and its like are not ours to swallow.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            return denied("policy_error", wording.undecided(f"{type(error).__name__} in the policy engine"))

    def could_permit(self, tool: ToolSpec, principal: Principal) -> bool:
        """Whether any permit's scope admits this tool and principal. If not, no arguments and no targets could ever make an allow."""
        if not self._is_known(tool):
            return False
        policies = self.frame(tool.name).policies
        return any(policies[place].effect == "permit" for place in self._admitted(tool.name, (principal,)))

    def reads_local(self, tool: str) -> bool:
        """Whether a policy about this tool reads `context.local`; none is about a tool that the catalog does not have."""
        return tool in self._vocabulary.tools and "local" in self.frame(tool).context.fields

    def context(self, question: Question, principal: Principal) -> JsonObject:
        """What policies can see of the context, for the record.

        A value that has no place in it (the decision is a denial then) is left out.
        """
        action = self._vocabulary.tools.get(question.tool.name)
        seen: JsonObject = {}
        if action is None:
            return seen
        raw = raw_context(question, principal)
        for name, field in action.context.fields.items():
            if name in raw:
                try:
                    seen[name] = field.shape.encode(raw[name])
                except ShapeMismatch:
                    continue
        return seen

    def frame(self, tool: str) -> Frame:
        """What is the same for every call of a tool of the catalog. Raises `KeyError` for any other."""
        found = self._frames.get(tool)
        if found is None:
            action = self._vocabulary.tools[tool]
            speaking = [policy for policy in self.bundle.policies if speaks_of(policy.tree.action, action.name, action.parents)]
            found = self._frames.setdefault(tool, Frame(action, speaking, self._vocabulary.types))
        return found

    def slice(self, tool: str, principals: tuple[Principal, ...]) -> Slice:
        """The policies that can speak about a tool of the catalog and one of these principals. Raises `KeyError` for any other tool."""
        return self._slices(tool, self._admitted(tool, principals))

    def entities(self, question: Question) -> cedar.Entities:
        """The entities of a question about a tool of the catalog.

        Raises `ShapeMismatch` or `ValueError` where a target is not as declared.
        """
        return self._entities(question.tool.name, question.environment, question.principals, _encode(question.targets))

    def _decide(self, question: Question) -> Decision:
        tool = question.tool.name
        if not self._is_known(question.tool):
            return denied("unknown_tool", f"the tool `{tool}` is not the one that policies were checked against")
        if not question.principals or not question.targets:
            return denied("policy_error", wording.undecided("it has no principal or no target"))
        frame, part = self.frame(tool), self.slice(tool, question.principals)
        entities = self.entities(question)
        asks = asks_of(question)
        answers = frame.evaluate(part.all, question, asks, entities)
        findings = [judge(ask, answer, part) for ask, answer in zip(asks, answers, strict=True)]
        refusal = denial(tool, findings)
        pending = [finding for finding in findings if finding.kind == "conditional"]
        if refusal is None and pending:
            cores = frame.evaluate(part.core, question, [finding.ask for finding in pending], entities)
            settled = [with_core(finding, judge(finding.ask, answer, part)) for finding, answer in zip(pending, cores, strict=True)]
            findings = settled + [finding for finding in findings if finding.kind == "permitted"]
            refusal = denial(tool, findings)
        return combine(findings) if refusal is None else refusal

    def _is_known(self, tool: ToolSpec) -> bool:
        return self._definitions.get(tool.name) == tool.definition

    def _find_admitted(self, tool: str, principals: tuple[Principal, ...]) -> tuple[int, ...]:
        """The places, among the tool's policies, of those whose scope admits one of these principals."""
        return tuple(
            place
            for place, policy in enumerate(self.frame(tool).policies)
            if any(admits(policy.tree.principal, principal) for principal in principals)
        )

    def _build_slice(self, tool: str, places: tuple[int, ...]) -> Slice:
        frame = self.frame(tool)
        return Slice([frame.policies[place] for place in places])

    def _build_entities(self, tool: str, environment: str, principals: tuple[Principal, ...], encoded: bytes) -> cedar.Entities:
        # Built from the very bytes that are the key, so a target that somebody changes meanwhile cannot enter under another's name.
        targets = _decode_targets(encoded)
        tenants = frozenset(target.id for target in targets if target.type == TENANT)
        caller = self._callers(tool, principals, environment, tenants)
        return self.frame(tool).add_targets(caller, targets, principals, environment)

    def _build_caller(self, tool: str, principals: tuple[Principal, ...], environment: str, tenants: frozenset[str]) -> cedar.Entities:
        return self.frame(tool).build_caller(principals, environment, tenants)

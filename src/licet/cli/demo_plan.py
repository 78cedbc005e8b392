"""The demo's plan: what the agent does, step by step, and what must come of it. Anybody may change it, so it is read strictly.

Rules:

1. An unknown key, a key that stands twice and a value of another type are errors that say where.
2. A step does one thing: it makes a call, proposes a plan of several, undoes a call, casts a vote, freezes, lifts, or makes a call whose
   process is killed.
3. Nothing that a step expects is optional in silence: what it does not list among `changes` may not change.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import yaml
from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.model import JsonObject
from licet.policy.suite import StrictLoader

FILE_LIMIT_BYTES = 256 * 1024
"""A plan of a hundred steps takes about 30 KiB."""

Said: TypeAlias = Literal[
    "allowed", "held", "denied", "failed", "unknown", "approved", "counted", "rejected", "refused", "frozen", "lifted"
]
"""What a step came to, in one word."""

_OF_CALLS = ("allowed", "held", "denied", "failed", "unknown")
_WORDS: dict[str, tuple[str, ...]] = {
    "call": _OF_CALLS,
    "plan": _OF_CALLS,
    "undo": (*_OF_CALLS, "refused"),
    "kill": _OF_CALLS,
    "vote": ("approved", "counted", "rejected", "refused"),
    "freeze": ("frozen", "refused"),
    "lift": ("lifted", "refused"),
}
"""What a step can do, and what can come of each."""


class PlannedCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A call of the agent. Under a `key` it runs once, however often it is made."""

    tool: str
    arguments: JsonObject
    key: str | None = None


class PlannedVote(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's vote on what the step named `about` has asked for: of a plan, on all of it."""

    voter: str
    verdict: Literal["approve", "reject"]
    about: str


class PlannedUndo(Struct, frozen=True, forbid_unknown_fields=True):
    """The agent proposes to take back the call of the step named `about`."""

    about: str
    reason: str


class PlannedFreeze(Struct, frozen=True, forbid_unknown_fields=True):
    """A person stops an agent."""

    agent: str
    by: str
    reason: str


class PlannedLift(Struct, frozen=True, forbid_unknown_fields=True):
    """A person ends the freeze of the step named `about`."""

    about: str
    by: str
    reason: str


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """A cell of the business database before and after a step. `row` is table/id; a cell that was not there is None."""

    row: str
    column: str
    before: str | int | None
    after: str | int | None


class Expected(Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of a step. What is None is not looked at; `changes` always is."""

    verdict: Said
    code: str | None = None
    because: str | None = None
    policies: tuple[str, ...] | None = None
    records: tuple[str, ...] | None = None
    changes: tuple[Change, ...] = ()


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is done, with a sentence for people."""

    say: str
    expect: Expected
    name: str | None = None
    call: PlannedCall | None = None
    plan: tuple[PlannedCall, ...] | None = None
    undo: PlannedUndo | None = None
    vote: PlannedVote | None = None
    freeze: PlannedFreeze | None = None
    lift: PlannedLift | None = None
    kill: PlannedCall | None = None
    show: tuple[str, ...] = ()

    @property
    def made(self) -> PlannedCall | None:
        """The call that is made, whatever becomes of its process."""
        return self.call or self.kill

    @property
    def deeds(self) -> tuple[str, ...]:
        """What it does, by the names of its keys; of one that fits, there is one."""
        return tuple([deed for deed in _WORDS if getattr(self, deed) is not None])

    @property
    def about(self) -> str | None:
        """The name of the earlier step that it is about."""
        deed = self.vote or self.undo or self.lift
        return deed.about if deed else None

    @property
    def sentence(self) -> str:
        """`say`, with the arguments of the call filled in."""
        return filled(self.say, self.made.arguments if self.made else {})


class Chapter(Struct, frozen=True, forbid_unknown_fields=True):
    """Steps under one heading."""

    title: str
    steps: tuple[Step, ...]


class PlannedTrail(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose audit trail is shown at the end."""

    customer: str
    say: str


class ExpectedDamage(Struct, frozen=True, forbid_unknown_fields=True):
    """What verification must find damaged."""

    field: str


class Tamper(Struct, frozen=True, forbid_unknown_fields=True):
    """One byte that is changed in a copy of the ledger: `find`, in the payload of an intent, becomes `write`."""

    say: str
    find: str
    write: str
    expect: ExpectedDamage


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole plan. The agent acts for `user` in every step."""

    version: Literal[1]
    title: str
    intro: str
    agent: str
    user: str
    chapters: tuple[Chapter, ...]
    trail: PlannedTrail
    tamper: Tamper

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step, in order."""
        return tuple(step for chapter in self.chapters for step in chapter.steps)


def read_plan(file: Path) -> Plan:
    """The plan in a YAML file. Raises `Refusal` with everything that is wrong with it."""
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise _invalid(file, f"cannot be read: {(error.strerror or 'unknown error').lower()}") from error
    if len(content) > FILE_LIMIT_BYTES:
        raise _invalid(file, f"is larger than {FILE_LIMIT_BYTES} bytes")
    try:
        plan = msgspec.convert(yaml.load(content, StrictLoader), Plan)  # noqa: S506  a SafeLoader that refuses more
    except yaml.YAMLError as error:
        raise _invalid(file, f"is not YAML: {' '.join(str(error).split())}") from error
    except msgspec.ValidationError as error:
        message = str(error)
        raise _invalid(file, f"does not fit: {message[:1].lower()}{message[1:]}") from error
    problems = tuple(_problems(plan))
    if problems:
        raise _invalid(file, "does not fit: " + "; ".join(problems))
    return plan


def filled(say: str, arguments: Mapping[str, Any]) -> str:
    """A sentence with the arguments filled in; `amount_cents` is also there as `amount`, in dollars. Raises `KeyError`, `ValueError`."""
    money = {name.removesuffix("_cents"): dollars(value) for name, value in arguments.items() if is_money(name, value)}
    return string.Formatter().vformat(say, (), {**arguments, **money})


def is_money(name: str, value: object) -> bool:
    """Whether a named value is an amount of money."""
    return name.endswith("_cents") and type(value) is int


def dollars(amount_cents: int) -> str:
    """An amount as people write it: `$9,999.00`."""
    return f"{'-' if amount_cents < 0 else ''}${abs(amount_cents) // 100:,}.{abs(amount_cents) % 100:02}"


def _problems(plan: Plan) -> Iterator[str]:
    """What the types do not say."""
    named: dict[str, Step] = {}
    for number, step in enumerate(plan.steps, 1):
        for problem in _problems_of_step(step, named):
            yield f"step {number}: {problem}"
        if step.name is not None:
            named[step.name] = step
    before, after = plan.tamper.find.encode(), plan.tamper.write.encode()
    if len(before) != len(after) or sum(one != other for one, other in zip(before, after, strict=True)) != 1:
        yield "`tamper.find` and `tamper.write` must differ in one byte"


def _problems_of_step(step: Step, named: Mapping[str, Step]) -> Iterator[str]:
    if len(step.deeds) != 1:
        yield f"a step has one of {', '.join(f'`{deed}`' for deed in _WORDS)}"
        return
    words = _WORDS[step.deeds[0]]
    if step.expect.verdict not in words:
        yield f"`expect.verdict` is `{step.expect.verdict}`; it can be {', '.join(words)}"
    if step.about is not None:
        yield from _problems_of_about(step, named.get(step.about))
    if step.plan is not None and (not step.plan or any(call.key is not None for call in step.plan)):
        yield "a plan has at least one call, and none of them a `key`"
    if step.name in named:
        yield f"another step has the name `{step.name}`"
    try:
        _ = step.sentence
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        yield f"`say` cannot be filled in: {error}"


def _problems_of_about(step: Step, earlier: Step | None) -> Iterator[str]:
    if earlier is None:
        yield f"no step before it has the name `{step.about}`"
        return
    deeds = ("freeze",) if step.lift else ("call",) if step.undo else ("call", "plan")
    if earlier.deeds[0] not in deeds:
        yield f"the step with the name `{step.about}` has no `{'` or `'.join(deeds)}`"


def _invalid(file: Path, what: str) -> Refusal:
    step = "the first lines of the plan that comes with Licet say what a plan can hold"
    return Refusal(Exit.USAGE, "plan_invalid", f"`{file}` {what}", next_step=step, file=str(file))

"""The demo's plan: what the agent does, step by step, and what must come of it. Anybody may change it, so it is read strictly.

Rules:

1. An unknown key, a key that stands twice and a value of another type are errors that say where.
2. A step does one thing: it makes a call, casts a vote, or makes a call whose process is killed.
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

Said: TypeAlias = Literal["allowed", "held", "denied", "failed", "unknown", "approved", "counted", "rejected", "refused"]
"""What a step came to, in one word: the first five of a call, the others of a vote."""

_OF_CALLS = ("allowed", "held", "denied", "failed", "unknown")
_OF_VOTES = ("approved", "counted", "rejected", "refused")


class PlannedCall(Struct, frozen=True, forbid_unknown_fields=True):
    """A call of the agent. Under a `key` it runs once, however often it is made."""

    tool: str
    arguments: JsonObject
    key: str | None = None


class PlannedVote(Struct, frozen=True, forbid_unknown_fields=True):
    """A person's vote on what the step named `about` has asked for."""

    voter: str
    verdict: Literal["approve", "reject"]
    about: str


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
    vote: PlannedVote | None = None
    kill: PlannedCall | None = None
    show: tuple[str, ...] = ()

    @property
    def made(self) -> PlannedCall | None:
        """The call that is made, whatever becomes of its process."""
        return self.call or self.kill

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
    named: set[str] = set()
    for number, step in enumerate(plan.steps, 1):
        for problem in _problems_of_step(step, named):
            yield f"step {number}: {problem}"
        if step.name is not None:
            named.add(step.name)
    before, after = plan.tamper.find.encode(), plan.tamper.write.encode()
    if len(before) != len(after) or sum(one != other for one, other in zip(before, after, strict=True)) != 1:
        yield "`tamper.find` and `tamper.write` must differ in one byte"


def _problems_of_step(step: Step, named: set[str]) -> Iterator[str]:
    if sum(part is not None for part in (step.call, step.vote, step.kill)) != 1:
        yield "a step has one of `call`, `vote` and `kill`"
        return
    words = _OF_VOTES if step.vote else _OF_CALLS
    if step.expect.verdict not in words:
        yield f"`expect.verdict` is `{step.expect.verdict}`; it can be {', '.join(words)}"
    if step.vote is not None and step.vote.about not in named:
        yield f"no step before it has the name `{step.vote.about}`"
    if step.name in named:
        yield f"another step has the name `{step.name}`"
    try:
        _ = step.sentence
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        yield f"`say` cannot be filled in: {error}"


def _invalid(file: Path, what: str) -> Refusal:
    step = "the first lines of the plan that comes with Licet say what a plan can hold"
    return Refusal(Exit.USAGE, "plan_invalid", f"`{file}` {what}", next_step=step, file=str(file))

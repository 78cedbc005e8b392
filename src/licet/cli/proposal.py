"""A call as it is put on the command line: who, which tool, what arguments, on what. For `can` and `why`, which only rehearse.

Rules:

1. Arguments are JSON text, or `-` for stdin, read as strictly as an agent's.
2. Targets are resolved by the application (`--app`), or given by hand: `--target 'Customer::"C-412"' --attr vip=true`, or a file of them.
3. `--environment` says where the call is imagined to be made. It changes this rehearsal and nothing else.
4. What is frozen on the ledger is frozen here too, where there is a ledger that can be read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.catalog import strict
from licet.catalog.python import ResourceFacts
from licet.catalog.spec import RESERVED_ATTRIBUTES
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.loading import Loaded, reading
from licet.config import Settings
from licet.errors import ArgumentsRefused, CallerRefused, StoreError
from licet.gate.acting import Acting
from licet.gate.checks import caller_of
from licet.gate.freeze_view import FreezeView, Stops
from licet.gate.opening import has_ledger
from licet.gate.rehearsal import Rehearsal, Rehearsed
from licet.model import Decision, EntityRef, JsonObject
from licet.names import name_problem

STDIN_LIMIT_BYTES = 64 * 1024 * 1024
"""The most that `limits.arguments_bytes` can be; what is longer is refused there anyway."""

_TARGET = re.compile(r'(?P<type>[A-Z][A-Za-z0-9_]*)::(?:"(?P<quoted>(?:[^"\\]|\\["\\])*)"|(?P<bare>[^"\s]+))')
_F = TypeVar("_F", bound=Callable[..., Any])


class GivenTarget(Struct, frozen=True):
    """A target by hand. The tenant is the caller's unless it is named."""

    ref: EntityRef
    tenant: str | None
    environment: str | None
    attributes: JsonObject


class Proposal(Struct, frozen=True, kw_only=True):
    """What the options of a rehearsal say."""

    tool: str
    arguments: bytes
    acting: Acting
    environment: str | None
    targets: tuple[GivenTarget, ...]


class Outlook(Struct, frozen=True, kw_only=True):
    """What is printed of a rehearsal with `--json`. A server does not say what its `environment` is."""

    tool: str
    environment: str | None
    decision: Decision


def caller_options(function: _F) -> _F:
    """The options of a rehearsed call, but for tool and arguments."""
    options: tuple[Callable[[_F], _F], ...] = (
        click.option("--agent", metavar="NAME", help="The agent that calls."),
        click.option("--service", metavar="NAME", help="The service that calls, where no agent does."),
        click.option("--user", metavar="NAME", help="The user it acts for."),
        click.option("--tenant", metavar="NAME", help="The tenant; may be left out where the agent has only one."),
        click.option("--session", metavar="ID", help="The session that the call belongs to."),
        click.option("--environment", metavar="NAME", help="Rehearse as if in this environment; changes nothing else."),
        click.option("--target", "targets", multiple=True, metavar="REF", help="A target by hand, such as 'Customer::\"C-412\"'."),
        click.option("--attr", "attributes", multiple=True, metavar="KEY=JSON", help="An attribute of every --target; `tenant` is one."),
        click.option(
            "--targets-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="PATH", help="Targets by hand, as JSON."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def read_proposal(tool: str, arguments: str | None, options: Mapping[str, Any]) -> Proposal:
    """What was typed, read strictly. Raises `Refusal`."""
    environment = options["environment"]
    if environment is not None and (problem := name_problem(environment)):
        raise _usage(f"`--environment` cannot be used: {problem}")
    acting = Acting(**{name: options[name] for name in ("tenant", "agent", "service", "user", "session")})
    targets = [*_by_option(options["targets"], options["attributes"]), *_by_file(options["targets_file"])]
    return Proposal(tool=tool, arguments=_arguments(arguments), acting=acting, environment=environment, targets=tuple(targets))


def rehearse(loaded: Loaded, proposal: Proposal, then: Callable[[Rehearsal, Rehearsed], Any]) -> Any:
    """Decide the proposal as the gate would, and give what `then` makes of it. Raises `OperatorError`."""
    settings = loaded.settings
    if proposal.environment is not None:
        settings = replace(settings, environment=proposal.environment)
    given = _given(loaded, proposal)
    with closing(Rehearsal(settings, loaded.registry, given, loaded.snapshots)) as rehearsal:
        return then(rehearsal, rehearsal.check(proposal.acting, proposal.tool, proposal.arguments, stops=_stops(settings)))


def _stops(settings: Settings) -> Stops | None:
    """What is frozen, where there is a ledger that can be read."""
    if not has_ledger(settings):
        return None
    with suppress(StoreError), reading(settings) as store:
        return FreezeView(store).look()
    return None


def _given(loaded: Loaded, proposal: Proposal) -> dict[EntityRef, ResourceFacts]:
    if not proposal.targets:
        return {}
    tenant = proposal.acting.tenant
    if tenant is None:
        with closing(Rehearsal(loaded.settings, loaded.registry, {}, loaded.snapshots)) as rehearsal:
            try:
                tenant = caller_of(proposal.acting, rehearsal.scene).tenant
            except CallerRefused:
                tenant = ""  # the call is refused for its caller, before any target is looked at
    return {target.ref: ResourceFacts(target.tenant or tenant, target.environment, target.attributes) for target in proposal.targets}


def _arguments(text: str | None) -> bytes:
    if text is None:
        return b"{}"
    return sys.stdin.buffer.read(STDIN_LIMIT_BYTES) if text == "-" else text.encode("utf-8", "surrogateescape")


def _by_option(targets: Sequence[str], attributes: Sequence[str]) -> list[GivenTarget]:
    found = dict(_attribute(text) for text in attributes)
    if found and not targets:
        raise _usage("`--attr` describes a `--target`, and there is none")
    return [_target(text, found) for text in targets]


def _target(text: str, facts: JsonObject) -> GivenTarget:
    """A reference with its facts, of which `tenant` and `environment` are no attributes."""
    match = _TARGET.fullmatch(text)
    if match is None:
        raise _usage(f'the target `{text}` is not `Type::"id"`')
    named = {name: facts.get(name) for name in sorted(RESERVED_ATTRIBUTES)}
    wrong = next((name for name, value in named.items() if value is not None and not isinstance(value, str)), None)
    if wrong is not None:
        raise _usage(f"`{wrong}` of the target `{text}` is not text", f"for example `--attr {wrong}='\"acme\"'`")
    quoted = match["quoted"]
    name = match["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    attributes = {key: value for key, value in facts.items() if key not in named}
    return GivenTarget(EntityRef(match["type"], name), named["tenant"], named["environment"], attributes)


def _attribute(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise _usage(f"`--attr {text}` is not `key=JSON`")
    try:
        return name, strict.parse(value)
    except ArgumentsRefused as error:
        message = f"`--attr {name}` is not JSON: {error}; text stands in quotes, such as `--attr {name}='\"gold\"'`"
        raise _usage(message) from error


def _by_file(path: Path | None) -> list[GivenTarget]:
    """The shape of `resources` in policy tests, as JSON."""
    if path is None:
        return []
    shape = """it is JSON such as `{"Customer::\\"C-412\\"": {"tenant": "acme", "vip": false}}`"""
    try:
        found = msgspec.convert(strict.parse(path.read_bytes()), dict[str, JsonObject])
    except (ArgumentsRefused, msgspec.ValidationError) as error:
        raise _usage(f"`{path}` does not hold targets: {error}", shape) from error
    return [_target(text, facts) for text, facts in found.items()]


def _usage(message: str, step: str | None = None) -> Refusal:
    return Refusal(Exit.USAGE, "usage", message, next_step=step or "`licet can --help` shows what it takes")

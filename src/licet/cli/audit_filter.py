"""Which records are meant: the options that `audit search` and `audit tail` share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, get_args

import click
from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.config import parse_duration_s
from licet.ledger.record import Actor, Envelope, Kind
from licet.model import OutcomeStatus
from licet.store.contract import StoredRecord

_TARGET_ID = re.compile(r'[A-Z][A-Za-z0-9_]*::"(.*)"', re.DOTALL)
_F = TypeVar("_F", bound=Callable[..., Any])


class Filter(Struct, frozen=True, kw_only=True):
    """What a record must be; None is not compared. `since` and `until` are UTC microseconds. `text` is found in any case, anywhere."""

    actor: str | None = None
    agent: str | None = None
    service: str | None = None
    user: str | None = None
    session: str | None = None
    tool: str | None = None
    target: str | None = None
    verdict: str | None = None
    outcome: str | None = None
    kinds: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    text: str | None = None

    def fits(self, record: StoredRecord, envelope: Envelope) -> bool:
        """Whether this record is meant."""
        return (
            (not self.kinds or envelope.kind in self.kinds)
            and (self.since is None or envelope.at >= self.since)
            and (self.until is None or envelope.at < self.until)
            and self._fits_act(envelope)
            and self._fits_actor(envelope.actor)
            and self._fits_text(record)
        )

    def _fits_act(self, envelope: Envelope) -> bool:
        tool, decision, outcome = envelope.tool, envelope.decision, envelope.outcome
        return (
            (self.tool is None or (tool is not None and tool.name == self.tool))
            and (self.verdict is None or (decision is not None and decision.verdict == self.verdict))
            and (self.outcome is None or (outcome is not None and outcome.status == self.outcome))
            and (self.target is None or any(_is_target(target, self.target) for target in envelope.targets))
        )

    def _fits_actor(self, actor: Actor | None) -> bool:
        if actor is None:
            return self.actor is None and self.agent is None and self.service is None and self.user is None and self.session is None
        return (
            (self.actor is None or self.actor in {actor.agent, actor.service, actor.user})
            and (self.agent is None or actor.agent == self.agent)
            and (self.service is None or actor.service == self.service)
            and (self.user is None or actor.user == self.user)
            and (self.session is None or actor.session == self.session)
        )

    def _fits_text(self, record: StoredRecord) -> bool:
        if self.text is None:
            return True
        wanted = self.text.casefold()
        return any(part is not None and wanted in part.decode("utf-8", "replace").casefold() for part in (record.envelope, record.payload))


def filter_options(function: _F) -> _F:
    """The options that make a `Filter`, and `--tenant`."""
    options: tuple[Callable[[_F], _F], ...] = (
        click.option("--tenant", metavar="NAME", help="Only the log of this tenant; `operator` is the one of what has no tenant."),
        click.option("--actor", metavar="NAME", help="Only what this agent, service or user did."),
        click.option("--agent", metavar="NAME", help="Only what this agent did."),
        click.option("--service", metavar="NAME", help="Only what this service did."),
        click.option("--user", metavar="NAME", help="Only what was done for this user."),
        click.option("--session", metavar="ID", help="Only one session."),
        click.option("--tool", metavar="NAME", help="Only this tool."),
        click.option("--target", metavar="REF", help="Only this target: 'Customer::\"C-412\"', or its id alone."),
        click.option("--verdict", type=click.Choice(["allow", "deny", "hold"]), help="Only decisions with this verdict."),
        click.option("--outcome", type=click.Choice(get_args(OutcomeStatus)), help="Only calls that ended so."),
        click.option(
            "--kind", "kinds", multiple=True, type=click.Choice(get_args(Kind)), metavar="KIND", help="Only records of this kind."
        ),
        click.option("--since", metavar="TIME", help="Only from this time on: 2026-11-22T09:30, UTC, or 2h for two hours ago."),
        click.option("--until", metavar="TIME", help="Only before this time."),
        click.option("--text", metavar="TEXT", help="Only records that hold this text anywhere."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def read_filter(options: Mapping[str, Any], now: datetime) -> Filter:
    """The filter that was typed. Raises `Refusal`."""
    named = {name: value for name, value in options.items() if name not in {"since", "until"}}
    return Filter(**named, since=_moment("since", options["since"], now), until=_moment("until", options["until"], now))


def _moment(name: str, text: str | None, now: datetime) -> int | None:
    if text is None:
        return None
    ago_s = parse_duration_s(text)
    try:
        found = now - timedelta(seconds=ago_s) if ago_s is not None else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        step = f"for example `--{name} 2026-11-22`, `--{name} 2026-11-22T09:30` (UTC) or `--{name} 2h`"
        raise Refusal(Exit.USAGE, "usage", f"`--{name} {text}` is not a time", next_step=step) from error
    aware = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return int(aware.timestamp()) * 1_000_000 + aware.microsecond


def _is_target(found: str, wanted: str) -> bool:
    match = _TARGET_ID.fullmatch(found)
    return found == wanted or (match is not None and match[1] == wanted)

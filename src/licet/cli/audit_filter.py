"""Which records are meant: the options that `audit search` and `audit tail` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, get_args

import click
from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.config import parse_duration_s
from licet.gate.reading import TARGET_ID, wanted_of
from licet.ledger.record import Actor, Envelope, Kind
from licet.model import OutcomeStatus
from licet.store.contract import StoredRecord
from licet.store.finder import Wanted

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
    deviating: bool = False
    kinds: tuple[str, ...] = ()
    policy: str | None = None
    workflow: str | None = None
    trace: str | None = None
    voter: str | None = None
    since: int | None = None
    until: int | None = None
    text: str | None = None

    def fits(self, record: StoredRecord, envelope: Envelope) -> bool:
        """Whether this record is meant."""
        return (
            (envelope.kind in self.kinds if self.kinds else envelope.kind != "access")
            and (self.since is None or envelope.at >= self.since)
            and (self.until is None or envelope.at < self.until)
            and self._fits_act(envelope)
            and self._fits_rest(envelope)
            and self._fits_actor(envelope.actor)
            and self._fits_text(record)
        )

    def _fits_act(self, envelope: Envelope) -> bool:
        tool, decision, outcome = envelope.tool, envelope.decision, envelope.outcome
        return (
            (self.tool is None or (tool is not None and tool.name == self.tool))
            and (self.verdict is None or (decision is not None and decision.verdict == self.verdict))
            and (self.outcome is None or (outcome is not None and outcome.status == self.outcome))
            and (not self.deviating or (outcome is not None and outcome.deviates))
            and (self.target is None or any(_is_target(target, self.target) for target in envelope.targets))
        )

    def _fits_rest(self, envelope: Envelope) -> bool:
        decision, trace, approval = envelope.decision, envelope.trace, envelope.approval
        return (
            (self.policy is None or (decision is not None and self.policy in decision.policies))
            and (self.workflow is None or (trace is not None and trace.workflow == self.workflow))
            and (self.trace is None or (trace is not None and trace.trace_id == self.trace))
            and (self.voter is None or (approval is not None and self.voter in approval.voters))
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
        click.option("--target", metavar="REF", help="Only this target: Customer/C-412, or its id alone."),
        click.option("--verdict", type=click.Choice(["allow", "deny", "hold"]), help="Only decisions with this verdict."),
        click.option("--outcome", type=click.Choice(get_args(OutcomeStatus)), help="Only calls that ended so."),
        click.option("--deviating", is_flag=True, help="Only calls whose effects are not those that people approved."),
        click.option(
            "--kind",
            "kinds",
            multiple=True,
            type=click.Choice(get_args(Kind)),
            metavar="KIND",
            help="Only records of this kind; `access`, who read the log, is shown only so.",
        ),
        click.option("--policy", metavar="ID", help="Only what this policy decided."),
        click.option("--workflow", metavar="NAME", help="Only one workflow."),
        click.option("--trace", metavar="ID", help="Only one trace: 32 hex digits."),
        click.option("--voter", metavar="NAME", help="Only what this person approved or rejected, and what ran because of it."),
        click.option("--since", metavar="TIME", help="Only from this time on: 2026-11-22T09:30, UTC, or 2h for two hours ago."),
        click.option("--until", metavar="TIME", help="Only before this time."),
        click.option("--text", metavar="TEXT", help='Only records with these words; "a phrase" in quotes, and begin* for what begins so.'),
    )
    for option in reversed(options):
        function = option(function)
    return function


def read_filter(options: Mapping[str, Any], now: datetime) -> Filter:
    """The filter that was typed. Raises `Refusal`."""
    named = {name: value for name, value in options.items() if name not in {"since", "until"}}
    return Filter(**named, since=moment_of("since", options["since"], now), until=moment_of("until", options["until"], now))


def read_wanted(options: Mapping[str, Any], now: datetime, types: Sequence[str]) -> Wanted:
    """What was typed, for the search index. `types` are those that a target may be of where its id stands alone. Raises `Refusal`."""
    since_us, until_us = moment_of("since", options["since"], now), moment_of("until", options["until"], now)
    return wanted_of(options, types, since_us=since_us, until_us=until_us)


def asked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as they were typed."""
    return {name: value for name, value in options.items() if value}


def moment_of(name: str, text: str | None, now: datetime) -> int | None:
    """The time that was typed, in UTC microseconds; None where none was. Raises `Refusal`."""
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
    match = TARGET_ID.fullmatch(found)
    return found == wanted or (match is not None and wanted in {match[1], f"{found.partition('::')[0]}/{match[1]}"})

"""What `licet doctor --production` refuses: each reason by a name that stays, with what to do about it.

Rules:

1. Everything that `doctor` fails on is a reason, too.
2. A reason is met by mending it. One that cannot be mended on a local store may be accepted by name in licet.toml, never by an option or
   the process environment; it is still shown each time, as accepted.
3. What cannot be looked at is not taken for sound.

Not seen: how the application is started, what else its operating user may do, and whether anybody reads what it logs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path

from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.faults import Fault
from licet.cli.finding import Finding
from licet.cli.output import Output
from licet.cli.wording import counted, listed
from licet.config import Settings
from licet.errors import PolicyInvalid
from licet.policy.bundle import Bundle

REASONS = {
    "accepted_reason_unknown": "`[production] accept` names a reason that does not exist, or that cannot be accepted",
    "debug_settings": "the interpreter, or a variable of the environment, is set for looking for errors",
    "demo_keys": "the ledger's key lies where `licet init` and `licet demo` put it: beside the ledger, or beside licet.toml",
    "environment_not_production": "`environment` does not say that this is production, and policies decide by it",
    "failed_check": "`licet doctor` fails on it without `--production`, too",
    "no_notifications": "policies ask people, and `[[notify.channels]]` tells nobody that they are asked",
    "no_retention": "`[retention] payloads` does not say how long payloads are kept",
    "no_witness": "neither an anchor nor a witness server holds the ledger's checkpoint",
    "overridden_settings": "variables of the environment (`LICET_...`) stand in place of what licet.toml says",
    "plain_http_witness": "a witness server is asked over `http://`, so that anybody on the way can keep it silent",
    "starter_policies": "a policy file is word for word the one that `licet init` wrote",
    "votes_without_credential": "policies ask people, and whoever may write the local store can vote in any name",
    "writable_anchor": "the user who runs the tools can change an anchor",
    "writable_config": "the user who runs the tools can change licet.toml",
    "writable_key": "the user who runs the tools can change the file of the key",
    "writable_policies": "the user who runs the tools can change policies",
    "writable_store": "the user who runs the tools can change the store",
}
"""Every reason, and what it means. The table in docs/production.md is held equal to it."""
ACCEPTABLE = frozenset({"environment_not_production", "no_notifications", "no_retention", "votes_without_credential"})
"""What a person can answer for. The others are holes that no sentence in a file closes."""

_PRODUCTION = re.compile(r"(^|[-_.])(prod|production|live)($|[-_.0-9])", re.IGNORECASE)
_DEBUG_VARIABLES = ("PYTHONASYNCIODEBUG", "PYTHONDEVMODE", "PYTHONINSPECT", "PYTHONMALLOC", "PYTHONTRACEMALLOC")
_OVERRIDES = ("LICET_LIMITS_", "LICET_APPROVALS_", "LICET_SERVER_")


class Reason(Struct, frozen=True, kw_only=True):
    """Why this is not fit for production: a stable name, a sentence, and the next step. `accepted`: licet.toml answers for it."""

    name: str
    message: str
    next: str
    accepted: bool = False


def production_reasons(settings: Settings | None, findings: Iterable[Finding], environ: Mapping[str, str]) -> tuple[Reason, ...]:
    """Every reason, those of `doctor` first. `settings` is None where licet.toml cannot be used: then there is nothing else to look at."""
    found = [_of_finding(finding) for finding in findings if finding.level == "fail"]
    found += _of_process(environ)
    if settings is None:
        return tuple(found)
    asking = asking_policies(settings)
    for look in (_keys, _witness, _environment, _retention, _starter):
        found += look(settings)
    if asking:
        found += [*_credential(asking), *_notifications(settings, asking)]
    accepted = settings.production.accept
    found += _unknown(accepted)
    return tuple([_accept(reason, accepted) for reason in found])


def asking_policies(settings: Settings) -> tuple[str, ...]:
    """The policies that ask people, by id; none where the bundle cannot be read, which is a failed check of its own."""
    try:
        bundle = Bundle.read(settings.policies)
    except PolicyInvalid:
        return ()
    return tuple([policy.id for policy in bundle.policies if policy.obligation is not None and policy.obligation.kind != "preview_only"])


def _accept(reason: Reason, accepted: tuple[str, ...]) -> Reason:
    if reason.name not in accepted or reason.name not in ACCEPTABLE:
        return reason
    return Reason(name=reason.name, message=reason.message, next=reason.next, accepted=True)


def _of_finding(finding: Finding) -> Reason:
    """What `doctor` fails on: the safety of a thing has a name of its own."""
    about, _, safety = finding.about.partition(" ")
    name = f"writable_{about}" if safety == "safety" and f"writable_{about}" in REASONS else "failed_check"
    message = finding.message if name != "failed_check" else f"{finding.about}: {finding.message}"
    return Reason(name=name, message=message, next=finding.next or "mend it, and look again")


def _of_process(environ: Mapping[str, str]) -> Iterator[Reason]:
    set_here = [name for name in _DEBUG_VARIABLES if environ.get(name)]
    set_here += ["-X dev"] if sys.flags.dev_mode and "PYTHONDEVMODE" not in set_here else []
    if set_here:
        yield Reason(
            name="debug_settings",
            message=f"{listed([f'`{name}`' for name in set_here])} is set where this runs",
            next="start the application, and this, without it",
        )
    overrides = sorted(name for name in environ if name.startswith(_OVERRIDES))
    if overrides:
        yield Reason(
            name="overridden_settings",
            message=f"{listed([f'`{name}`' for name in overrides])} stands in place of what licet.toml says, where nobody reviews it",
            next="unset it, and write the value into licet.toml",
        )


def _keys(settings: Settings) -> Iterator[Reason]:
    scheme, _, rest = settings.keys.partition(":")
    if scheme != "file":
        return
    key = Path(rest).resolve()
    beside = "the ledger" if key.parent == settings.beside.resolve().parent else None
    if beside is None and settings.file is not None and key.parent == settings.file.resolve().parent:
        beside = "licet.toml"
    if beside is not None:
        yield Reason(
            name="demo_keys",
            message=f"the key `{rest}` lies beside {beside}, where starters put it: whoever copies the folder has both",
            next="move it to a folder that only the ledger's user reads, and name that under `keys`; or use `env:` or `command:`",
        )


def _witness(settings: Settings) -> Iterator[Reason]:
    wanted = settings.witness
    if not wanted.anchors and not wanted.servers:
        yield Reason(
            name="no_witness",
            message="nobody outside the ledger holds its checkpoint: a cut, a rollback or a rewrite with its key would go unnoticed",
            next="name `[[witness.servers]]`, or an `anchor` on another machine's disk, in licet.toml: docs/witness.md",
        )
    for server in wanted.servers:
        for url in (server.url, server.monitoring_url or ""):
            if url.lower().startswith("http://"):
                yield Reason(
                    name="plain_http_witness",
                    message=f"the witness is asked at `{url}`, unencrypted: whoever is on the way can silence it, or replay what it said",
                    next="use its `https://` address",
                )


def _environment(settings: Settings) -> Iterator[Reason]:
    if not _PRODUCTION.search(settings.environment):
        yield Reason(
            name="environment_not_production",
            message=f"the environment is called `{settings.environment}`, and policies for production may not apply to it",
            next='`environment = "production"` in licet.toml, or accept the name',
        )


def _retention(settings: Settings) -> Iterator[Reason]:
    if settings.retention.payloads_s is None:
        yield Reason(
            name="no_retention",
            message="nobody has said how long arguments, reasons and results are kept",
            next='`payloads = "400d"` under `[retention]`, and `licet audit prune` from a timer',
        )


def _starter(settings: Settings) -> Iterator[Reason]:
    folder = resources.files("licet.cli").joinpath("starter", "policies")
    starters = {one.read_bytes(): one.name for one in folder.iterdir() if one.name.endswith(".cedar")}
    for file in sorted(settings.policies.glob("*.cedar")):
        try:
            content = file.read_bytes()
        except OSError:
            continue  # a failed check: the bundle cannot be read
        if content in starters:
            yield Reason(
                name="starter_policies",
                message=f"`{file}` is word for word the example that `licet init` wrote",
                next="write the rules that hold here, with tests beside them",
            )


def _credential(asking: tuple[str, ...]) -> Iterator[Reason]:
    yield Reason(
        name="votes_without_credential",
        message=f"{_who_asks(asking)}, and a vote on a local store shows no credential: who may write it can vote in any name",
        next="let nobody but the approvers, and the application, write the store, under operating users of their own (each record names "
        'which one voted); then answer for it: `accept = ["votes_without_credential"]` under `[production]`',
    )


def _notifications(settings: Settings, asking: tuple[str, ...]) -> Iterator[Reason]:
    if not settings.notify.channels:
        yield Reason(
            name="no_notifications",
            message=f"{_who_asks(asking)}, and nobody is told: a request would expire unseen",
            next="name `[[notify.channels]]` in licet.toml, or accept that somebody looks at `licet approvals watch`",
        )


def _who_asks(asking: tuple[str, ...]) -> str:
    return f"{listed([f'`{policy}`' for policy in asking], 3)} {'asks' if len(asking) == 1 else 'ask'} people"


def _unknown(accepted: tuple[str, ...]) -> Iterator[Reason]:
    for name in accepted:
        if name not in ACCEPTABLE:
            why = "cannot be accepted" if name in REASONS else "does not exist"
            yield Reason(
                name="accepted_reason_unknown",
                message=f"`accept` under `[production]` names `{name}`, a reason that {why}",
                next=f"take it out; what can be accepted: {', '.join(sorted(ACCEPTABLE))}",
            )


def unfit(reasons: Iterable[Reason]) -> Fault | None:
    """The refusal, with the names of all reasons that nobody has accepted; None where there is none."""
    names = tuple(dict.fromkeys(reason.name for reason in reasons if not reason.accepted))
    if not names:
        return None
    message = f"not fit for production: {listed(names, len(names))}"
    return Fault(exit=Exit.ERROR, code="not_fit_for_production", message=message, next="docs/production.md explains each reason")


def show_reasons(output: Output, reasons: Iterable[Reason]) -> None:
    """Each reason with its name and its next step, and what it comes to."""
    found = tuple(reasons)
    output.heading("Production")
    for reason in found:
        kind, word = ("warn", "accepted") if reason.accepted else ("fail", "refused")
        output.mark(kind, word, f"{reason.name}: {reason.message}", below="" if reason.accepted else f"next: {reason.next}")
    refused = sum(not reason.accepted for reason in found)
    accepted = f", {len(found) - refused} accepted in licet.toml" if len(found) > refused else ""
    output.line()
    output.line(f"{counted(refused, 'reason')} against production{accepted}" if refused else f"fit for production{accepted}")

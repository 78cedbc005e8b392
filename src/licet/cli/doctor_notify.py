"""What `licet doctor` looks at in notifications: can each channel be used, does somebody deliver, and does what is delivered arrive?

Nothing is sent, and no server is spoken to.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from licet.cli.finding import Finding
from licet.cli.loading import reading, utc_now
from licet.cli.wording import counted, moment, span
from licet.config import Settings
from licet.config.notify import AnyChannel, AppriseSettings, EmailSettings, SlackSettings, WebhookSettings
from licet.errors import OperatorError, StoreError
from licet.gate.opening import has_ledger
from licet.ledger.record import microseconds
from licet.store.contract import Store

LATE_S = 300.0
"""A process that delivers does so within a second, and tries again within a minute at first."""
_LOOKED_AT = 20
_LOG = "`licet approvals deliveries` shows each"


def notify_findings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether people are told of requests, as `[notify]` says they are."""
    channels = settings.notify.channels
    if not channels:
        return
    for channel in channels:
        yield _usable(channel, environ)
        yield from _open_to_others(channel)
        if isinstance(channel, EmailSettings) and channel.security == "none":
            message = f"channel `{channel.name}` sends mail unencrypted: whoever is on the way reads requests, and can change them"
            yield Finding("warn", "notify", message, 'use `security = "starttls"` or `"tls"`')
    if not has_ledger(settings):
        return
    try:
        with reading(settings) as store:
            yield _delivers(store)
            yield from _late(store)
            for channel in channels:
                yield from _arrives(store, channel.name)
    except StoreError:
        return  # said where the store is looked at


def _usable(channel: AnyChannel, environ: Mapping[str, str]) -> Finding:
    from licet.approvals.notify.channels import make_channel  # noqa: PLC0415 - mail, TLS and more, loaded where there is a channel

    try:
        make_channel(channel, None, environ).close()
    except OperatorError as error:
        step = "mend it under `[[notify.channels]]`, and start again what delivers; what is to be told waits for about an hour"
        return Finding("fail", "notify", f"channel `{channel.name}` cannot be used: {error}", step)
    return Finding("ok", "notify", f"channel `{channel.name}` can be used")


def secret_references(channel: AnyChannel) -> tuple[str, ...]:
    """Where the channel's secrets come from."""
    match channel:
        case EmailSettings():
            return () if channel.password is None else (channel.password,)
        case WebhookSettings():
            return channel.secrets
        case SlackSettings():
            return channel.app_token, channel.bot_token
        case AppriseSettings():
            return channel.urls
        case _:
            return ()


def _open_to_others(channel: AnyChannel) -> Iterator[Finding]:
    for reference in secret_references(channel):
        scheme, _, place = reference.partition(":")
        if scheme != "file" or not Path(place).is_file():
            continue
        if Path(place).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            message = f"`{place}`, a secret of channel `{channel.name}`, can be read by others than its owner"
            yield Finding("warn", "notify", message, f"`chmod 600 {place}`, unless only the right people are on this machine")


def _delivers(store: Store) -> Finding:
    holder = store.find_deliverer()
    boot = next((boot for boot in store.boots() if holder is not None and boot.id == holder.boot), None)
    if holder is not None and boot is not None and boot.lives:
        return Finding("ok", "notify", f"a process tells people of requests (boot `{holder.boot}`)")
    message = "no process tells people of requests now"
    return Finding("warn", "notify", message, "an application does while its gate is open; otherwise run `licet approvals notify`")


def _late(store: Store) -> Iterator[Finding]:
    before = microseconds(utc_now()) - int(LATE_S * 1_000_000)
    notices, waiting = store.count_stale(before)
    if notices:
        message = f"{counted(notices, 'event')} of requests, older than {span(LATE_S)}, {'was' if notices == 1 else 'were'} told to nobody"
        yield Finding("fail", "notify", message, "run `licet approvals notify`, or an application with this licet.toml")
    if waiting:
        yield Finding("fail", "notify", f"{counted(waiting, 'notification')} older than {span(LATE_S)} still to be sent", _LOG)
    overdue = store.overdue_requests(before)
    if overdue:
        message = f"{counted(len(overdue), 'request')} past their time for more than {span(LATE_S)}, and not expired yet"
        yield Finding("warn", "notify", message, "whoever looks at them or tells of them expires them")


def _arrives(store: Store, channel: str) -> Iterator[Finding]:
    """What became of the newest deliveries of a channel that have ended."""
    ended = store.deliveries(channel=channel, states=("sent", "failed"), limit=_LOOKED_AT)
    failed = [delivery for delivery in ended if delivery.state == "failed"]
    if ended and ended[0].state == "failed":
        message = f"channel `{channel}` has failed since {moment(failed[-1].at)} UTC: {ended[0].error}"
        yield Finding("fail", "notify", message, f"`licet approvals deliveries --failed --channel {channel}` shows each")
    elif failed:
        share = f"{len(failed)} of the newest {len(ended)}"
        yield Finding("warn", "notify", f"channel `{channel}` has failed for {share}; the last one arrived", _LOG)
    elif ended:
        yield Finding("ok", "notify", f"channel `{channel}` last sent something at {moment(ended[0].done_at or ended[0].at)} UTC")

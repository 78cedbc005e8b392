"""Channels from what licet.toml says of them. Optional libraries are loaded where a channel needs them, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import assert_never

from licet.approvals.notify.channel import Channel, Decide
from licet.approvals.notify.email import EmailChannel
from licet.approvals.notify.message import Message
from licet.approvals.notify.secrets import read_secret
from licet.approvals.notify.terminal import TerminalChannel
from licet.config.notify import AnyChannel, AppriseSettings, EmailSettings, SlackSettings, TerminalSettings, WebhookSettings
from licet.errors import DeliveryFailed, OperatorError

_log = logging.getLogger("licet.notify")


class Unusable:
    """Stands in for a channel that cannot be made: what was to go through it waits, and the delivery log says why."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self._problem = problem

    def deliver(self, message: Message, earlier: str | None) -> str | None:  # noqa: ARG002  nothing can be sent
        """Raises `DeliveryFailed`: it may be mended, and the process started again."""
        raise DeliveryFailed(self._problem, retry=True)

    def close(self) -> None:
        """There is nothing to close."""


def open_channel(settings: AnyChannel, decide: Decide, environ: Mapping[str, str]) -> Channel:
    """A channel of this kind, or one that says why there is none: a secret that is missing stops no call."""
    try:
        return make_channel(settings, decide, environ)
    except OperatorError as error:
        _log.error("licet: channel `%s` cannot be used: %s", settings.name, error)
        return Unusable(settings.name, str(error))
    except Exception as error:  # noqa: BLE001  whatever an optional library does, it stops no call; its words may hold a secret
        _log.error("licet: channel `%s` cannot be used: an unexpected `%s`", settings.name, type(error).__name__)
        return Unusable(settings.name, f"it cannot be made: an unexpected `{type(error).__name__}`")


def make_channel(settings: AnyChannel, decide: Decide | None, environ: Mapping[str, str]) -> Channel:
    """A channel of this kind; one that takes votes does so where there is a `decide`.

    Raises `OperatorError` where a secret or an optional library is missing.
    """
    match settings:
        case TerminalSettings():
            return TerminalChannel.on(settings.stream, settings.name)
        case EmailSettings():
            return EmailChannel(settings, None if settings.password is None else read_secret(settings.password, environ))
        case WebhookSettings():
            return _webhook(settings, environ)
        case SlackSettings():
            return _slack(settings, decide, environ)
        case AppriseSettings():
            return _apprise(settings, environ)
    assert_never(settings)


def _webhook(settings: WebhookSettings, environ: Mapping[str, str]) -> Channel:
    from licet.approvals.notify.webhook import WebhookChannel  # noqa: PLC0415  needs an optional library

    secrets = tuple([read_secret(secret, environ) for secret in settings.secrets])
    return WebhookChannel(settings.url, secrets, name=settings.name, timeout_s=settings.timeout_s)


def _slack(settings: SlackSettings, decide: Decide | None, environ: Mapping[str, str]) -> Channel:
    from licet.approvals.notify.slack import SlackChannel  # noqa: PLC0415  needs an optional library

    return SlackChannel(
        app_token=read_secret(settings.app_token, environ),
        bot_token=read_secret(settings.bot_token, environ),
        channel=settings.channel,
        users=settings.users,
        decide=decide,
        name=settings.name,
        api_url=settings.api_url,
    )


def _apprise(settings: AppriseSettings, environ: Mapping[str, str]) -> Channel:
    from licet.approvals.notify.apprise_channel import AppriseChannel  # noqa: PLC0415  needs an optional library

    return AppriseChannel(tuple([read_secret(url, environ) for url in settings.urls]), name=settings.name)

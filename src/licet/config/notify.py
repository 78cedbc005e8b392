"""`[notify]` of a licet.toml: through what people are told of requests.

Rules:

1. No secret stands in the file: it says where one comes from (`env:NAME` or `file:PATH`), and a text that says neither is refused.
2. A channel names only tenants, groups and users that there are: one that is misspelt would tell nobody, and nobody would notice.
3. A password goes over a wire only where nobody listens: encrypted, or to this very machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import replace

from licet.config.decoding import Decoder
from licet.names import name_problem

Event = Literal["opened", "vote", "approved", "rejected", "expired", "withdrawn", "superseded", "reopened", "consumed"]
"""What a channel can be told of."""
EVENTS: tuple[Event, ...] = get_args(Event)
QUIET: tuple[Event, ...] = tuple(event for event in EVENTS if event not in {"vote", "consumed"})
"""What people are told of where each message is one more to read: not each single vote, and not that the call then ran."""

MAX_AGE_S = 86_400
PLACE = "{request}"
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0]+")

Seconds = Annotated[float, Meta(gt=0, le=300)]


class ChannelSettings(Struct, frozen=True, kw_only=True):
    """An entry of `[[notify.channels]]`: what every kind has. Empty `tenants` and `groups` are all; without `events`, those of its kind."""

    name: str
    tenants: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    events: tuple[Event, ...] | None = None

    @property
    def told(self) -> tuple[Event, ...]:
        """The events that go through this channel."""
        return QUIET if self.events is None else self.events


class TerminalSettings(ChannelSettings, frozen=True, kw_only=True):
    """`kind = "terminal"`: written to a stream of the process that delivers."""

    stream: Literal["stderr", "stdout"] = "stderr"


class EmailSettings(ChannelSettings, frozen=True, kw_only=True):
    """`kind = "email"`: mail through an SMTP server.

    `to` are told of everything; of `recipients`, the addresses of users, those are who may vote. `ca` is a file of certificates that are
    trusted in place of the system's. `password` says where it comes from.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: str
    to: tuple[str, ...] = ()
    recipients: Mapping[str, str] = MappingProxyType({})
    user: str | None = None
    password: str | None = None
    ca: str | None = None
    timeout_s: Seconds = 20.0


class WebhookSettings(ChannelSettings, frozen=True, kw_only=True):
    """`kind = "webhook"`: posts, signed as Standard Webhooks says. `secrets` say where one or two secrets come from, the newer first."""

    url: str
    secrets: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)]
    timeout_s: Seconds = 10.0

    @property
    def told(self) -> tuple[Event, ...]:
        """Every event: what receives them is a program."""
        return EVENTS if self.events is None else self.events


class SlackSettings(ChannelSettings, frozen=True, kw_only=True):
    """`kind = "slack"`: a message with buttons, rewritten as things go on. `users` maps Slack's user ids to users of the directory.

    `app_token` and `bot_token` say where they come from; `channel` is the id of a channel. `api_url` is for a Slack elsewhere.
    """

    app_token: str
    bot_token: str
    channel: str
    users: Mapping[str, str] = MappingProxyType({})
    api_url: str | None = None

    @property
    def told(self) -> tuple[Event, ...]:
        """Every event: the message is rewritten, and nobody is disturbed."""
        return EVENTS if self.events is None else self.events


class AppriseSettings(ChannelSettings, frozen=True, kw_only=True):
    """`kind = "apprise"`: whatever Apprise reaches. `urls` say where its addresses come from, since they hold secrets."""

    urls: Annotated[tuple[str, ...], Meta(min_length=1)]


AnyChannel: TypeAlias = TerminalSettings | EmailSettings | WebhookSettings | SlackSettings | AppriseSettings
KINDS: Mapping[str, type[AnyChannel]] = MappingProxyType(
    {
        "terminal": TerminalSettings,
        "email": EmailSettings,
        "webhook": WebhookSettings,
        "slack": SlackSettings,
        "apprise": AppriseSettings,
    }
)


class NotifySettings(Struct, frozen=True, kw_only=True):
    """`[notify]`. `link` leads to a page that shows a request; what is older than `max_age_s` is told to nobody any more."""

    link: str | None = None
    max_age_s: int = MAX_AGE_S
    channels: tuple[AnyChannel, ...] = ()


class WrittenNotify(Struct):
    """`[notify]` as written."""

    link: str | None = None
    max_age: str = "1d"
    channels: tuple[dict[str, Any], ...] = ()


class Known(Struct, frozen=True):
    """The names that a channel may use."""

    tenants: Collection[str]
    groups: Collection[str]
    users: Collection[str]


def read_notify(decoder: Decoder, table: object, folder: Path, known: Known) -> NotifySettings:
    """The table as settings. Raises `ConfigInvalid`."""
    written = decoder.struct(table, WrittenNotify, "notify")
    if written.link is not None:
        _check_link(decoder, written.link)
    channels = tuple([_channel(decoder, entry, f"notify.channels[{place}]", folder) for place, entry in enumerate(written.channels)])
    names = [channel.name for channel in channels]
    for place, channel in enumerate(channels):
        where = f"notify.channels[{place}]"
        if problem := name_problem(channel.name):
            raise decoder.invalid(f"{where}.name", f"is not a usable name: {problem}")
        if channel.name in names[:place]:
            raise decoder.invalid(f"{where}.name", f"is `{channel.name}`, as another channel's is")
        _check_names(decoder, channel, where, known)
    return NotifySettings(link=written.link, max_age_s=decoder.duration_s(written.max_age, "notify.max_age"), channels=channels)


def _check_link(decoder: Decoder, link: str) -> None:
    try:
        parts = urlsplit(link)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not re.fullmatch(r"[!-~]+", link):
        raise decoder.invalid("notify.link", "is not a link: it begins with https:// and has no spaces")
    if link.count(PLACE) != 1 or PLACE in parts.netloc or re.search(r"[{}]", link.replace(PLACE, "")):
        raise decoder.invalid("notify.link", f"must say once, behind the host, where the id of the request stands: `{PLACE}`")


def _channel(decoder: Decoder, entry: dict[str, Any], where: str, folder: Path) -> AnyChannel:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        given = f"is `{kind}`, not" if isinstance(kind, str) else "must be"
        raise decoder.invalid(f"{where}.kind", f"{given} one of {', '.join(KINDS)}")
    table = {key: value for key, value in entry.items() if key != "kind"}
    channel = decoder.struct(table, KINDS[kind], where)
    match channel:
        case EmailSettings():
            return _email(decoder, channel, where, folder)
        case WebhookSettings():
            return replace(channel, secrets=_secrets(decoder, channel.secrets, f"{where}.secrets", folder))
        case SlackSettings():
            app, bot = [_secret(decoder, getattr(channel, key), f"{where}.{key}", folder) for key in ("app_token", "bot_token")]
            return replace(channel, app_token=app, bot_token=bot)
        case AppriseSettings():
            return replace(channel, urls=_secrets(decoder, channel.urls, f"{where}.urls", folder))
        case TerminalSettings():
            return channel


def _email(decoder: Decoder, channel: EmailSettings, where: str, folder: Path) -> EmailSettings:
    for key, addresses in (("sender", (channel.sender,)), ("to", channel.to), ("recipients", tuple(channel.recipients.values()))):
        wrong = [address for address in addresses if not _ADDRESS.fullmatch(address)]
        if wrong:
            raise decoder.invalid(f"{where}.{key}", "is not an address such as `licet@example.org`")
    if not channel.to and not channel.recipients:
        raise decoder.invalid(f"{where}.to", "or `recipients` must name somebody")
    if (channel.user is None) != (channel.password is None):
        raise decoder.invalid(f"{where}.{'user' if channel.user is None else 'password'}", "is required where the other one is there")
    if channel.password is not None and channel.security == "none" and not _is_here(channel.host):
        raise decoder.invalid(
            f"{where}.security", f"is `none`, and the password would cross the network to `{channel.host}` for all to read"
        )
    password = None if channel.password is None else _secret(decoder, channel.password, f"{where}.password", folder)
    ca = None if channel.ca is None else str(folder / decoder.path(channel.ca, f"{where}.ca"))
    return replace(channel, password=password, ca=ca)


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _secrets(decoder: Decoder, references: tuple[str, ...], where: str, folder: Path) -> tuple[str, ...]:
    return tuple([_secret(decoder, reference, where, folder) for reference in references])


def _secret(decoder: Decoder, reference: str, where: str, folder: Path) -> str:
    """Where a secret comes from, a file's path absolute. What else stands there is not repeated: it may be the secret."""
    if not _SECRET.fullmatch(reference):
        raise decoder.invalid(where, "must say where the secret comes from, `env:NAME` or `file:PATH`; it is never the secret itself")
    scheme, _, rest = reference.partition(":")
    return f"file:{folder / rest}" if scheme == "file" else reference


def _check_names(decoder: Decoder, channel: AnyChannel, where: str, known: Known) -> None:
    people: tuple[tuple[str, Collection[str]], ...] = ()
    if isinstance(channel, EmailSettings):
        people = (("recipients", channel.recipients.keys()),)
    elif isinstance(channel, SlackSettings):
        people = (("users", channel.users.values()),)
    for key, names, there, what in (
        ("tenants", channel.tenants, known.tenants, "tenant"),
        ("groups", channel.groups, known.groups, "group"),
        *((key, names, known.users, "user") for key, names in people),
    ):
        for name in names:
            if name not in there:
                raise decoder.invalid(f"{where}.{key}", f"names `{name}`, and there is no such {what}")

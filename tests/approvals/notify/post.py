"""A world whose requests are told: through channels that keep what they are given, on a clock that the test owns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from licet.approvals.notify.channel import Channel, Decide
from licet.approvals.notify.deliverer import Deliverer
from licet.approvals.notify.message import Message
from licet.approvals.notify.office import Office
from licet.config import loads
from licet.config.notify import AnyChannel, NotifySettings
from licet.store.outbox import Delivery
from licet.store.sqlite import SqliteStore
from tests.world import CONFIG, World, world

ONE = """
[notify]
link = "https://licet.example/approvals/{request}"
[[notify.channels]]
kind = "terminal"
name = "box"
"""


def does_nothing(_: Message) -> None:
    """As a channel that works."""


def raises(error: BaseException) -> Callable[[Message], None]:
    """As a channel that fails."""

    def act(_: Message) -> None:
        raise error

    return act


class Box:
    """A channel that keeps what it is given, or does what `acts` says first."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[tuple[Message, str | None]] = []
        self.acts: Callable[[Message], object] = does_nothing
        self.closed = threading.Event()

    def deliver(self, message: Message, earlier: str | None) -> str | None:
        self.acts(message)
        self.got.append((message, earlier))
        return f"{self.name}-{len(self.got)}"

    def close(self) -> None:
        self.closed.set()

    @property
    def events(self) -> list[str]:
        return [message.event for message, _ in self.got]

    @property
    def last(self) -> Message:
        return self.got[-1][0]


@dataclass
class Post:
    """A world, what it tells, and to whom."""

    w: World
    office: Office
    settings: NotifySettings
    boxes: dict[str, Box] = field(default_factory=dict)

    def deliverer(self) -> Deliverer:
        return Deliverer(self.office, self.settings, randomness=Random(7), open_channel=self.open)

    def open(self, channel: AnyChannel, _decide: Decide, _environ: Mapping[str, str]) -> Channel:
        return self.boxes[channel.name]

    @property
    def box(self) -> Box:
        return self.boxes["box"]

    def log(self, channel: str = "box") -> list[Delivery]:
        """Deliveries of a channel, the oldest first."""
        return list(reversed(self.w.gate.store.deliveries(channel=channel, limit=100_000)))

    def states(self, channel: str = "box") -> list[tuple[str, str]]:
        return [(delivery.event, delivery.state) for delivery in self.log(channel)]


def notify_settings(text: str = ONE) -> NotifySettings:
    return loads(CONFIG + text, file=Path("/nowhere/licet.toml")).notify


def post_of(w: World, text: str = ONE) -> Post:
    """What tells people in this world, whose own gate tells nobody."""
    w.gate.seal()
    settings = notify_settings(text)
    return Post(w, office_of(w), settings, {channel.name: Box(channel.name) for channel in settings.channels})


def sql(p: Post, text: str, *values: object) -> None:
    """What nobody but a test, or an attacker, does to the rows."""
    store = p.w.gate.store
    assert isinstance(store, SqliteStore)
    assert store._writer is not None
    store._writer.execute(text, values)


def let_live(p: Post, boot: str) -> None:
    """Another process has the ledger open, and its lease."""
    store = p.w.gate.store
    assert isinstance(store, SqliteStore)
    assert store._leases is not None
    store._leases.take(boot)
    sql(p, "INSERT INTO boots (id, started_at, state) VALUES (?, 0, 'running')", boot)


def office_of(w: World) -> Office:
    house = w.gate._house
    assert house is not None
    return Office(house.store, house.writer, lambda: house.scene.directory, "production", w.clock)


@contextmanager
def post(text: str = ONE) -> Iterator[Post]:
    with world() as w:
        yield post_of(w, text)


@contextmanager
def delivering(p: Post) -> Iterator[Deliverer]:
    """A deliverer without threads, which has taken the lease."""
    deliverer = p.deliverer()
    assert deliverer.turn()
    try:
        yield deliverer
    finally:
        deliverer.close()


def told(deliverer: Deliverer) -> int:
    """A turn, and everything that is due then."""
    assert deliverer.turn()
    return deliverer.send()

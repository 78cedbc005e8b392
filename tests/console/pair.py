"""Two servers of one application on one database in PostgreSQL, each on a host of its own as far as its files go; they share the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from licet import Gate
from licet.config import loads
from licet.ledger.keys import create_key_file
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text
from licet.testing import Clock
from tests.console.subjects import PEOPLE
from tests.console.world import Browser, ConsoleWorld
from tests.gate.proof import assert_whole
from tests.gate.test_undo import UNDO
from tests.gate.test_undo import populate as populate_undo
from tests.world import POLICIES, World, populate


class Pair(NamedTuple):
    """The servers."""

    here: ConsoleWorld
    there: ConsoleWorld

    def beside(self, browser: Browser) -> Browser:
        """The same browser, led to the other server."""
        return Browser(self.there if browser.served is self.here else self.here, browser.cookie)


def host(folder: Path, url: str, config: str = PEOPLE, policies: str = POLICIES + UNDO) -> str:
    """A host's files are there, beside the key that all of them have. Returns the text of its `licet.toml`."""
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / OWN_FILE).write_text(default_text())
    (folder / "policies" / "all.cedar").write_text(policies)
    key = folder.parent / "licet.key"
    if not key.exists():
        create_key_file(key)
    text = f'store = "{url}"\nkeys = "file:{key}"\n{config}'
    (folder / "licet.toml").write_text(text)
    return text


@contextmanager
def pair_on(
    folder: Path, url: str, config: str = PEOPLE, more: Callable[[World], None] = lambda _: None, clock: Clock | None = None
) -> Iterator[Pair]:
    """Both of them, until the end, with the tools that can be undone, and more. They have one clock, and act on the same customers."""
    worlds, served = list[World](), list[ConsoleWorld]()
    clock = clock or Clock()
    with ExitStack() as opened:
        for name in ("here", "there"):
            settings = loads(host(folder / name, url, config), file=folder / name / "licet.toml")
            gate = opened.enter_context(Gate(settings, clock=clock))
            worlds.append(World(gate, clock, worlds[0].customers) if worlds else World(gate, clock))
            populate(worlds[-1])
            populate_undo(worlds[-1])
            more(worlds[-1])
            served.append(ConsoleWorld(worlds[-1]))
            opened.callback(served[-1].close)
        yield Pair(*served)
        assert_whole(served[0].gate)

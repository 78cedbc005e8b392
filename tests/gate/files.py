"""A world whose licet.toml and policies lie in a folder, to be changed while it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from licet import Gate
from licet.testing import Clock
from tests.world import CONFIG, POLICIES, World, populate


class Files(World):
    """A world whose licet.toml and policies lie in a folder."""

    folder: Path

    def policies(self, text: str) -> None:
        (self.folder / "policies" / "all.cedar").write_text(text)

    def config(self, text: str) -> None:
        (self.folder / "licet.toml").write_text(text)

    def without(self, *pieces: str) -> None:
        text = CONFIG
        for piece in pieces:
            assert piece in text
            text = text.replace(piece, "")
        self.config(text)


@contextmanager
def world_of_files(folder: Path, config: str = CONFIG) -> Iterator[Files]:
    """A world in this folder."""
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(POLICIES)
    (folder / "licet.toml").write_text(config)
    clock = Clock()
    with Gate(folder / "licet.toml", clock=clock) as gate:
        made = Files(gate, clock)
        made.folder = folder
        populate(made)
        yield made

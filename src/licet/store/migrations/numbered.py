"""The numbered changes of a ledger's schema, as this program ships them.

Rules:

1. A migration is a file `NNNN_name.sql` beside this module, in a folder for each database. Numbers have no gap. A file that was released
   is never changed: what it made is out there.
2. A new ledger is made by all of them, so that it is what an old one becomes.
3. The first line says what a migration is. After an `expand`, programs that do not know it go on working beside those that do: it adds
   what the others do not look at. After a `contract`, a program that does not know it may neither read nor write.
4. What a program no longer needs is taken away by a `contract` of a later release, when nobody runs the earlier one any more.
5. `NNNN_name.reading.sql`, if it is there, is how the next program reads a ledger that has not seen the migration. It makes nothing but
   temporary views.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal, cast

from msgspec import Struct

from licet.errors import NotAStore

Database = Literal["sqlite", "postgres"]
Kind = Literal["expand", "contract"]

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_KINDS = {"-- expand": "expand", "-- contract": "contract"}


class Migration(Struct, frozen=True):
    """One change of the schema. `reading` is how a ledger that has not seen it is read, where that can be."""

    number: int
    name: str
    kind: Kind
    text: str
    reading: str | None = None

    @property
    def title(self) -> str:
        """The number and name as they stand in the file's name."""
        return f"{self.number:04}_{self.name}"


@cache
def shipped(database: Database) -> tuple[Migration, ...]:
    """Every migration of this program for a database, in order."""
    return read_migrations(resources.files("licet.store.migrations").joinpath(database))


def read_migrations(folder: Traversable) -> tuple[Migration, ...]:
    """The migrations in a folder, in order. Raises `ValueError` for a gap, a number that is there twice, or a file that says no kind."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".sql")}
    found = sorted(
        (_read(name, texts) for name in texts if not name.endswith(".reading.sql")),
        key=lambda migration: migration.number,
    )
    for before, after in itertools.pairwise(found):
        if after.number != before.number + 1:
            raise ValueError(f"migration `{after.title}` does not come next after `{before.title}`")
    return tuple(found)


def _read(name: str, texts: Mapping[str, str]) -> Migration:
    named = _NAME.fullmatch(name)
    if named is None:
        raise ValueError(f"`{name}` is not named `NNNN_name.sql`")
    kind = _KINDS.get(texts[name].partition("\n")[0])
    if kind is None:
        raise ValueError(f"the first line of `{name}` is neither `-- expand` nor `-- contract`")
    return Migration(int(named[1]), named[2], cast("Kind", kind), texts[name], texts.get(f"{name.removesuffix('.sql')}.reading.sql"))


def last_of(migrations: Sequence[Migration]) -> int:
    """The number of the last one; 0 where there is none."""
    return migrations[-1].number if migrations else 0


def check_ahead(migrations: Sequence[Migration], applied: int, kinds: Mapping[int, str], what: str) -> None:
    """A schema that has seen migrations up to `applied` can be used by a program that ships these.

    `kinds` is what the ledger says of those that it has seen. Raises `NotAStore` where one that this program does not know is a
    `contract`, or is not told of (rule 3: who does not know that it may, may not).
    """
    unknown = range(last_of(migrations) + 1, applied + 1)
    if all(kinds.get(number) == "expand" for number in unknown):
        return
    raise NotAStore(
        f"`{what}` is a ledger of schema version {applied}, which this program does not know; it knows up to "
        f"version {last_of(migrations)}: use the program that made it, or a later one"
    )

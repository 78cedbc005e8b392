"""What the rows of the head log mean, whatever database holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from licet.errors import StorePoisoned
from licet.ledger.checkpoint import HEAD_ENTRY_VERSION, HeadEntry, encode_head_entry
from licet.ledger.merkle import HASH_BYTES, Tree


def entries_of(grown: Iterable[Sequence[Any]], at: int) -> list[bytes]:
    """An entry for each log that has grown, from its name, size and compact range. Raises `StorePoisoned` as `tree_of`."""
    return [
        encode_head_entry(HeadEntry(HEAD_ENTRY_VERSION, log, grew, tree_of(log, grew, peaks).root().hex(), at))
        for log, grew, peaks in grown
    ]


def tree_of(log: str, size: int, compact_range: bytes) -> Tree:
    """The tree of a stored state. Raises `StorePoisoned` when the state contradicts itself."""
    try:
        return Tree(size, split_range(compact_range))
    except ValueError as error:
        raise StorePoisoned(f"the stored tree state of log `{log}` is damaged ({error}); run `licet audit verify`") from error


def split_range(compact_range: bytes) -> tuple[bytes, ...]:
    """The hashes that a stored compact range consists of."""
    return tuple(compact_range[start : start + HASH_BYTES] for start in range(0, len(compact_range), HASH_BYTES))

"""Full text in the search index: shards of an inverted index, what people type as an expression, and how a text is forgotten.

Rules:

1. Texts lie in shards (`text_N`) by time, about `SHARD_TEXTS` each: forgetting rewrites only the shards that held the text, a word's
   beginning is looked up shard by shard, and what is added is merged with one shard at most.
2. What people type is never an expression of the database: it is cut into words and phrases here, and each is quoted.
3. No column keeps the text (`content=''`): what is there are words and where they stand. Deleting only marks (FTS5 knows the words of a
   deleted text no more, so its own `secure-delete` cannot act); the bytes go when the shard is merged into one segment
   without it, its old pages are overwritten (`secure_delete`) and the write-ahead log is cut to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import apsw

from licet.store.index_open import tune
from licet.store.sqlite_rows import fetch

SHARD_TEXTS = 500_000
"""Merging one takes a few seconds; ten million records are twenty of them, each of which a search for a rare word asks."""
_JUMP = 30 * 86_400_000_000 << 11
"""Thirty days of docs."""
TEXT_LIMIT = 1_000
WORDS_LIMIT = 32

_SHARD = (
    "CREATE VIRTUAL TABLE text_{number} USING fts5 "
    "(words, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2')"
)
_piece = re.compile(r'"([^"]*)"?|([^\s"]+)')


def text_expression(typed: str) -> str:
    """What somebody typed as an expression of FTS5: all of its words, phrases in double quotes, and `word*` for what begins so.

    Empty where there is no word in it. Raises `ValueError` for more than 1,000 characters or 32 words.
    """
    if len(typed) > TEXT_LIMIT:
        raise ValueError(f"a text to search for has at most {TEXT_LIMIT} characters, not {len(typed)}")
    cleaned = typed.encode("utf-8", "replace").decode().replace("\0", " ")
    pieces = [part for phrase, word in _piece.findall(cleaned) if (part := _quoted(phrase, word))]
    if len(pieces) > WORDS_LIMIT:
        raise ValueError(f"a text to search for has at most {WORDS_LIMIT} words or phrases, not {len(pieces)}")
    return " ".join(pieces)


def _quoted(phrase: str, word: str) -> str:
    """One phrase of FTS5. A word such as `C-412` is one too: its parts, next to each other."""
    beginning = word.endswith("*")
    inner = (phrase or word.rstrip("*")).strip()
    if not any(character.isalnum() for character in inner):
        return ""
    return f'"{inner}"*' if beginning else f'"{inner}"'


def shards(con: apsw.Connection) -> list[tuple[int, int]]:
    """Every shard's number and first doc, the newest first."""
    return fetch(con, "SELECT number, start FROM shards ORDER BY start DESC")


def add_texts(con: apsw.Connection, texts: Sequence[tuple[int, str]]) -> None:
    """These texts can be found under these docs, which grow. Part of the caller's transaction."""
    if texts:
        _part_off_jump(con, [doc for doc, _ in texts])
    rest = list(texts)
    for number, start in shards(con):
        mine = [row for row in rest if row[0] >= start]
        if mine:
            rest = rest[: len(rest) - len(mine)]
            con.executemany(f"INSERT INTO text_{number} (rowid, words) VALUES (?, ?)", mine)  # noqa: S608  a number
            con.execute("UPDATE shards SET size = size + ?, last = max(last, ?) WHERE number = ?", (len(mine), mine[-1][0], number))
            _cut_if_full(con, number)


def _part_off_jump(con: apsw.Connection, docs: Sequence[int]) -> None:
    """What lies far ahead of all before it begins a shard: a clock that is wrong once would otherwise keep the last shard open for ever."""
    newest = fetch(con, "SELECT last FROM shards ORDER BY start DESC LIMIT 1")
    if not newest:
        _new_shard(con, 0)  # the first one begins with time
    before = newest[0][0] if newest else docs[0]
    for doc in docs:
        if doc - before > _JUMP:
            _new_shard(con, doc)
        before = max(before, doc)


def _cut_if_full(con: apsw.Connection, number: int) -> None:
    """What comes behind a full shard goes into a new one, unless there is one already."""
    full = fetch(con, "SELECT last + 1 FROM shards WHERE number = ? AND size >= ?", (number, SHARD_TEXTS))
    if full and not fetch(con, "SELECT 1 FROM shards WHERE start = ?", full[0]):
        _new_shard(con, full[0][0])


def _new_shard(con: apsw.Connection, start: int) -> None:
    con.execute("INSERT INTO shards (start, last, size) VALUES (?, ?, 0)", (start, start))
    number = con.last_insert_rowid()
    con.execute(_SHARD.format(number=number))
    tune(con, f"text_{number}")


def delete_texts(con: apsw.Connection, docs: Iterable[int]) -> set[int]:
    """Nothing is found under these docs any more; the shards that must be merged before their bytes are gone."""
    touched: set[int] = set()
    known = shards(con)
    for doc in docs:
        number = next((number for number, start in known if start <= doc), None)
        if number is not None:
            con.execute(f"DELETE FROM text_{number} WHERE rowid = ?", (doc,))  # noqa: S608  a number
            touched.add(number)  # also where it was deleted before: whoever did may have died before the merge
    return touched


def merge_shard(con: apsw.Connection, number: int) -> None:
    """The shard is one segment, without anything that was deleted."""
    con.execute(f"INSERT INTO text_{number} (text_{number}) VALUES ('optimize')")  # noqa: S608  a number


def drop_shards(con: apsw.Connection) -> None:
    """There is no text. Part of the caller's transaction."""
    for number, _ in shards(con):
        con.execute(f"DROP TABLE text_{number}")
    con.execute("DELETE FROM shards")


def texts_in(con: apsw.Connection, number: int, expression: str, span: range, limit: int) -> list[int]:
    """Docs of one shard within `span` that match, the newest first."""
    found = con.execute(
        f"SELECT rowid FROM text_{number} WHERE text_{number} MATCH ? AND rowid >= ? AND rowid < ? ORDER BY rowid DESC LIMIT ?",  # noqa: S608
        (expression, span.start, span.stop, limit),
    )
    return [row[0] for row in found]

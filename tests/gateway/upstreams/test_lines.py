"""Lines out of bytes, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.gateway.upstreams.lines import Lines

LIMIT = 1_000


class Taken:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.too_long: list[int | None] = []
        self.endless = 0
        self.reader = Lines(LIMIT, self.lines.append, self.too_long.append, self._end)

    def _end(self) -> None:
        self.endless += 1


@given(
    st.lists(st.binary(max_size=1_200).map(lambda line: line.replace(b"\n", b"")), max_size=6), st.lists(st.integers(1, 400), min_size=1)
)
def test_lines_are_the_same_however_they_come(lines: list[bytes], sizes: list[int]) -> None:
    whole, taken = b"".join(line + b"\n" for line in lines), Taken()
    turn = 0
    while whole:
        size = sizes[turn % len(sizes)]
        taken.reader.feed(whole[:size])
        whole, turn = whole[size:], turn + 1
    assert taken.lines == [line for line in lines if len(line) <= LIMIT and line.strip()]
    assert len(taken.too_long) == sum(len(line) > LIMIT for line in lines)


LONG = "y" * 2_000


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (f'{{"jsonrpc":"2.0","id":7,"result":{{"x":"{LONG}"}}}}', 7),
        (f' {{ "jsonrpc" : "2.0" , "id" : 7 , "result":{{"x":"{LONG}"}}}}', 7),
        (f'{{"id":7,"result":{{"x":"{LONG}"}}}}', 7),
        (f'{{"result":{{"x":"{LONG}"}},"jsonrpc":"2.0","id":7}}', 7),
        (f'{{"result":{{"x":"{LONG}"}},"jsonrpc":"2.0", "id" : 7 }} ', 7),
        (f'{{"result":{{"x":"{LONG}","id":7}}}}', None),
        (f'{{"result":{{"x":"{LONG},\\"id\\":7}}"}}}}', None),
        (f'{{"jsonrpc":"2.0","result":{{"x":"{LONG}"}},"id":7,"z":1}}', None),
        (f'{{"jsonrpc":"2.0","id":"7","result":{{"x":"{LONG}"}}}}', None),
        (f'["jsonrpc","2.0","id",7,"{LONG}"]', None),
    ],
)
def test_the_id_of_a_line_that_is_too_long_is_the_messages_own_or_not_known(line: str, number: int | None) -> None:
    """An id inside of what a tool answers must not make another call fail."""
    taken = Taken()
    taken.reader.feed(line.encode() + b"\n" + b"next\n")
    assert (taken.lines, taken.too_long, taken.endless) == ([b"next"], [number], 0)


def test_a_line_that_does_not_end_is_said_to_be_endless_and_nothing_of_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("licet.gateway.upstreams.lines._ENDLESS_BYTES", 50_000)
    taken = Taken()
    for _ in range(60):
        taken.reader.feed(b"x" * 1_000)
    assert taken.endless == 1
    assert len(taken.reader._kept) + len(taken.reader._head) + len(taken.reader._tail) < 500

"""Streams of events say the same however they are cut, and no more is kept of them than was agreed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.gateway.upstreams.sse import Event, EventTooLarge, SseParser

STREAM = (
    b"\xef\xbb\xbf: hello\n\n"
    b'id: 7\r\nevent: message\r\ndata: {"a":1}\r\n\r\n'
    b"retry: 250\rdata:first\rdata: second\r\r"
    b"event: ping\ndata\n\n"
    b"unknown: field\ndata: gr\xc3\xbc\xc3\x9fe\n\n"
    b"data: never ended"
)
EVENTS = [
    Event(b'{"a":1}', "message", "7"),
    Event(b"first\nsecond", "message", "7"),
    Event(b"", "ping", "7"),
    Event("grüße".encode(), "message", "7"),
]


def read(pieces: list[bytes], limit_bytes: int = 1_000) -> list[Event]:
    parser = SseParser(limit_bytes=limit_bytes)
    return [event for piece in pieces for event in parser.feed(piece)]


def test_every_form_of_a_line_end_a_mark_of_byte_order_comments_and_unknown_fields_are_understood() -> None:
    assert read([STREAM]) == EVENTS


def test_a_stream_fed_byte_by_byte_says_the_same() -> None:
    assert read([STREAM[i : i + 1] for i in range(len(STREAM))]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_cut_anywhere_says_the_same(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert read([STREAM[a:b] for a, b in pairwise(places)]) == EVENTS


def test_what_the_server_says_for_the_next_connection_is_kept() -> None:
    parser = SseParser(limit_bytes=1_000)
    parser.feed(STREAM)
    assert (parser.last_id, parser.retry_ms) == ("7", 250)


@pytest.mark.parametrize("line", [b"id: a\x00b", b"id: a\x7fb", b"id: \xc3\xbc", b"id: " + b"x" * 2_000])
def test_an_id_that_could_not_be_repeated_in_a_header_is_none(line: bytes) -> None:
    assert read([line + b"\ndata: x\n\n"], 10_000) == [Event(b"x")]


@pytest.mark.parametrize("text", [b"-1", b"1.5", b"soon", b"", b"9" * 40])
def test_a_wait_that_is_no_number_of_milliseconds_is_passed_over(text: bytes) -> None:
    parser = SseParser(limit_bytes=1_000)
    parser.feed(b"retry: " + text + b"\n")
    assert parser.retry_ms is None


def test_an_event_of_exactly_the_limit_is_taken() -> None:
    assert read([b"data: " + b"x" * 64 + b"\n\n"], 64) == [Event(b"x" * 64)]


def test_one_long_line_is_refused_before_it_ends() -> None:
    parser = SseParser(limit_bytes=64)
    for _ in range(80):
        parser.feed(b"x")
    with pytest.raises(EventTooLarge, match=r"^a line of the event stream is longer than 64 bytes$"):
        parser.feed(b"x")


def test_many_short_lines_of_one_event_are_refused_too() -> None:
    parser = SseParser(limit_bytes=64)
    for _ in range(65):
        parser.feed(b"data:\n")
    with pytest.raises(EventTooLarge, match=r"^an event is longer than 64 bytes$"):
        parser.feed(b"data:\n")


def test_a_long_line_that_comes_whole_is_refused() -> None:
    with pytest.raises(EventTooLarge, match=r"^an event is longer than 64 bytes$"):
        read([b"data: " + b"x" * 65 + b"\n\n"], 64)


def test_endless_comments_are_read_and_forgotten() -> None:
    parser = SseParser(limit_bytes=64)
    for _ in range(1_000):
        assert parser.feed(b": still here\n\n") == []
    assert parser.feed(b"data: x\n\n") == [Event(b"x")]

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from licet.server.cursors import read_cursor, write_cursor
from licet.server.problems import Problem


class Params(Struct, forbid_unknown_fields=True):
    tenant: str | None = None
    limit: int = 50
    cursor: str | None = None


def refused(cursor: str, params: Params = Params(), operation: str = "list") -> None:  # noqa: B008 - never changed
    with pytest.raises(Problem, match="not given for this question") as raised:
        read_cursor(operation, params, cursor, dict[str, str])
    assert (raised.value.code, raised.value.status) == ("bad_cursor", 400)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5))
def test_a_place_comes_back_as_it_was(place: dict[str, str]) -> None:
    cursor = write_cursor("list", Params(), place)
    assert read_cursor("list", Params(cursor=cursor, limit=7), cursor, dict[str, str]) == place


def test_a_cursor_holds_for_its_own_question_alone() -> None:
    cursor = write_cursor("list", Params(tenant="acme"), {"acme": "r-1"})
    refused(cursor, Params(tenant="globex"))
    refused(cursor)
    refused(cursor, Params(tenant="acme"), "another")


@given(st.data())
def test_whatever_is_changed_in_a_cursor_is_refused(data: st.DataObject) -> None:
    cursor = write_cursor("list", Params(), {"acme": "r-1"})
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABCabc012-_=/+ \n"))
    changed = cursor[:at] + other + cursor[at + 1 :]
    if changed != cursor:
        refused(changed)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "é", "a" * 9_000, base64.urlsafe_b64encode(b"{}" * 20).decode(), "AAAA", "null", "-" * 40],
    ids=["empty", "short", "not-ascii", "long", "no-check", "zeros", "null", "dashes"],
)
def test_what_no_page_gave_is_refused(cursor: str) -> None:
    refused(cursor)

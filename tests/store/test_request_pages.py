from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from licet.gate.opening import OpenLedger
from licet.gate.results import Held
from licet.ledger.erasure import erase
from licet.ledger.vault import Subject
from licet.model import RequestId, RequestState
from licet.store.contract import Dossier, Store
from licet.store.request_rows import whole_page
from tests.store.samples import opening, request, voting, written
from tests.world import world_on


class Rows:
    """Rows in order; those in `erased` have an id and nothing else."""

    def __init__(self, count: int, erased: set[int]) -> None:
        self.rows: list[Any] = [RequestId(str(n)) if n in erased else _dossier(str(n)) for n in range(count)]
        self.reads = 0

    def read(self, limit: int | None, after: RequestId | None) -> list[Dossier | RequestId]:
        self.reads += 1
        start = 0 if after is None else int(after) + 1
        return self.rows[start : None if limit is None else start + limit]


def _dossier(id_: str) -> Dossier:
    class _Request:
        id = RequestId(id_)

    return Dossier(cast("Any", _Request()), (), ())


@pytest.mark.parametrize(
    ("count", "erased", "limit", "after", "wanted"),
    [
        (5, set(), 2, None, ["0", "1"]),
        (5, {0, 1, 2}, 2, None, ["3", "4"]),
        (5, {0, 1, 2, 3, 4}, 2, None, []),
        (6, {1, 3}, 3, None, ["0", "2", "4"]),
        (6, {1, 3}, 3, "2", ["4", "5"]),
        (4, {1}, None, None, ["0", "2", "3"]),
        (0, set(), 3, None, []),
    ],
    ids=["none", "first", "all", "between", "behind", "unbounded", "empty"],
)
def test_a_page_is_short_only_where_there_are_no_more(
    count: int, erased: set[int], limit: int | None, after: str | None, wanted: list[str]
) -> None:
    rows = Rows(count, erased)
    found = whole_page(rows.read, limit, None if after is None else RequestId(after))
    assert [one.request.id for one in found] == wanted
    assert rows.reads <= len(erased) + 2


def test_a_request_that_was_erased_takes_no_place_on_a_page(tmp_path: Path) -> None:
    with world_on(tmp_path) as w:
        w.customers["C-3"] = dict(w.customers["C-1"])
        gone = w.adjust(50_000, customer="C-1")
        assert isinstance(gone, Held)
        assert gone.request is not None
        w.clock.advance(1)
        assert isinstance(w.adjust(50_000, customer="C-3"), Held)
        with OpenLedger(w.gate.settings, w.clock, create=False) as ledger:
            erase(ledger.operator(w.gate.settings, "tester"), ledger.manifest, Subject("acme", "Customer", "C-1"), "asked for")
        (left,) = w.gate.store.dossiers(limit=1)
        assert b"C-3" in bytes(left.request.summary)
        behind = w.gate.store.dossiers(limit=1, after=RequestId(gone.request))
        assert ([one.request.id for one in behind], w.gate.store.find_tenant(RequestId(gone.request))) == ([left.request.id], "acme")


def test_a_page_goes_on_behind_a_request_that_is_over_or_of_a_tenant_left_out(store: Store) -> None:
    made = [replace(request(str(number)), tenant=f"tenant-{number % 3}") for number in range(9)]
    written(store, *[opening(asked) for asked in made])
    place = made[4].id  # of tenant-1
    written(store, *[voting(made[number], "dana", "reject", move=RequestState.REJECTED) for number in (0, 4, 5)])
    late = [replace(request(f"late {number}"), tenant=f"tenant-{number}") for number in range(3)]
    written(store, *[opening(asked) for asked in late])
    for tenants in (["tenant-0", "tenant-1", "tenant-2"], ["tenant-0", "tenant-2"]):
        found = store.dossiers(states=[RequestState.OPEN], tenants=tenants, after=place)
        assert [one.request.id for one in found] == [asked.id for asked in [*made[6:], *late] if asked.tenant in tenants]


def test_whose_a_request_is_stays_known_when_it_is_over(store: Store) -> None:
    waiting, done = replace(request("a"), tenant="globex"), request("b")
    written(store, opening(waiting), opening(done), voting(done, "dana", "reject", move=RequestState.REJECTED))
    assert (store.find_tenant(waiting.id), store.find_tenant(done.id)) == ("globex", "acme")
    assert store.find_tenant(RequestId("no-such")) is None

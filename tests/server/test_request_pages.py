"""The list of requests over hundreds of tenants: its pages join to the whole, and no page, size or cursor tells of a tenant out of reach."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from licet.identity.authenticated import Authenticated
from licet.ledger.seal import Filing
from licet.model import Request, RequestState
from licet.server.cursors import write_cursor
from licet.server.shapes_approvals import ListRequests
from licet.store.requests import MoveRequest
from tests.server.world import KNOWN, ServerWorld, server_world
from tests.store.samples import opening, record, request, written
from tests.world import CONFIG

TENANTS = tuple([f"tenant-{number:03}" for number in range(300)])
HIDDEN = TENANTS[::3]
SEEN = tuple([tenant for tenant in TENANTS if tenant not in HIDDEN])
LIMIT = 45
NOBODYS = "01a2050c-0000-7000-8000-0000000000aa"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerWorld]:
    for name, tenants in (("all", TENANTS), ("some", SEEN)):
        known = Authenticated(method="api_key", credential=f"key-{name}", tenants=tenants, roles=("licet-admin",))
        monkeypatch.setitem(KNOWN, name, known)
    with server_world(CONFIG + "".join(f"[tenants.{tenant}]\n" for tenant in TENANTS)) as made:
        yield made


def opened(served: ServerWorld, tenants: Sequence[str], *, apart_us: int = 0, after_us: int = 0) -> list[Request]:
    """One request of each of these tenants, in this order, kept as the gate keeps them."""
    now = served.world.clock()
    made = [
        replace(
            request(f"{tenant} {after_us}"),
            tenant=tenant,
            opened_at=now,
            expires_at=now + timedelta(hours=1, microseconds=after_us + number * apart_us),
        )
        for number, tenant in enumerate(tenants)
    ]
    written(served.gate.store, *[opening(one) for one in made])
    return made


def end(served: ServerWorld, asked: Request) -> None:
    moved = MoveRequest(asked.id, (RequestState.OPEN,), RequestState.WITHDRAWN, served.world.clock())
    written(served.gate.store, Filing((record("expiry", asked.tenant),), (moved,)))


def page_of(served: ServerWorld, who: str, cursor: str | None = None) -> tuple[list[str], str | None]:
    more = "" if cursor is None else f"&cursor={cursor}"
    page = served.get(f"/api/v1/requests?limit={LIMIT}{more}", who)
    assert page.status == 200, page.content
    return [one["id"] for one in page.json["requests"]], page.json["next"]


def named_in(cursor: str) -> str:
    """What a cursor says to whoever decodes it."""
    return str(json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[12:]))


@pytest.mark.parametrize("apart_us", [0, 1], ids=["one moment", "one after another"])
@pytest.mark.parametrize(("who", "reached"), [("all", TENANTS), ("some", SEEN)])
def test_pages_of_three_hundred_tenants_join_to_the_whole_with_cursors_of_one_size(
    served: ServerWorld, who: str, reached: tuple[str, ...], apart_us: int
) -> None:
    made = opened(served, [*reversed(TENANTS)], apart_us=apart_us)
    whole = [one.id for one in made if one.tenant in reached]
    pages: list[list[str]] = []
    cursor: str | None = None
    sizes = set()
    while not pages or cursor is not None:
        page, cursor = page_of(served, who, cursor)
        pages.append(page)
        if cursor is not None:
            assert named_in(cursor) == page[-1], "a cursor names the last request of its own page and nothing else"
            sizes.add(len(cursor))
    assert [one for page in pages for one in page] == whole
    assert [len(page) for page in pages[:-1]] == [LIMIT] * (len(pages) - 1)
    assert len(sizes) == 1
    assert sizes.pop() < 100


def test_what_is_opened_and_ended_between_two_pages_neither_repeats_nor_hides_what_stands(served: ServerWorld) -> None:
    made = opened(served, TENANTS)
    first, cursor = page_of(served, "some")
    assert cursor is not None
    stood = [one for one in made if one.tenant in SEEN]
    place = stood[LIMIT - 1]
    assert first == [one.id for one in stood[:LIMIT]]
    gone = [stood[0], place, stood[LIMIT], stood[-1]]  # the place itself, both its neighbours' sides, and the last
    for one in gone:
        end(served, one)
    late = opened(served, [SEEN[0], HIDDEN[0], SEEN[-1]], after_us=1)
    opened(served, [SEEN[1]], after_us=-1)  # it is before the place, where the list has been read already
    found = list(first)
    while cursor is not None:
        page, cursor = page_of(served, "some", cursor)
        found += page
    left = [one.id for one in stood[LIMIT:] if one not in gone]
    assert found == [*first, *left, late[0].id, late[2].id]


def test_a_page_of_a_credential_says_nothing_of_what_others_have_behind_it(served: ServerWorld) -> None:
    made = opened(served, [*SEEN[:LIMIT], *HIDDEN])
    assert page_of(served, "some") == ([one.id for one in made[:LIMIT]], None)
    assert page_of(served, "all")[1] is not None


def test_a_cursor_that_names_a_request_out_of_reach_is_as_one_that_names_none(served: ServerWorld) -> None:
    (theirs,) = opened(served, HIDDEN[:1])
    opened(served, SEEN[:2], after_us=1)
    cursors = [write_cursor("listRequests", ListRequests(limit=LIMIT), place) for place in (theirs.id, NOBODYS)]
    there, nowhere = (served.get(f"/api/v1/requests?limit={LIMIT}&cursor={cursor}", "some") for cursor in cursors)
    assert (there.status, there.code, nowhere.code) == (400, "bad_cursor", "bad_cursor")
    assert {**there.json, "request_id": ""} == {**nowhere.json, "request_id": ""}
    assert served.get(f"/api/v1/requests?limit={LIMIT}&cursor={cursors[0]}", "all").status == 200

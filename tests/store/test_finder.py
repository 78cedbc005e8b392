"""What is found, placed and counted is the same, in the logs that are named and in no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licet.store.finder import Finder, Wanted
from tests.world import World, world

CALLED = Wanted(plain={"tool": ("crm.lookup",)})


@pytest.fixture
def w() -> Iterator[World]:
    with world() as made:
        for agent, user, tenant, customers in (("support-bot", "alice", "acme", 3), ("free-bot", "gina", "globex", 2)):
            with made.gate.acting(agent=agent, user=user, tenant=tenant):
                for number in range(customers):
                    made.gate.call("crm.lookup", {"customer_id": f"X-{number}"})
        yield made


def numbers(finder: Finder, *logs: str) -> tuple[int, int, int, int]:
    return (
        len(finder.find(CALLED, logs=logs).records),
        len(finder.places(CALLED, logs=logs).places),
        finder.count(CALLED, limit=100, logs=logs).number,
        len(finder.moments(CALLED, limit=100, logs=logs).at),
    )


def test_each_way_to_ask_keeps_to_the_logs_that_are_named(w: World) -> None:
    finder = w.gate.ledger.search().finder
    sizes = {log: len([one for one in w.records(log) if one.envelope.tool is not None]) for log in ("acme", "globex")}
    assert sizes["acme"] > sizes["globex"] > 0
    assert numbers(finder, "acme") == (sizes["acme"],) * 4
    assert numbers(finder, "globex") == (sizes["globex"],) * 4
    assert numbers(finder, "acme", "globex") == (sum(sizes.values()),) * 4
    assert numbers(finder) == (0,) * 4


def test_logs_that_are_named_are_not_widened_by_the_tenant_that_is_looked_for(w: World) -> None:
    finder = w.gate.ledger.search().finder
    assert (
        finder.count(Wanted(tenant="globex"), limit=100, logs=("acme",)).number == finder.count(Wanted(), limit=100, logs=("acme",)).number
    )
    assert {place.log for place in finder.places(Wanted(tenant="globex"), logs=("acme",)).places} == {"acme"}


def test_a_count_ends_at_its_limit(w: World) -> None:
    found = w.gate.ledger.search().finder.count(CALLED, limit=2, logs=("acme",))
    assert (found.number, found.exact) == (2, False)

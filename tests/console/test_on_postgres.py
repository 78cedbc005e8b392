"""Two servers on one database in PostgreSQL: whoever is signed in at one is so at the other, and what is done at one is so at the other.

That each page does on PostgreSQL what it does elsewhere is shown by its own tests, all of which run there as well (conftest.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from licet.store.postgres import PostgresStore
from tests.console.pair import Pair, pair_on
from tests.console.subjects import at
from tests.console.world import text_of

pytestmark = pytest.mark.heavy


@pytest.fixture
def two(postgres_url: str, tmp_path: Path) -> Iterator[Pair]:
    with pair_on(tmp_path, postgres_url) as made:
        assert isinstance(made.here.gate.store, PostgresStore)
        assert made.here.gate.store is not made.there.gate.store
        yield made


# subjects


def test_who_was_erased_at_one_is_found_by_no_word_at_the_other(two: Pair) -> None:
    with two.here.world.alice(reason="unmistakable quixotry"):
        two.here.gate.call("crm.lookup", {"customer_id": "C-1"})
    ada = two.here.enter("ada")
    listed = "/console/audit?text=unmistakable"
    for browser in (ada, two.beside(ada)):
        assert "crm.lookup" in text_of(browser.get(listed))
    erased = ada.send("/console/subjects", at(act="/erase"), {"typed": "C-1", "reason": "request of 12 May"})
    assert erased.status == 303
    for browser in (ada, two.beside(ada)):
        assert "crm.lookup" not in text_of(browser.get(listed))
    for one in two:  # what was looked for stands in the records of those looks
        file = one.gate.settings.file
        assert file is not None
        for part in file.parent.glob("licet-index*"):
            assert b"uixotry" not in part.read_bytes(), part

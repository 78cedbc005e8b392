"""Tiles over HTTP: with nothing but them and one key, somebody outside recomputes what was signed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licet.ledger.checkpoint import Checkpoint
from licet.ledger.merkle import Tree
from licet.ledger.note import text_of
from licet.ledger.record import leaf_hash
from licet.ledger.tiles import parse_entries, parse_tile
from tests.server.world import ServerWorld, server_world

LOG = "/api/v1/tiles/logs/acme"
HEAD = "/api/v1/tiles/head"


@pytest.fixture(scope="module")
def served() -> Iterator[ServerWorld]:
    with server_world() as made:
        for number in range(260):
            made.world.adjust(number + 1)
        made.gate.ledger.notary.turn()
        yield made


def _root_of(leaves: list[bytes]) -> bytes:
    tree = Tree()
    tree.extend(leaves)
    return tree.root()


@pytest.mark.parametrize(("prefix", "who"), [(LOG, "auditor"), (HEAD, "admin")], ids=["log", "head"])
def test_bundles_and_tiles_lead_to_the_signed_root(served: ServerWorld, prefix: str, who: str) -> None:
    signed = Checkpoint.parse(text_of(served.get(f"{prefix}/checkpoint", who).content))
    full, rest = divmod(signed.size, 256)
    names = [(f"{n:03}", 256) for n in range(full)] + ([(f"{full:03}.p/{rest}", rest)] if rest else [])
    entries: list[bytes] = []
    leaves: list[bytes] = []
    for name, width in names:
        entries += parse_entries(served.get(f"{prefix}/tile/entries/{name}", who).content, width)
        reply = served.get(f"{prefix}/tile/0/{name}", who)
        assert ("immutable" in reply.headers["cache-control"]) == (width == 256)
        leaves += parse_tile(reply.content, width)
    assert leaves == [leaf_hash(entry) for entry in entries]
    assert _root_of(leaves) == signed.root


def test_a_tile_above_the_leaves_is_made_of_those_below(served: ServerWorld) -> None:
    (above,) = parse_tile(served.get(f"{LOG}/tile/1/000.p/1", "auditor").content, 1)
    assert above == _root_of(list(parse_tile(served.get(f"{LOG}/tile/0/000", "auditor").content)))


@pytest.mark.parametrize(
    "tile",
    [
        "0/999",
        "0/000.p/0",
        "0/000.p/257",
        "0/0",
        "1/000",
        "7/000.p/1",
        "64/000",
        "entries/999",
        "x",
        "0/000/",
        "0/x000/000",
        "entries/000.p/256",
        "../checkpoint",
    ],
)
def test_what_the_tree_does_not_have_is_not_there(served: ServerWorld, tile: str) -> None:
    assert served.get(f"{LOG}/tile/{tile}", "auditor").code == "not_found"
    assert served.get(f"{HEAD}/tile/{tile}", "admin").code == "not_found"


def test_whoever_reads_entries_is_recorded(served: ServerWorld) -> None:
    before = served.world.kinds().count("access")
    served.get(f"{LOG}/tile/entries/000", "auditor")
    assert served.world.kinds().count("access") == before + 1


def test_a_tenants_auditor_has_neither_the_head_log_nor_anothers(served: ServerWorld) -> None:
    for path in (f"{HEAD}/checkpoint", f"{HEAD}/tile/0/000.p/1", f"{HEAD}/tile/entries/000.p/1"):
        assert served.get(path, "auditor").code == "not_found"
    for log in ("acme", "operator", "nowhere"):
        assert served.get(f"/api/v1/tiles/logs/{log}/checkpoint", "auditor-globex").code == "not_found"
        assert served.get(f"/api/v1/tiles/logs/{log}/tile/0/000", "auditor-globex").code == "not_found"
    assert served.get(f"{LOG}/checkpoint", "agent").code == "not_permitted"

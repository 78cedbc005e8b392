"""The tree against published vectors and against a second implementation that follows RFC 6962 word by word."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.ledger.merkle import EMPTY_ROOT, Tree, consistency_proof, inclusion_proof, is_consistent, is_included, root_of

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rfc6962_tree.json").read_text())
INPUTS = [bytes.fromhex(text) for text in VECTORS["inputs"]]
SIZES = range(258)


def naive_root(inputs: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over unhashed inputs."""
    if not inputs:
        return hashlib.sha256(b"").digest()
    if len(inputs) == 1:
        return hashlib.sha256(b"\x00" + inputs[0]).digest()
    split = 1
    while split * 2 < len(inputs):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(inputs[:split]) + naive_root(inputs[split:])).digest()


def hashed(inputs: list[bytes]) -> list[bytes]:
    return [hashlib.sha256(b"\x00" + data).digest() for data in inputs]


NUMBERED = [b"%d" % number for number in range(SIZES.stop)]
LEAVES = hashed(NUMBERED)
ROOTS = [naive_root(NUMBERED[:size]) for size in SIZES]


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    assert root_of(hashed(INPUTS[:size])).hex() == VECTORS["roots"][size - 1]


def test_published_empty_root() -> None:
    assert Tree().root().hex() == EMPTY_ROOT.hex() == VECTORS["empty_root"]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda v: f"{v['index']} in {v['size']}")
def test_published_inclusion_proofs(vector: dict[str, Any]) -> None:
    leaves = hashed(INPUTS[: vector["size"]])
    proof = inclusion_proof(leaves, vector["index"])
    assert [step.hex() for step in proof] == vector["path"]
    assert is_included(leaves[vector["index"]], vector["index"], vector["size"], proof, root_of(leaves))


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda v: f"{v['first']} to {v['second']}")
def test_published_consistency_proofs(vector: dict[str, Any]) -> None:
    leaves = hashed(INPUTS[: vector["second"]])
    proof = consistency_proof(leaves, vector["first"])
    assert [step.hex() for step in proof] == vector["path"]
    assert is_consistent(vector["first"], vector["second"], root_of(leaves[: vector["first"]]), root_of(leaves), proof)


def test_appending_one_by_one_gives_the_naive_root_at_every_size() -> None:
    tree = Tree()
    for size in SIZES:
        assert tree.root() == ROOTS[size]
        assert len(tree.peaks) == size.bit_count()
        tree.append(LEAVES[size])


@given(st.lists(st.integers(0, 40), max_size=8))
def test_appending_in_groups_of_any_sizes_gives_the_naive_root(groups: list[int]) -> None:
    groups = [size for at, size in enumerate(groups) if sum(groups[: at + 1]) < SIZES.stop]
    tree, size = Tree(), 0
    for group in groups:
        tree = Tree(tree.size, tree.peaks)  # as after a restart
        tree.extend(LEAVES[size : size + group])
        size += group
        assert (tree.size, tree.root()) == (size, ROOTS[size])


@given(st.integers(1, 257), st.data())
def test_inclusion_is_shown_for_the_leaf_and_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(LEAVES[:size], index)
    assert is_included(LEAVES[index], index, size, proof, ROOTS[size])
    other = data.draw(st.integers(0, 257))
    if other != index:
        assert not is_included(LEAVES[other], index, size, proof, ROOTS[size])
        assert not is_included(LEAVES[index], other, size, proof, ROOTS[size])
    assert not is_included(LEAVES[index], index, size, proof, ROOTS[size - 1])
    assert not is_included(LEAVES[index], index, size, (*proof, LEAVES[0]), ROOTS[size])
    assert not proof or not is_included(LEAVES[index], index, size, proof[:-1], ROOTS[size])


@given(st.integers(0, 257), st.data())
def test_consistency_is_shown_for_a_beginning_and_nothing_else(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, second))
    proof = consistency_proof(LEAVES[:second], first)
    assert is_consistent(first, second, ROOTS[first], ROOTS[second], proof)
    other = data.draw(st.integers(0, 257))
    if other != first:
        assert not is_consistent(first, second, ROOTS[other], ROOTS[second], proof)
    if other != second and first > 0:  # every tree begins with the empty one
        assert not is_consistent(first, second, ROOTS[first], ROOTS[other], proof)
    assert not is_consistent(first, second, ROOTS[first], ROOTS[second], (*proof, LEAVES[0]))
    assert not proof or not is_consistent(first, second, ROOTS[first], ROOTS[second], proof[:-1])


def test_proofs_outside_the_tree_are_refused() -> None:
    with pytest.raises(IndexError, match="no leaf 3 in a tree of size 3"):
        inclusion_proof(LEAVES[:3], 3)
    with pytest.raises(IndexError, match="no tree of size 4 in one of size 3"):
        consistency_proof(LEAVES[:3], 4)
    assert not is_included(LEAVES[0], -1, 3, (), ROOTS[3])
    assert not is_consistent(4, 3, ROOTS[4], ROOTS[3], ())
    assert not is_consistent(-1, 3, ROOTS[0], ROOTS[3], ())
    assert not is_consistent(3, 5, ROOTS[3], ROOTS[5], ())


@pytest.mark.parametrize(("size", "peaks"), [(1, ()), (2, (b"x" * 32, b"y" * 32)), (1, (b"short",)), (-1, ())])
def test_a_compact_range_that_cannot_belong_to_its_size_is_refused(size: int, peaks: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="has no compact range"):
        Tree(size, peaks)

"""Merkle trees of RFC 6962 (section 2.1) and RFC 9162 (section 2.1), without any I/O.

    node = SHA-256(0x01 || left || right)        leaves come in already hashed, see record.leaf_hash

A tree is kept as its **compact range**: the hashes of the perfect subtrees it consists of, from large to small, one for each
bit that is set in its size. That is enough to append and to know the root; proofs need the leaf hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962, section 2.1)."""

RootOfRange: TypeAlias = Callable[[int, int], bytes]
"""The root over the leaves from `start` up to `stop`, which are one subtree: `start` is a multiple of the power of two that holds them."""

_sha256 = hashlib.sha256


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (32 bytes)."""
    return _sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that only grows: `size` leaves, and the `peaks` of its compact range from large to small.

    Raises `ValueError` when the peaks cannot belong to the size.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if size < 0 or len(self.peaks) != size.bit_count() or any(len(peak) != HASH_BYTES for peak in self.peaks):
            raise ValueError(f"a tree of size {size} has no compact range of {len(self.peaks)} hashes")

    def append(self, leaf: bytes) -> None:
        """One more leaf hash at the end."""
        peaks, node, full = self.peaks, leaf, self.size
        while full & 1:
            node = _sha256(b"\x01" + peaks.pop() + node).digest()
            full >>= 1
        peaks.append(node)
        self.size += 1

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Many leaf hashes at the end, in order: level by level, which costs a third less than one by one."""
        row, full = list(leaves), self.size
        grown: list[bytes] = []  # new peaks, from small to large
        while row:
            if full & 1:
                row.insert(0, self.peaks.pop())
            if len(row) & 1:
                grown.append(row.pop())
            full >>= 1
            pairs = iter(row)
            row = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
        self.peaks += reversed(grown)
        self.size += len(leaves)

    def root(self) -> bytes:
        """The tree's root hash (32 bytes)."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = _sha256(b"\x01" + peak + node).digest()
        return node


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes."""
    tree = Tree()
    tree.extend(leaves)
    return tree.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The audit path of leaf `index` in the tree over these leaf hashes (RFC 6962, section 2.1.1). Raises `IndexError`."""
    return inclusion_path(index, len(leaves), lambda start, stop: root_of(leaves[start:stop]))


def consistency_proof(leaves: Sequence[bytes], first: int) -> tuple[bytes, ...]:
    """The proof that the tree of the `first` leaves is a beginning of the whole (RFC 6962, section 2.1.2). Raises `IndexError`.

    It is empty for `first` 0 and for `first` equal to the size, where there is nothing to prove.
    """
    return consistency_path(first, len(leaves), lambda start, stop: root_of(leaves[start:stop]))


def inclusion_path(index: int, size: int, root_of_range: RootOfRange) -> tuple[bytes, ...]:
    """`inclusion_proof` in a tree whose hashes are kept elsewhere: asks for about log2(size) subtrees. Raises `IndexError`."""
    if not 0 <= index < size:
        raise IndexError(f"no leaf {index} in a tree of size {size}")
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(root_of_range(middle, stop))
            stop = middle
        else:
            path.append(root_of_range(start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_path(first: int, second: int, root_of_range: RootOfRange) -> tuple[bytes, ...]:
    """`consistency_proof` between trees whose hashes are kept elsewhere: asks for about log2(second) subtrees. Raises `IndexError`."""
    if not 0 <= first <= second:
        raise IndexError(f"no tree of size {first} in one of size {second}")
    if first in (0, second):
        return ()
    path: list[bytes] = []
    start, stop = 0, second
    while first != stop:
        middle = start + _split(stop - start)
        if first <= middle:
            path.append(root_of_range(middle, stop))
            stop = middle
        else:
            path.append(root_of_range(start, middle))
            start = middle
    if start > 0:  # the old tree's root is known to the verifier as long as the subtree is all of it
        path.append(root_of_range(start, stop))
    return tuple(reversed(path))


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the audit path leads from this leaf hash to this root (RFC 9162, section 2.1.3.2)."""
    return find_root(leaf, index, size, proof) == root


def find_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root to which the audit path leads from this leaf hash; None if `index` in a tree of `size` has no path of this length."""
    if not 0 <= index < size:
        return None
    place, last, node = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            node = node_hash(step, node)
            place, last = _climb(place, last)
        else:
            node = node_hash(node, step)
        place, last = place >> 1, last >> 1
    return node if last == 0 else None


def is_consistent(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of size `first` is shown to be a beginning of the one of size `second` (RFC 9162, section 2.1.4.2)."""
    if not 0 < first < second:
        trivial = first_root == (second_root if first == second else EMPTY_ROOT)
        return 0 <= first <= second and not proof and trivial
    # A first tree of 2^n leaves is a node of the second: its root begins the path and is left out of the proof.
    steps = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not steps:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            place, last = _climb(place, last)
        else:
            new = node_hash(new, step)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _climb(place: int, last: int) -> tuple[int, int]:
    """Skip the levels at which this node, the last one of its row, has no sibling."""
    while place and not place & 1:
        place, last = place >> 1, last >> 1
    return place, last


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1

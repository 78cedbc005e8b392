"""The time axis of a waterfall: what happened stands in proportion, and long times in which nothing ran are folded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from licet.console.wording import span as worded
from licet.ledger.wording import duration

WIDTH: Final = 1_000
GAP: Final = 90
_GAPS_TOGETHER: Final = 300
_LEAST_US: Final = 2_000_000
"""A shorter silence is no wait."""
_TIMES_BUSY: Final = 0.5
"""Nor one that is short beside what ran."""


class Piece(Struct, frozen=True):
    """A stretch of time and where it stands: a folded one has a width that says nothing."""

    start: int
    end: int
    x: float
    width: float
    folded: bool


class Axis:
    """Where a moment stands between 0 and 1,000."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces: Final = pieces
        self._starts: Final = [piece.start for piece in pieces]

    @classmethod
    def of(cls, busy: Iterable[tuple[int, int]], *, fold: bool) -> Axis:
        """The axis for these times in which something ran (UTC microseconds)."""
        runs = _merged(busy)
        if not runs:
            return cls([Piece(0, 1, 0, WIDTH, folded=False)])
        length = sum(max(end - start, 1) for start, end in runs)
        least = max(_LEAST_US, int(length * _TIMES_BUSY)) if fold else None
        cuts: list[tuple[int, int, bool]] = []
        for start, end in runs:
            if cuts:
                before = cuts[-1][1]
                if least is not None and start - before > least:
                    cuts.append((before, start, True))
                    cuts.append((start, end, False))
                    continue
                cuts[-1] = (cuts[-1][0], end, False)
            else:
                cuts.append((start, end, False))
        gaps = sum(folded for _, _, folded in cuts)
        gap = min(GAP, _GAPS_TOGETHER / gaps) if gaps else 0.0
        shown = sum(max(end - start, 1) for start, end, folded in cuts if not folded)
        scale = (WIDTH - gap * gaps) / shown
        pieces, x = list[Piece](), 0.0
        for start, end, folded in cuts:
            width = gap if folded else max(end - start, 1) * scale
            pieces.append(Piece(start, end, x, width, folded=folded))
            x += width
        return cls(pieces)

    def x(self, at: int) -> float:
        """Where this moment stands."""
        piece = self.pieces[max(0, bisect_right(self._starts, at) - 1)]
        part = (at - piece.start) / max(piece.end - piece.start, 1)
        return round(piece.x + min(max(part, 0.0), 1.0) * piece.width, 1)

    @property
    def folds(self) -> list[tuple[float, float, str]]:
        """Where time is folded, how wide that is drawn, and how long it was."""
        return [(round(one.x, 1), round(one.width, 1), worded((one.end - one.start) // 1_000_000)) for one in self.pieces if one.folded]

    @property
    def length(self) -> str:
        """From the first moment to the last."""
        return duration(self.pieces[-1].end - self.pieces[0].start)


def _merged(busy: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Times that overlap as one, in order."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(busy):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found

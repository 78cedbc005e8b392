"""A progress bar for work that takes a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from licet.cli.invocation import Invocation

_T = TypeVar("_T")

WORTH_A_BAR = 10_000
"""Records that take a tenth of a second: a bar that only flickers says nothing."""


class Step(Protocol):
    """Told how many records have been read since the last time."""

    def __call__(self, records: int) -> None:
        """So many more."""
        ...


@contextmanager
def progress(invocation: Invocation, what: str, total: int) -> Iterator[Step]:
    """A bar on stderr where that is a terminal, nothing is asked for as JSON and it takes a while; nothing otherwise."""
    console = invocation.output.err
    if invocation.as_json or not console.is_terminal or total < WORTH_A_BAR:
        yield lambda records: None  # noqa: ARG005 - the protocol's
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - only for a bar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda records: bar.advance(task, records)


def counted(items: Iterable[_T], step: Step, every: int = 256) -> Iterator[_T]:
    """The items, each told once it was taken."""
    number = 0
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            step(every)
    step(number % every)

"""`licet approvals deliveries`: the delivery log of notifications."""

from __future__ import annotations

import click

from licet.cli.invocation import Invocation
from licet.cli.loading import load_settings, reading
from licet.cli.output import Output
from licet.cli.wording import counted, moment
from licet.store.outbox import Delivery, DeliveryState

_LOOKS: dict[DeliveryState, tuple[str, str]] = {
    "sent": ("ok", "sent"),
    "waiting": ("hold", "waiting"),
    "failed": ("fail", "failed"),
    "skipped": ("note", "skipped"),
}


@click.command()
@click.option("--failed", is_flag=True, help="Only what was given up.")
@click.option("--waiting", is_flag=True, help="Only what is still to be sent.")
@click.option("--channel", metavar="NAME", help="Only what went, or goes, through this channel.")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Deliveries to show.")
@click.pass_obj
def deliveries(invocation: Invocation, /, failed: bool, waiting: bool, channel: str | None, lines: int) -> int:  # noqa: FBT001 - click's
    """Show what people were told of requests, and what not, the newest first.

    Deliveries are kept for 60 days. They are no records: nothing about a decision rests on them.
    """
    states: tuple[DeliveryState, ...] = (*(("failed",) if failed else ()), *(("waiting",) if waiting else ()))
    with reading(load_settings(invocation)) as store:
        found = store.deliveries(channel=channel, states=states, limit=lines)
    return invocation.answer(found, lambda output: _show(output, found))


def _show(output: Output, found: tuple[Delivery, ...]) -> None:
    for delivery in found:
        mark, word = _LOOKS[delivery.state]
        tried = f", {counted(delivery.attempts, 'attempt')}" if delivery.attempts != 1 else ""
        why = f": {delivery.error}" if delivery.error else ""
        ended = f", ended {moment(delivery.done_at)}" if delivery.done_at is not None else f", due {moment(delivery.due_at)}"
        output.mark(
            mark,
            word,
            f"`{delivery.event}` through {delivery.channel}{tried}{why}",
            below=f"{delivery.request}  at {moment(delivery.at)}{ended} UTC",
        )
    if not found:
        output.line("Nothing was to be told.")

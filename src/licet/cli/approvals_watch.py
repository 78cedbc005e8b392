"""`licet approvals watch`: what waits for people, live, and decided with a key.

Rules:

1. A key decides nothing by itself: the desk does, as it does for `approve` and `deny`, with the same records.
2. The vote is on the request that was on the screen. It is read again before, and anything else than what was shown is refused.
3. The terminal is as it was before, whatever ends this.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import click

from licet.cli.approvals_draw import Size, draw
from licet.cli.approvals_feed import Chronicle, Feed
from licet.cli.approvals_keys import Keyboard, keyboard
from licet.cli.approvals_lines import print_happened
from licet.cli.approvals_screen import Act, Mode, Screen
from licet.cli.exits import Exit
from licet.cli.faults import fault_of
from licet.cli.invocation import Invocation
from licet.cli.loading import utc_now
from licet.cli.request_source import requests_of
from licet.cli.requests import Viewed
from licet.errors import LicetError
from licet.model import RequestId

if TYPE_CHECKING:
    from rich.live import Live

POLL_S = 0.25
"""How often it is looked whether anything was committed; a decision elsewhere shows within a second."""
BOARD = 500
"""Requests that a screen holds; nobody walks further than that with arrow keys."""


@click.command()
@click.option("--as", "voter", metavar="USER", help="The user of the directory who decides; without it, this only shows.")
@click.option("--tenant", metavar="NAME", help="Only requests of this tenant.")
@click.pass_obj
def watch(invocation: Invocation, /, voter: str | None, tenant: str | None) -> int:
    """Watch what waits for people, and decide it with a key.

    On a terminal: the requests, what expires first at the top, and the selected one whole. `a` approves, `d` denies, `t` takes a vote
    back, `w` withdraws; each is asked about once more, on a screen with nothing but what is decided on. Elsewhere, or with --json, a line
    for each thing that happens, until interrupted.
    """
    with requests_of(invocation) as requests:
        named = requests.viewer(voter)
        feed = requests.feed(tenant=tenant, viewer=named)
        if invocation.as_json or not is_screen():
            _follow(invocation, Chronicle(feed))
        else:
            _Watch(invocation, feed, named).run()
    return int(Exit.OK)


def follow_one(invocation: Invocation, feed: Feed, found: Viewed) -> Viewed:
    """Show one request until it is decided, or the person has seen enough; the request as it was then."""
    return _Watch(invocation, feed, None, only=found).run() or found


def is_screen() -> bool:
    """Whether keys come in and a screen can be drawn."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _follow(invocation: Invocation, chronicle: Chronicle) -> None:
    """Until interrupted, which is how this ends well."""
    with suppress(KeyboardInterrupt):
        while True:
            for happened in chronicle.take():
                print_happened(invocation, happened)
            time.sleep(POLL_S)


class _Watch:
    """The loop: keys in, a screen out, and the store looked at in between."""

    def __init__(self, invocation: Invocation, feed: Feed, voter: str | None, only: Viewed | None = None) -> None:
        self._invocation = invocation
        self._feed = feed
        self._only = only
        self._screen = Screen(voter, only_shows=only is not None)
        self._drawn: object = None

    def run(self) -> Viewed | None:
        """Until `q` or an interrupt, or the one request that is shown is decided; the request that was shown last."""
        from rich.live import Live  # noqa: PLC0415 - loaded when a screen is drawn

        console = self._invocation.output.out
        with ExitStack() as opened:
            keys = opened.enter_context(keyboard(sys.stdin.fileno()))
            live = opened.enter_context(Live(console=console, screen=True, auto_refresh=False))
            with suppress(KeyboardInterrupt):  # which is how this ends well, too
                self._loop(keys, live)
        return self._screen.shown

    def _loop(self, keys: Keyboard, live: Live) -> None:
        while not self._screen.wants_quit:
            self._look_again()
            if self._only is not None and (self._screen.shown is None or self._screen.shown.at(utc_now()).state != "open"):
                return
            self._draw(live)
            self._press(keys, live, keys.read(POLL_S))

    def _look_again(self) -> None:
        """Where something was committed since, or is past its time, or the person says so."""
        try:
            if not (self._screen.wants_refresh or self._feed.has_moved() or self._screen.has_lapsed(utc_now())):
                return
        except LicetError as error:
            self._screen.said = str(error)
            return
        self._screen.wants_refresh = False
        self._look()

    def _look(self, select: RequestId | None = None) -> None:
        """What waits now, and what is selected as it is now. A ledger that cannot be read for a moment leaves what is shown."""
        try:
            rows = self._feed.read(BOARD)
            wanted = select or self._screen.selected or (rows[0].request.id if rows else None)
            if self._only is not None:
                rows, wanted = (), self._only.request.id
            found = self._feed.find(wanted) if wanted is not None else None
        except LicetError as error:
            self._screen.said = str(error)
            return
        self._screen.take(rows, found, has_voted=found is not None and self._feed.has_voted(found))

    def _press(self, keys: Keyboard, live: Live, pressed: list[str]) -> None:
        for key in pressed:
            before = self._screen.mode
            act = self._screen.press(key)
            if isinstance(act, int):
                self._select(act)
            elif act is not None:
                self._screen.said = self._carry_out(act)
                self._look()
            if self._screen.mode is not before and self._screen.mode is Mode.CONFIRM:
                # What was typed before the question could be read is no answer to it.
                self._draw(live)
                keys.forget()
                self._screen.could_be_read()
                return

    def _select(self, step: int) -> None:
        wanted = self._screen.next_selected(step)
        if wanted is None or wanted == self._screen.selected:
            return
        self._screen.select(None, has_voted=False)
        self._look(wanted)

    def _carry_out(self, act: Act) -> str:
        assert self._screen.viewer is not None
        try:
            # Opened anew: whoever votes is held against the directory of now.
            with requests_of(self._invocation) as requests:
                done = requests.decide(act.shown, act.verb, requests.caster(self._screen.viewer), act.comment)
        except Exception as error:  # noqa: BLE001 - whatever it was, it is said, and the watch goes on
            return f"nothing was done: {fault_of(error).message}"
        return f"{_DONE[act.verb]}; the request is {done.state}; recorded as {done.receipt.log}:{done.receipt.index}"

    def _draw(self, live: Live) -> None:
        """Draw what has changed, or moved with the clock or the size of the terminal."""
        from rich.console import Group  # noqa: PLC0415 - loaded when a screen is drawn

        console = live.console
        width, height = console.size
        frame = draw(self._screen, Size(width, height, console), utc_now())
        self._screen.drawn(page=frame.page, scroll=frame.scroll, at_end=frame.at_end)
        if (width, height, frame.lines) == self._drawn:
            return
        self._drawn = (width, height, frame.lines)
        live.update(Group(*frame.lines), refresh=True)


_DONE = {"approve": "approved", "reject": "denied", "take_back": "your vote is taken back", "withdraw": "withdrawn"}

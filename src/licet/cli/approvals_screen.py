"""The state of `licet approvals watch`: what is selected, what is being asked, and what a key means. No terminal, no store.

Rules:

1. A vote is on what is shown: it names the request that was on the screen when the question was asked, whatever came meanwhile.
2. Two steps: `a` or `d` ask (with a comment, if wanted), and `y` confirms, on a screen that has all that is voted on and nothing else.
   An approval is not confirmed before its end was on the screen.
3. The selection follows a request and never a place in the list. One that has ended stays selected, as it ended.
4. Where the request that is being asked about ends or changes, the question ends with it, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum

from msgspec import Struct

from licet.cli.request_source import Verb
from licet.cli.requests import Viewed, is_same
from licet.model import RequestId, RequestState

COMMENT_LIMIT = 2_000
"""Characters of a comment that is typed; more is a document, and belongs elsewhere."""


class Mode(Enum):
    """What keys are for."""

    LOOK = "look"
    COMMENT = "comment"
    CONFIRM = "confirm"


class Act(Struct, frozen=True):
    """What the person has decided: a verb on the request as it was shown."""

    verb: Verb
    shown: Viewed
    comment: str | None = None


class Screen:
    """What a person looks at. `can_withdraw` and the like are only told early; the desk decides."""

    def __init__(self, viewer: str | None, *, only_shows: bool = False) -> None:
        self.viewer = viewer
        self.only_shows = only_shows
        self.rows: tuple[Viewed, ...] = ()
        self.shown: Viewed | None = None
        self.has_voted = False
        self.mode = Mode.LOOK
        self.verb: Verb = "approve"
        self.comment = ""
        self.said = ""
        self.scroll = 0
        self.page = 1
        self.has_seen_end = False
        self.is_answerable = False
        self.is_long = False
        self.wants_quit = False
        self.wants_refresh = False

    @property
    def selected(self) -> RequestId | None:
        """The request that is shown."""
        return None if self.shown is None else self.shown.request.id

    def take(self, rows: Sequence[Viewed], shown: Viewed | None, *, has_voted: bool) -> None:
        """What waits now, and the selected request as it is now; None where there is none, or it was erased."""
        self.rows = tuple(rows)
        if self.mode is not Mode.LOOK:
            self._question_stands(shown)
        self.shown, self.has_voted = shown, has_voted

    def has_lapsed(self, now: datetime) -> bool:
        """Whether something that is shown as waiting is past its time."""
        rows = self.rows if self.shown is None else (*self.rows, self.shown)
        return any(row.is_live and row.request.expires_at <= now for row in rows)

    def drawn(self, *, page: int, scroll: int, at_end: bool) -> None:
        """What has become visible: lines of a page, the scroll position that there really is, whether the end was shown."""
        self.page, self.scroll = max(1, page), scroll
        self.has_seen_end = self.has_seen_end or at_end
        self.is_long = scroll > 0 or not at_end

    def offers(self) -> frozenset[str]:
        """The keys that would do something now."""
        asks: dict[str, Verb] = {"a": "approve", "d": "reject", "t": "take_back", "w": "withdraw"}
        useful = {key for key, verb in asks.items() if not self._why_not(verb)}
        return frozenset({"r", "q", *useful, *(["arrows"] if len(self.rows) > 1 else []), *(["PgDn"] if self.is_long else [])})

    def next_selected(self, step: int) -> RequestId | None:
        """The request `step` below the selected one; the first where none is selected or it is not in the list any more."""
        ids = [row.request.id for row in self.rows]
        if not ids:
            return self.selected
        if self.selected not in ids:
            return ids[0]
        return ids[min(len(ids) - 1, max(0, ids.index(self.selected) + step))]

    def select(self, found: Viewed | None, *, has_voted: bool) -> None:
        """Show another request, from its beginning."""
        self.shown, self.has_voted, self.scroll, self.has_seen_end = found, has_voted, 0, False

    def could_be_read(self) -> None:
        """The question is on the screen, and what was typed before it is forgotten: from now on `y` counts."""
        self.is_answerable = True

    def press(self, key: str) -> Act | int | None:
        """What a key leads to: an act, how far to move the selection, or nothing that anybody else must do."""
        if key == "quit":
            self.wants_quit = True
            return None
        if self.mode is Mode.COMMENT:
            self._type(key)
            return None
        if self._scrolled(key):
            return None
        return self._confirm(key) if self.mode is Mode.CONFIRM else self._look(key)

    def _look(self, key: str) -> int | None:
        self.said = ""
        match key:
            case "up" | "k":
                return -1
            case "down" | "j":
                return 1
            case "a":
                self._ask("approve")
            case "d":
                self._ask("reject")
            case "t":
                self._ask("take_back")
            case "w":
                self._ask("withdraw")
            case "r":
                self.wants_refresh = True
            case "q":
                self.wants_quit = True
        return None

    def _ask(self, verb: Verb) -> None:
        refusal = self._why_not(verb)
        if refusal:
            self.said = refusal
            return
        self.verb, self.comment = verb, ""
        self._enter(Mode.COMMENT if verb in {"approve", "reject"} else Mode.CONFIRM)

    def _why_not(self, verb: Verb) -> str:
        """Why it need not even be asked; nothing where it may be."""
        found = self.shown
        if self.only_shows:
            return "this only shows; `licet approvals watch --as USER` decides"
        if found is None:
            return "nothing is selected"
        if self.viewer is None:
            return "nobody was named who decides: start with `--as USER`"
        return f"this request is over ({found.state})" if not found.is_live else self._why_not_on(found, verb)

    def _why_not_on(self, found: Viewed, verb: Verb) -> str:
        if verb == "take_back":
            return "" if self.has_voted else f"`{self.viewer}` has no vote on it"
        if verb == "withdraw":
            return _only(found) if found.request.user != self.viewer else ""
        return found.refused or ""

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self._enter(Mode.CONFIRM)
            case "esc":
                self._leave("nothing was done")
            case "backspace":
                self.comment = self.comment[:-1]
            case "clear":
                self.comment = ""
            case _ if len(key) == 1 and len(self.comment) < COMMENT_LIMIT:
                self.comment += key

    def _confirm(self, key: str) -> Act | None:
        if key in {"n", "esc", "q"}:
            self._leave("nothing was done")
            return None
        if key != "y" or self.shown is None or not self.is_answerable:
            return None
        if self.verb == "approve" and not self.has_seen_end:
            self.said = "there is more of it below: read to its end first (PgDn)"
            return None
        act = Act(self.verb, self.shown, self.comment.strip() or None)
        self._leave("")
        return act

    def _scrolled(self, key: str) -> bool:
        by = {"page down": self.page, " ": self.page, "page up": -self.page, "b": -self.page, "home": -self.scroll, "end": 1_000_000}
        if key not in by:
            return False
        self.scroll = max(0, self.scroll + by[key])
        return True

    def _enter(self, mode: Mode) -> None:
        self.mode, self.scroll, self.has_seen_end, self.is_answerable, self.said = mode, 0, False, False, ""

    def _leave(self, said: str) -> None:
        self._enter(Mode.LOOK)
        self.said = said

    def _question_stands(self, now: Viewed | None) -> None:
        asked = self.shown
        if now is None or asked is None:
            self._leave("the request is gone: it was erased; nothing was done")
        elif not now.is_live or (self.verb in {"approve", "reject"} and now.state != RequestState.OPEN):
            self._leave(f"the request is {now.state} now; nothing was done")
        elif not is_same(asked, now.request):
            self._leave("what is asked for has changed; nothing was done")


def _only(found: Viewed) -> str:
    user = found.request.user
    return f"only `{user}`, for whom it was made, can withdraw it" if user is not None else "it was made for no user who could withdraw it"

"""What keys mean, and how a screen is laid out: without a terminal, on requests of a real store."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console

from licet import config
from licet.cli.approvals_draw import Size, draw
from licet.cli.approvals_facts import change_lines, facts_of
from licet.cli.approvals_keys import Decoder
from licet.cli.approvals_screen import Act, Mode, Screen
from licet.cli.faults import Refusal
from licet.cli.invocation import Invocation
from licet.cli.loading import reading, utc_now
from licet.cli.request_source import Verb
from licet.cli.request_source_local import LocalRequests
from licet.cli.requests import Viewed, get_request, stand
from licet.errors import VoteRefused
from licet.identity.directory import Directory
from licet.model import Effect, RequestState
from tests.cli.conftest import Licet, envelope


@pytest.fixture
def shown(used: Path, request_id: str) -> Viewed:
    """The held request, as lena sees it."""
    settings = config.load(used / "licet.toml")
    with reading(settings) as store:
        request, votes = get_request(store, request_id)
        return stand(request, votes, Directory.from_settings(settings), utc_now(), viewer="lena")


@pytest.fixture
def screen(shown: Viewed) -> Screen:
    """A screen that shows it, drawn once."""
    found = Screen("lena")
    found.take((shown,), shown, has_voted=False)
    found.drawn(page=20, scroll=0, at_end=True)
    return found


def ask(screen: Screen, *keys: str) -> Act | int | None:
    """Press these, drawing the question as the loop does; what the last one led to."""
    act: Act | int | None = None
    for key in keys:
        before = screen.mode
        act = screen.press(key)
        if screen.mode is Mode.CONFIRM and before is not Mode.CONFIRM:
            screen.drawn(page=20, scroll=0, at_end=True)
            screen.could_be_read()
    return act


# keys


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"a", ["a"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1b[5~\x1b[6~", ["up", "page up", "page down"]),
        (b"\r\n\x7f\x15", ["enter", "enter", "backspace", "clear"]),
        (b"\x1b[1;5A\x1b[200~x", ["x"]),  # sequences that nobody here knows are no keys
        (b"\x1ba", ["esc", "a"]),
        ("ü€🙂".encode(), ["ü", "€", "🙂"]),
        (b"\x00\x01\x02\xff\xfe", []),
    ],
    ids=["letter", "arrows", "application", "editing", "unknown", "alt", "utf-8", "rubbish"],
)
def test_bytes_become_keys_in_whatever_pieces_they_come(sent: bytes, keys: list[str]) -> None:
    whole, bitwise = Decoder(), Decoder()
    assert whole.feed(sent) + whole.flush() == keys
    assert [key for byte in sent for key in bitwise.feed(bytes([byte]))] + bitwise.flush() == keys


@given(st.binary(max_size=40))
def test_no_bytes_become_anything_else_than_keys(sent: bytes) -> None:
    decoder = Decoder()
    for key in decoder.feed(sent) + decoder.flush():
        assert key.isprintable()
        assert len(key) == 1 or key in {"up", "down", "page up", "page down", "home", "end", "enter", "backspace", "clear", "quit", "esc"}


# what a key leads to


def test_two_steps_lead_to_a_vote_on_what_is_shown(screen: Screen, shown: Viewed) -> None:
    assert ask(screen, "a", "o", "k", "enter", "y") == Act("approve", shown, "ok")
    assert screen.mode is Mode.LOOK


@given(st.lists(st.sampled_from(["a", "d", "t", "w", "y", "n", "j", "k", "r", " ", "end", "x", "esc", "up"]), max_size=30))
def test_without_enter_no_keys_vote(keys: list[str]) -> None:
    screen = Screen("lena")
    assert not any(isinstance(ask(screen, key), Act) for key in keys)


def test_a_confirmation_before_the_question_could_be_read_does_nothing(screen: Screen) -> None:
    for key in ("a", "enter", "y", "y"):
        assert screen.press(key) is None
    assert screen.mode is Mode.CONFIRM


def test_an_approval_needs_its_end_and_a_rejection_does_not(screen: Screen) -> None:
    for verb, allowed in (("a", False), ("d", True)):
        screen.press(verb)
        screen.press("enter")
        screen.drawn(page=5, scroll=0, at_end=False)
        screen.could_be_read()
        assert isinstance(screen.press("y"), Act) is allowed
        screen.press("esc")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "approved"}, "the request is approved now; nothing was done"),
        ({"state": "superseded"}, "the request is superseded now; nothing was done"),
        ({"state": "past its time"}, "the request is past its time now; nothing was done"),
        ({"binding": "other"}, "what is asked for has changed; nothing was done"),
    ],
    ids=["approved", "superseded", "expired", "changed"],
)
def test_a_question_ends_with_what_it_was_about(screen: Screen, shown: Viewed, change: dict[str, str], said: str) -> None:
    ask(screen, "a", "enter")
    before = screen.shown
    assert before is not None
    screen.shown = replace(before, binding=change.get("binding", before.binding))
    screen.take((), replace(shown, state=change.get("state", "open")), has_voted=False)
    assert (screen.mode, screen.said) == (Mode.LOOK, said)
    assert ask(screen, "y") is None


def test_a_question_about_somebody_who_was_erased_ends(screen: Screen) -> None:
    ask(screen, "d", "enter")
    screen.take((), None, has_voted=False)
    assert screen.said == "the request is gone: it was erased; nothing was done"


def test_a_vote_that_comes_meanwhile_does_not_end_the_question(screen: Screen, shown: Viewed) -> None:
    ask(screen, "a", "enter")
    screen.take((shown,), replace(shown, votes=shown.votes), has_voted=False)
    assert screen.mode is Mode.CONFIRM


def test_the_selection_follows_the_request_and_not_the_place(screen: Screen, shown: Viewed) -> None:
    sooner = replace(shown, request=replace(shown.request, id="sooner"))
    screen.take((sooner, shown), shown, has_voted=False)
    assert screen.selected == shown.request.id
    assert (screen.next_selected(-1), screen.next_selected(1)) == ("sooner", shown.request.id)


def test_only_what_can_be_done_is_offered(screen: Screen, shown: Viewed) -> None:
    assert screen.offers() == {"a", "d", "r", "q"}
    screen.take((shown,), replace(shown, refused="`lena` has voted on it already"), has_voted=True)
    assert screen.offers() == {"t", "r", "q"}
    for nobody in (Screen(None), Screen("lena", only_shows=True)):
        nobody.take((shown,), shown, has_voted=False)
        assert nobody.offers() == {"r", "q"}


# what is shown is what is voted on


@pytest.mark.parametrize("part", ["summary", "key", "tool", "obligations"])
def test_another_request_under_the_same_id_is_not_approved(used: Path, licet: Licet, shown: Viewed, part: str) -> None:
    other = {"summary": Raw(b'{"arguments":{"amount_cents":1}}'), "key": "other", "tool": "crm.lookup", "obligations": ()}
    before = replace(shown, request=replace(shown.request, **{part: other[part]}))
    with pytest.raises(Refusal, match="is not what was shown any more") as refused:
        carry_out(used, before, "approve", "lena")
    assert refused.value.fault.code == "not_as_shown"
    assert envelope(licet("approvals", "show", shown.request.id, "--json"))["data"]["votes"] == []


def test_another_binding_than_the_one_on_the_screen_is_not_approved(used: Path, shown: Viewed) -> None:
    with pytest.raises(Refusal):
        carry_out(used, replace(shown, binding="0" * 64), "approve", "lena")


def test_the_desk_decides_whatever_a_screen_thinks(used: Path, shown: Viewed) -> None:
    with pytest.raises(VoteRefused, match="nobody approves their own"):
        carry_out(used, shown, "approve", "alice")


def carry_out(folder: Path, shown: Viewed, verb: Verb, voter: str) -> None:
    settings = config.load(folder / "licet.toml")
    with reading(settings) as store:
        requests = LocalRequests(Invocation([]), settings, store)
        requests.decide(shown, verb, requests.caster(voter), None)


# how it looks


@pytest.mark.parametrize("mode", list(Mode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("width", [20, 40, 59, 60, 80, 200])
@pytest.mark.parametrize("height", [4, 10, 24, 60])
def test_a_frame_is_never_larger_than_the_terminal(screen: Screen, mode: Mode, width: int, height: int) -> None:
    screen.mode, screen.comment, screen.said = mode, "a long comment " * 30, "something was said " * 4
    console = Console(file=io.StringIO(), width=width, height=height)
    frame = draw(screen, Size(width, height, console), utc_now())
    assert len(frame.lines) <= height
    assert all(cell_len(line.plain) <= width for line in frame.lines)


def test_the_pages_of_a_frame_leave_no_line_out(screen: Screen) -> None:
    screen.mode = Mode.CONFIRM
    console = Console(file=io.StringIO(), width=40, height=12)
    seen: list[str] = []
    for _ in range(50):
        frame = draw(screen, Size(40, 12, console), utc_now())
        screen.drawn(page=frame.page, scroll=frame.scroll, at_end=frame.at_end)
        seen += [line.plain.strip() for line in frame.lines]
        if frame.at_end:
            break
        screen.press(" ")
    shown = screen.shown
    assert shown is not None
    text = "".join("".join(seen).split())
    for part in ("2600", "22600", "doublecharge", "adjustmentsover$100", shown.request.id):
        assert part in text
    assert shown.binding[:30] in text
    assert shown.binding[-20:] in text


@pytest.mark.parametrize(("width", "height"), [(80, 2), (80, 3), (10, 50), (15, 20)])
def test_what_a_terminal_cannot_show_is_not_taken_for_seen(screen: Screen, width: int, height: int) -> None:
    screen.mode, screen.scroll = Mode.CONFIRM, 1_000_000
    frame = draw(screen, Size(width, height, Console(file=io.StringIO(), width=width, height=height)), utc_now())
    assert frame.at_end is (height == 3)


def test_a_countdown_is_coloured_when_it_runs_out(screen: Screen, shown: Viewed) -> None:
    console = Console(file=io.StringIO(), width=80, height=40)
    for left, coloured in ((timedelta(minutes=5), False), (timedelta(seconds=90), True)):
        frame = draw(screen, Size(80, 40, console), shown.request.expires_at - left)
        (line,) = [line for line in frame.lines if line.plain.startswith("expires")]
        assert any("yellow" in str(span.style) for span in line.spans) is coloured


@pytest.mark.parametrize(
    ("effect", "lines"),
    [
        (Effect(target="T", field="f", before=1, after=2), ["T f: 1 -> 2"]),
        (Effect(target="T", field="f", before_unknown=True, after=2), ["T f: ? -> 2"]),
        (Effect(target="T", field="f", before="x" * 40, after="y" * 40), ["T f:", f'  - "{"x" * 40}"', f'  + "{"y" * 40}"']),
    ],
    ids=["short", "unknown", "long"],
)
def test_a_change_is_what_is_now_and_what_would_be(effect: Effect, lines: list[str]) -> None:
    assert ["".join(text for text, _ in line) for line in change_lines(effect)] == lines


@given(st.text(max_size=200))
def test_no_text_of_an_agent_makes_a_line_of_its_own(text: str) -> None:
    (line,) = change_lines(Effect(target="T", field="f", before=None, after=text))[:1]
    assert "\n" not in "".join(part for part, _ in line)
    assert msgspec.json.encode(text)


def test_a_request_of_a_plan_says_which_step_it_is(licet: Licet, shown: Viewed) -> None:
    step = replace(shown, request=replace(shown.request, plan="p-1", step=2, steps=5, state=RequestState.OPEN))
    assert ("plan", [[("step 2 of 5 of p-1", "")]]) in facts_of(step)

"""Slack: one message for each request, rewritten as things go on, and votes by its buttons.

Rules:

1. Who clicked is whom Slack says: the user id of the interaction, which comes over a connection that the app's own token opened. What a
   button carries names a request and a verdict, never a person, and grants nothing: so it needs no signature.
2. A Slack user is somebody only if licet.toml says who. Everybody else is told so, and nothing is done.
3. The vote is cast by `decide`, which asks the desk; what it refuses is refused here, and told to the one who clicked, alone.
4. A message shows what the vote is on. One whose request takes no more votes loses its buttons at the latest when one is clicked.

Not guaranteed: whoever has the bot's token can post a message that says one thing and carries the button of another. Keep it from agents.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from licet.approvals.notify import slack_blocks
from licet.approvals.notify.channel import Decide
from licet.approvals.notify.message import Message
from licet.approvals.notify.slack_blocks import Choice, Place
from licet.errors import DeliveryFailed, LicetError, OperatorError, VoteRefused
from licet.model import JsonObject

if TYPE_CHECKING:
    from licet.approvals.notify.slack_api import SlackApi

HANDLES_KNOWN: Final = 10_000
"""Messages that this process has sent or rewritten, and so will rewrite again."""
_OVER: Final = frozenset({"expired", "not_open", "request_moved", "unknown_request"})
"""Refusals that mean that nobody's vote on this message counts any more."""
_LOST: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found"})
_PLAIN: Final = {"parse": "none", "link_names": False}
"""For the text beside the blocks, which phones show first."""
_POSTED: Final = {"mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
"""What only a new message can say: no formats in that text, and nothing fetched for a link."""

_log = logging.getLogger("licet.notify")


class _User(Struct, frozen=True):
    id: str


class _Action(Struct, frozen=True):
    action_id: str
    value: str | None = None


class _Container(Struct, frozen=True):
    channel_id: str | None = None
    message_ts: str | None = None


class _Shown(Struct, frozen=True):
    blocks: object = None


class _State(Struct, frozen=True):
    values: object = None


class _View(Struct, frozen=True):
    callback_id: str = ""
    private_metadata: str = ""
    state: _State = _State()


class _Interaction(Struct, frozen=True):
    """What is read of an interaction; everything else of it is left alone."""

    type: str
    user: _User
    actions: tuple[_Action, ...] = ()
    container: _Container = _Container()
    message: _Shown = _Shown()
    trigger_id: str = ""
    view: _View = _View()


class SlackChannel:
    """A channel of Slack. `users` maps Slack's user ids to users of the directory; without `decide` there are no buttons to vote with.

    Raises `OperatorError` where slack-sdk is missing, `ConfigInvalid` for tokens that are none and for an address that is not Slack's kind.
    Clicks are heard from construction on, as soon as Slack can be reached.
    """

    def __init__(
        self,
        *,
        app_token: str,
        bot_token: str,
        channel: str,
        users: Mapping[str, str],
        decide: Decide | None,
        name: str = "slack",
        api_url: str | None = None,
    ) -> None:
        self.name = name
        self._channel = channel
        self._users = dict(users)
        self._decide = decide
        self._sent = _Handles(HANDLES_KNOWN)
        library = _library()
        self._api: SlackApi = library.SlackApi(bot_token, api_url)
        self._socket = None if decide is None else library.Socket(app_token, self._api, self._clicked)

    @property
    def connected(self) -> bool:
        """Whether clicks are heard now."""
        return self._socket is not None and bool(self._socket.connected)

    def deliver(self, message: Message, earlier: str | None) -> str | None:
        """The message stands in the channel, in the place of the earlier one if that is still there. Raises `DeliveryFailed`."""
        fields = {
            "text": slack_blocks.summary_of(message),
            "blocks": slack_blocks.blocks_of(message, votable=self._decide is not None),
            **_PLAIN,
        }
        place = _place_of(earlier)
        if place is not None:
            channel, ts = place
            try:
                self._api.call("chat.update", {"channel": channel, "ts": ts, **fields})
            except DeliveryFailed as failed:
                if getattr(failed, "code", None) not in _LOST:
                    raise
                if not message.decidable:
                    return earlier  # somebody deleted it, and nothing waits for anybody
            else:
                self._sent.add(channel, ts)
                return earlier
        answer = self._api.call("chat.postMessage", {"channel": self._channel, **_POSTED, **fields})
        channel, ts = str(answer.get("channel", "")), str(answer.get("ts", ""))
        self._sent.add(channel, ts)
        return f"{channel}:{ts}"

    def close(self) -> None:
        """The connection is closed; votes that were being cast have been."""
        if self._socket is not None:
            self._socket.close()

    def _clicked(self, unverified: JsonObject) -> None:
        """An interaction, heard once."""
        try:
            heard = msgspec.convert(unverified, _Interaction)
        except msgspec.ValidationError:
            _log.warning("slack told of an interaction that is none")
            return
        if heard.type == "view_submission" and heard.view.callback_id == slack_blocks.FORM:
            self._submitted(heard)
        elif heard.type == "block_actions":
            for action in heard.actions[:1]:
                self._pressed(heard, action)

    def _pressed(self, heard: _Interaction, action: _Action) -> None:
        place = heard.container.channel_id or self._channel, heard.container.message_ts or ""
        choice, asked = slack_blocks.find_choice(action.value), slack_blocks.find_request(action.value)
        if choice is not None and action.action_id == f"licet.{choice.verdict}":
            self._vote(heard, choice, None, *place)
        elif asked is not None and action.action_id == slack_blocks.FORM:
            form = slack_blocks.form_of(asked, Place(asked, *place), heard.message.blocks)
            self._tell("views.open", {"trigger_id": heard.trigger_id, "view": form})
        elif action.action_id != slack_blocks.LINK:
            self._answer(heard.user.id, place[0], "this button is not one of Licet's, and nothing was done")

    def _submitted(self, heard: _Interaction) -> None:
        answers = slack_blocks.find_answers(heard.view.state.values)
        try:
            place = msgspec.json.decode(heard.view.private_metadata, type=Place)
        except msgspec.DecodeError:
            place = None
        if answers is None or place is None or place.request != answers[0].request:
            _log.warning("slack told of a form that is not one of Licet's")
            return
        self._vote(heard, *answers, place.channel, place.ts)

    def _vote(self, heard: _Interaction, choice: Choice, comment: str | None, channel: str, ts: str) -> None:
        """Cast it as the user whom licet.toml names for the one who clicked, and say what came of it."""
        voter = self._users.get(heard.user.id)
        if voter is None or self._decide is None:
            told = f"nobody in Licet is known by your Slack id, {heard.user.id}: whoever runs it can add it to `users` of `{self.name}`"
            self._answer(heard.user.id, channel, told)
            return
        try:
            told = self._decide(choice.request, voter, choice.verdict, comment)
        except VoteRefused as refused:
            told = f"not counted: {refused}"
            if refused.code in _OVER and not self._sent.has(channel, ts):
                self._end(heard, channel, ts, str(refused))
        except LicetError as error:
            _log.warning("a vote through `%s` failed: %s", self.name, error)
            told = "your vote was not recorded, since something is wrong with Licet; whoever runs it finds the reason in its log"
        except Exception:  # noqa: BLE001  the one who clicked is told in any case
            _log.exception("a vote through `%s` failed", self.name)
            told = "your vote may not have been recorded, since something went wrong; look at the request before you vote again"
        self._answer(heard.user.id, channel, told)

    def _end(self, heard: _Interaction, channel: str, ts: str, reason: str) -> None:
        """Take the buttons off a message that no delivery of this process will rewrite."""
        blocks = slack_blocks.ended(heard.message.blocks, reason)
        self._tell("chat.update", {"channel": channel, "ts": ts, "text": slack_blocks.escaped(reason, 300), "blocks": blocks, **_PLAIN})

    def _answer(self, user: str, channel: str, text: str) -> None:
        """Say it to the one who clicked, and to nobody else."""
        block = {"type": "section", "text": slack_blocks.plain(text)}
        fields = {
            "channel": channel,
            "user": user,
            "text": slack_blocks.escaped(text, slack_blocks.TEXT_LIMIT),
            "blocks": [block],
            **_PLAIN,
        }
        self._tell("chat.postEphemeral", fields)

    def _tell(self, method: str, fields: JsonObject) -> None:
        """What is not said is not said again: the vote counts all the same, and the message is rewritten by the deliveries."""
        try:
            self._api.call(method, fields)
        except DeliveryFailed as failed:
            _log.warning("%s", failed)


class _Handles:
    """Remembers the messages of this process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, channel: str, ts: str) -> None:
        with self._lock:
            self._known[channel, ts] = None
            self._known.move_to_end((channel, ts))
            if len(self._known) > self._limit:
                self._known.popitem(last=False)

    def has(self, channel: str, ts: str) -> bool:
        with self._lock:
            return (channel, ts) in self._known


def _place_of(earlier: str | None) -> tuple[str, str] | None:
    channel, colon, ts = (earlier or "").partition(":")
    return (channel, ts) if channel and colon and ts else None


def _library() -> ModuleType:
    try:
        from licet.approvals.notify import slack_api  # noqa: PLC0415  an optional library
    except ImportError as error:
        raise OperatorError('Slack is spoken to by a library that is not here: `pip install "licet[notify]"`') from error
    return slack_api

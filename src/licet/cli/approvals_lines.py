"""What happens to requests, told as lines: where there is no terminal to draw on, and for programs."""

from __future__ import annotations

from licet.cli.approvals_facts import look_of, waits_for
from licet.cli.approvals_feed import Event, Happened
from licet.cli.invocation import Invocation
from licet.cli.output import envelope, print_json
from licet.cli.wording import countdown

_SENTENCES: dict[Event, tuple[str, str]] = {
    "waiting": ("hold", "{sentence}{waits}"),
    "opened": ("hold", "{sentence}{waits}"),
    "approved": ("allow", "enough people have approved: {sentence}"),
    "reopened": ("hold", "a vote was taken back, and it waits again: {sentence}{waits}"),
    "rejected": ("deny", "somebody has rejected it: {sentence}"),
    "expired": ("note", "its time is over, and nothing ran: {sentence}"),
    "withdrawn": ("note", "it was withdrawn: {sentence}"),
    "superseded": ("note", "it was held anew, as another request: {sentence}"),
    "consumed": ("note", "the call was made again and is let through: {sentence}"),
    "erased": ("note", "somebody whom it was about was erased: {sentence}"),
}
_WORDS: dict[Event, str] = {"consumed": "used", "taken_back": "taken back", "superseded": "anew"}


def print_happened(invocation: Invocation, happened: Happened) -> None:
    """One line on stdout (with `--json` an envelope), there at once for whoever reads it."""
    if invocation.as_json:
        print_json(envelope(invocation.command, data=happened))
        return
    found, output = happened.request, invocation.output
    kind, sentence = _SENTENCES.get(happened.event) or _of_vote(happened)
    word = look_of(found)[1] if happened.event == "waiting" else _WORDS.get(happened.event, happened.event)
    text = sentence.replace("{sentence}", found.sentence).replace("{waits}", waits_for(found))
    left = f"  expires in {countdown(found.expires_in_s)}" if found.is_live else ""
    output.mark(kind, word, text, below=f"{found.request.id}  {happened.at:%H:%M:%S} UTC{left}")
    output.out.file.flush()


def _of_vote(happened: Happened) -> tuple[str, str]:
    vote = happened.vote
    assert vote is not None
    if happened.event == "taken_back":
        return "note", f"the vote of {vote.voter} does not stand any more: {{sentence}}{{waits}}"
    comment = f', saying "{vote.comment}"' if vote.comment else ""
    return "note", f"{vote.voter} {'approved' if vote.verdict == 'approve' else 'rejected'}{comment}: {{sentence}}{{waits}}"

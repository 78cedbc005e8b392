"""A message as lines of plain text: what the terminal shows, what a mail says without HTML, and what Apprise passes on."""

from __future__ import annotations

from licet.approvals.notify.message import Message


def as_lines(message: Message) -> list[str]:
    """Title, sentence and facts, one a line, not escaped for any medium; empty lines part them."""
    lines = [message.title, "", message.sentence, f"asked by {message.caller}"]
    if message.preview:
        lines += ["", *[f"  {row}" for row in message.preview]]
    if message.more:
        lines.append(f"  and {message.more} more {'change' if message.more == 1 else 'changes'}")
    lines += ["", *[f"{name}: {text}" for name, text in facts(message)]]
    if message.agent_says is not None:
        lines += ["", f"the agent says: {message.agent_says}"]
    if message.link is not None:
        lines += ["", f"{'decide' if message.decidable else 'see'}: {message.link}"]
    return lines


def facts(message: Message) -> list[tuple[str, str]]:
    """Names and values of what else people need to know."""
    pairs = [("step", step) for step in message.steps]
    pairs += [("held because", why) for why in message.why]
    pairs += [("needs", need) for need in message.needs]
    pairs += [("vote", vote) for vote in message.votes]
    if message.at_expiry:
        pairs.append(("time", message.at_expiry))
    return [*pairs, ("state", message.state), ("request", message.request)]

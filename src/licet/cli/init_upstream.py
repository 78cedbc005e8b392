"""`licet init --from-upstream`: what an MCP server offers, as a licet.toml to start from.

Rules:

1. What the server says about its own tools is a suggestion in a comment. Each tool is left out until a person has said what it can do.
2. Nothing that the server says leaves its comment, or its definition in licet.lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from licet import config
from licet.catalog.pins import LOCK_FILE, Lock, Pin
from licet.catalog.suspicious import suspicions
from licet.catalog.upstream import table_of, tool_name
from licet.cli.catalog_live import look, pinned
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.config import Settings
from licet.model import JsonObject
from licet.names import quoted, visible

TENANT: Final = "home"
SHOWN_CHARS: Final = 110
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}
CONFIG: Final = """\
# Who may use which tool of `{upstream}`, on what. `licet check` validates this file and the policies.
# An unknown key is an error. Relative paths start at this file's folder.

environment = "development"
store = "sqlite:licet.db"            # the audit log; made at the first governed call
keys = "file:licet.key"               # made with it, and encrypts it: never commit this file, and keep a copy elsewhere
policies = "policies"

# Who there is. Nobody else can call, act or vote.

[tenants.home]

[agents.assistant]
tenants = ["home"]
roles = ["assistant"]
acts_for = "user"                    # every call names the user it is made for; both must be allowed

[users.owner]
tenants = ["home"]
roles = ["assistant"]

[users.approver]                     # whoever asks never approves: this is somebody else
tenants = ["home"]

[groups]
approvers = ["approver"]             # who may approve; policies name groups

# The server. What of it was accepted is in licet.lock: commit both.

[upstreams.{upstream}]
{reached}

# Whose calls those of `licet wrap` are.

[wrap]
upstream = "{upstream}"
tenant = "home"
agent = "assistant"
user = "owner"

# What each tool can do, which only you can say. A tool is denied as long as its table is a comment. Beside `access`, a table may say what
# the tool acts on (`targets = "Customer::{{id}}"`, with `[resources.Customer]`), and what it touches. What the server says of its own tools
# is its opinion: look at each before you believe it.
{tools}"""
INSTEAD: Final = (
    "nothing was written: see that the server can be started or reached from here, give what it needs by `--source NAME=SOURCE`, and run "
    "this again; or begin with `licet init`, write `[upstreams.{upstream}]` yourself, and then `licet catalog accept {upstream}`"
)
POLICIES: Final = """\
// Nothing is permitted unless a permit says so, and a forbid beats every permit.

@id("tenant-wall")
@reason("a caller stays within its tenant")
forbid (principal, action, resource)
unless { resource.tenant == principal.tenant };

@id("assistant-reads")
permit (principal in Role::"assistant", action in Action::"read", resource);

// Whatever changes something (and whatever destroys) may be asked for, and a person decides on each call.
@id("assistant-writes")
permit (principal in Role::"assistant", action in Action::"write", resource);

@id("writes-need-approval")
@require_approval("1 of Group::\\"approvers\\"")
@reason("a person looks at what is changed")
forbid (principal, action in Action::"write", resource);
"""


class Started(Struct, frozen=True, kw_only=True):
    """What is to be written: contents by file, the lock, how many tools it has, and what somebody should look at twice, as sentences."""

    files: Mapping[str, str]
    lock: Lock
    tools: int
    problems: tuple[str, ...]


def start_from(upstream: str, words: tuple[str, ...], sources: Mapping[str, str], folder: Path) -> Started:
    """Ask the server that these words reach, and make a beginning of what it offers. Raises `Refusal` or `ConfigInvalid`."""
    reached = _reached(words, sources)
    settings = _settings(upstream, reached, folder)
    pins, problems = pinned(upstream, look(settings.upstreams, folder, upstream, TENANT, next_step=INSTEAD.format(upstream=upstream)))
    odd = [f"`{name}`: {one.path or '/'} {one.what}" for name, pin in sorted(pins.items()) for one in suspicions(pin.definition)]
    tools = "".join(_table(upstream, name, pin) for name, pin in sorted(pins.items()))
    text = CONFIG.format(upstream=upstream, reached=reached, tools=tools)
    files = {"licet.toml": text, "policies/base.cedar": POLICIES}
    return Started(files=files, lock=Lock().with_pins(upstream, pins), tools=len(pins), problems=(*problems, *odd))


def write_lock(started: Started, folder: Path) -> None:
    """Pin what was shown. Raises `OSError`."""
    started.lock.write(folder / LOCK_FILE)


def _settings(upstream: str, reached: str, folder: Path) -> Settings:
    """The beginning without its tools, read as any licet.toml is."""
    text = f'environment = "development"\n[tenants.{TENANT}]\n[upstreams.{_text(upstream)}]\n{reached}\n'
    return config.loads(text, file=folder.absolute() / "licet.toml")


def _reached(words: tuple[str, ...], sources: Mapping[str, str]) -> str:
    if not words:
        message = "which server is meant was not said"
        raise Refusal(
            Exit.USAGE, "usage", message, next_step="`licet init --from-upstream NAME -- COMMAND`, or its URL in place of a command"
        )
    is_url = len(words) == 1 and urlsplit(words[0]).scheme in {"http", "https"}
    lines = [f"url = {_text(words[0])}" if is_url else f"command = [{', '.join(map(_text, words))}]"]
    if sources:
        pairs = ", ".join(f"{_text(name)} = {_text(source)}" for name, source in sources.items())
        lines.append(f"{'headers' if is_url else 'env'} = {{{pairs}}}")
    return "\n".join(lines)


def _table(upstream: str, name: str, pin: Pin) -> str:
    """One tool, as a comment."""
    full, definition = tool_name(upstream, name), pin.definition
    lines = ["", _line(f"{full}: {definition.get('description') or definition.get('title') or 'the server does not say what it does'}")]
    arguments = definition.get("inputSchema")
    taken = arguments.get("properties") if isinstance(arguments, dict) else None
    if isinstance(taken, dict) and taken:
        lines.append(_line(f"arguments: {', '.join(taken)}"))
    said, access = _suggested(definition)
    lines.append(f"# {said}")
    lines += [f"# {table_of(full)}", f"# access = {access}"]
    return "\n".join(lines) + "\n"


def _suggested(definition: JsonObject) -> tuple[str, str]:
    """What the server's annotations come to, as a comment, and the access that they would mean."""
    hints = definition.get("annotations")
    if not isinstance(hints, dict) or not any(isinstance(hints.get(name), bool) for name in ("readOnlyHint", "destructiveHint")):
        return "the server does not say what it can do", '"read", "write" or "destructive"'
    said = ", ".join(
        f"{name} = {str(hints[name]).lower()}" for name in ("readOnlyHint", "destructiveHint") if isinstance(hints.get(name), bool)
    )
    access = "read" if hints.get("readOnlyHint") is True else "write" if hints.get("destructiveHint") is False else "destructive"
    return f"the server itself says {said}", f'"{access}"'


def _line(text: str) -> str:
    """A comment of one line, whatever is in the text (rule 2)."""
    shown = visible(" ".join(text.split()))
    return f"# {shown if len(shown) <= SHOWN_CHARS else f'{shown[:SHOWN_CHARS]}...'}"


def _text(text: str) -> str:
    """A TOML string: what cannot be seen, or would end it, is escaped. Raises `Refusal` for what is no text (bytes that are no UTF-8)."""
    if any("\ud800" <= one <= "\udfff" for one in text):
        shown = quoted(text)
        raise Refusal(Exit.USAGE, "usage", f"{shown} is no text that a file can hold", next_step="use names of files that are UTF-8")
    return '"' + "".join(_ESCAPES.get(one) or (one if one.isprintable() else f"\\U{ord(one):08X}") for one in text) + '"'

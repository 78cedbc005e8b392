"""What a decision looked at, by the names that policies use, and what to do about it.

What is told is what the record holds: a payload that was erased, hidden or cut tells less, and nothing is filled in for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from licet.console.wording import quoted_value
from licet.ledger.entries import Entry
from licet.policy.explain import NearMiss, Why

_PATH: Final = re.compile(r'\b(?:context|resource|principal)(?:\.\w+|\["[^"\\]*"\])+')
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Fact(Struct, frozen=True):
    """A value that policies see under this name. `decides`: a condition that was false reads it."""

    name: str
    value: str
    decides: bool


def facts_of(entry: Entry, failed: Iterable[str]) -> list[Fact]:
    """What the decision of a record saw: what the false conditions read comes first."""
    named = {path for text in failed for path in _PATH.findall(text)}
    found = [Fact(name, value, any(_is_about(path, name) for path in named)) for name, value in _facts(entry)]
    return sorted(found, key=lambda fact: not fact.decides)


def _is_about(path: str, name: str) -> bool:
    """Whether a condition that reads this path reads the fact of this name, or a part of it."""
    plain = name.partition(" of ")[0]
    return path == plain or path.startswith((f"{plain}.", f"{plain}["))


def _facts(entry: Entry) -> Iterator[tuple[str, str]]:
    payload, context = entry.payload, entry.payload.context or {}
    raw = bytes(payload.arguments)
    for name, value in (_decode(raw) if raw else {}).items():
        yield f"context.input.{name}", quoted_value(value)
    unread = entry.detail.get("unread_arguments")
    if isinstance(unread, dict) and "text" in unread:
        yield "arguments as they were sent", str(unread["text"])
    for target in payload.targets:
        of = f" of {target.ref}" if len(payload.targets) > 1 else ""
        yield f"resource{of}", str(target.ref)
        yield f"resource.tenant{of}", f'Tenant::"{target.tenant}"'
        for name, value in sorted(target.attributes.items()):
            yield f"resource.{name}{of}", quoted_value(value)
    for principal in payload.principals:
        groups = [*(f'Role::"{role}"' for role in principal.roles), *(f'Group::"{group}"' for group in principal.groups)]
        yield f"principal of {principal.ref}", ", ".join(groups) or "in no role and no group"
    yield "context.environment", quoted_value(entry.envelope.environment)
    for name, value in sorted(dict(context.get("meters") or {}).items()):
        yield f"context.meters.{name}", quoted_value(value)
    if "labels" in context or "calls" in context:
        yield "context.session.labels", quoted_value(context.get("labels", []))
        yield "context.session.calls", quoted_value(context.get("calls", 0))
    for name, value in sorted(dict(context.get("local") or {}).items()):
        yield f"context.local.{name}", quoted_value(value)


def nearest_of(unpermitted: Iterable[Why]) -> list[tuple[NearMiss | None, list[str]]]:
    """The nearest permits, and for which principals and targets each is the nearest."""
    found: dict[NearMiss | None, list[str]] = {}
    for one in unpermitted:
        found.setdefault(one.nearest, []).append(f"{one.principal} on {one.target}")
    return list(found.items())


NEXT: Final = {
    "unknown_tool": "The catalog has no tool of this name. Correct the name, or register the tool before it is called.",
    "unclassified_tool": "Nobody has said what this tool can do: add `[tools.NAME]` with its `access` to licet.toml, and permit it.",
    "definition_drift": "Look at what has changed with `licet catalog diff UPSTREAM`; `licet catalog accept UPSTREAM TOOL` takes it.",
    "reason_required": "This installation asks for a reason with each call: say why.",
    "frozen": "Nothing to do until somebody lifts the freeze; what the policies say does not matter meanwhile.",
    "target_not_found": "There is no such target in this tenant. One of another tenant would sound the same.",
    "target_unresolvable": "Nobody could say whose the target is: mend its resolver. Calling again is safe.",
    "no_permit": "A permit is needed, for the agent and for the user: each must be allowed by itself.",
    "forbidden": "The policy that forbids it is a rule without exceptions: a permit beside it would change nothing.",
    "policy_error": "The policies could not be evaluated cleanly, which is never an allow: mend the policy that is named.",
    "rejected": "Somebody rejected exactly this call; it is denied until its request expires. Ask them.",
    "nobody_can_approve": "Too few people may approve it: put people into the group in licet.toml, or ask for fewer.",
    "preview_denied": "People must see what it would change, and its preview is not permitted to this caller: permit the preview.",
    "preview_failed": "Nobody could see what it would change: mend the tool's preview.",
    "too_many_open": "The caller has too many requests waiting: let people decide, or withdraw some.",
    "only_as_undo": "It is proposed with `licet undo`, or from the page of its subject, and never with arguments of one's own.",
    "already_undone": "A call is undone once; another undo was first.",
    "key_reused": "The idempotency key was used for another call: draw a new one.",
    "approval_required": "People decide on it: the request is in the inbox.",
    "confirmation_required": "The user whom the agent acts for must confirm it.",
    "preview_only": "It may be previewed and never runs.",
}
"""What to do, by the code of a decision (docs/errors.md)."""
ARGUMENTS: Final = "The arguments are not what the tool takes; what is wrong, and where, is said above. Send them as its schema says."
_ABOUT_ARGUMENTS: Final = frozenset(
    [
        "not_json",
        "not_object",
        "bad_text",
        "duplicate_key",
        "forbidden_key",
        "not_finite",
        "number_too_large",
        "not_json_value",
        "too_deep",
        "too_large",
        "too_many_values",
        "missing",
        "unknown_argument",
        "duplicate_argument",
        "wrong_type",
        "invalid",
        "not_stable",
        "not_canonical",
        "target_missing",
        "bad_key",
        "too_many_targets",
    ]
)


def next_of(code: str) -> str:
    """What to do about a denial of this code; empty where nothing better is known than its message."""
    return ARGUMENTS if code in _ABOUT_ARGUMENTS else NEXT.get(code, "")

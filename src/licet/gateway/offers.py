"""One page of what an upstream lists, read with bounds.

An upstream that lists more than anybody can read is cut off, and the log says so; what has no name, or one that is too long, is left out.
"""

from __future__ import annotations

import logging
from typing import Final

from msgspec import Struct

from licet.gateway.connection import Connection, Garbage
from licet.gateway.link import Voyage
from licet.model import JsonObject

ITEMS_LIMIT: Final = 10_000
"""Of one page, and of all that is remembered of one upstream."""
NAME_LIMIT: Final = 8_192
"""Characters of a URI, a template or a prompt's name: as long as a URI may be that is read."""
CURSOR_LIMIT: Final = 4_096
LIST_TIMEOUT_S: Final = 15.0
"""A list is not worth a longer wait; those of the other upstreams are waiting for it."""

_log = logging.getLogger("licet.gateway")


class Kind(Struct, frozen=True):
    """A list: its method, the member of its result, what an upstream declares that has it, which method reads one of it, by which name."""

    method: str
    member: str
    capability: str
    reads: str
    name: str

    def is_declared(self, connection: Connection) -> bool:
        """Whether the upstream says that it has any."""
        return isinstance(connection.capabilities.get(self.capability), dict)


RESOURCES: Final = Kind("resources/list", "resources", "resources", "resources/read", "uri")
TEMPLATES: Final = Kind("resources/templates/list", "resourceTemplates", "resources", "resources/read", "uriTemplate")
PROMPTS: Final = Kind("prompts/list", "prompts", "prompts", "prompts/get", "name")
KINDS: Final = {kind.method: kind for kind in (RESOURCES, TEMPLATES, PROMPTS)}


class Page(Struct, frozen=True):
    """What was listed, what comes next, if anything, and what else the upstream said. `is_cut` says that the upstream lists more."""

    items: list[JsonObject]
    following: str | None
    rest: JsonObject
    is_cut: bool = False


async def read_page(connection: Connection, kind: Kind, cursor: str | None, voyage: Voyage) -> Page:
    """One page, as the upstream gives it. Raises `EndedAs`."""
    sent = {} if cursor is None else {"cursor": cursor}
    result = await connection.request(kind.method, sent, voyage, timeout_s=LIST_TIMEOUT_S)
    listed = result.get(kind.member)
    if not isinstance(listed, list) or result.get("resultType", "complete") != "complete":
        raise Garbage("upstream_not_understood", f"`{connection.upstream}` answered `{kind.method}` with something that is no list")
    if len(listed) > ITEMS_LIMIT:
        _log.warning("licet: `%s` lists %d at once: only %d are looked at", connection.upstream, len(listed), ITEMS_LIMIT)
    items = [item for item in listed[:ITEMS_LIMIT] if isinstance(item, dict) and _is_name(item.get(kind.name))]
    following = result.get("nextCursor")
    ends = not isinstance(following, str) or following == cursor or len(following) > CURSOR_LIMIT
    rest = {name: value for name, value in result.items() if name not in {kind.member, "nextCursor"}}
    is_cut = len(listed) > ITEMS_LIMIT or (ends and following is not None) or (kind is TEMPLATES and any(map(_is_too_long, listed)))
    return Page(items, None if ends else following, rest, is_cut)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_LIMIT


def _is_too_long(template: object) -> bool:
    """Nobody reads so long a URI, but what such a template makes may be short."""
    name = template.get(TEMPLATES.name) if isinstance(template, dict) else None
    return isinstance(name, str) and len(name) > NAME_LIMIT

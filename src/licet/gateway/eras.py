"""The two eras of the Model Context Protocol, and the words that they differ in.

Modern (2026-07-28): every request says its version and the client's capabilities in `_meta`; what a server needs to ask is in its result
(`input_required`). Legacy (2025-11-25 and before): a handshake, a session, and requests of the server to the client.
"""

from __future__ import annotations

from typing import Final, Literal

Era = Literal["modern", "legacy"]

MODERN_VERSIONS: Final = ("2026-07-28",)
LEGACY_VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first."""
VERSIONS: Final = MODERN_VERSIONS + LEGACY_VERSIONS

PREFIX: Final = "io.modelcontextprotocol/"
META_VERSION: Final = f"{PREFIX}protocolVersion"
META_CAPABILITIES: Final = f"{PREFIX}clientCapabilities"
META_CLIENT: Final = f"{PREFIX}clientInfo"
META_SERVER: Final = f"{PREFIX}serverInfo"
META_LOG_LEVEL: Final = f"{PREFIX}logLevel"
META_SUBSCRIPTION: Final = f"{PREFIX}subscriptionId"
META_PROGRESS: Final = "progressToken"

ASKED_OF_CLIENTS: Final = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What a server may ask of a client, with the capability that the client must have declared."""
MAY_ASK: Final = frozenset({"tools/call", "resources/read", "prompts/get"})
"""The modern requests that may be answered with `input_required`."""
CACHEABLE: Final = frozenset(
    {"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)
"""The modern results that must say how long they hold, and for whom."""

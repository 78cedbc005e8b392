"""What a client says of itself, in the words of its era, and the id of what it said where that is all that can be read."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from licet.gateway.eras import LEGACY_VERSIONS, META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN_VERSIONS, VERSIONS
from licet.gateway.link import ClientFacts
from licet.gateway.messages import INVALID_PARAMS, UNSUPPORTED_VERSION, MessageId, RpcError, is_id
from licet.model import JsonObject

_loose: Final = msgspec.json.Decoder()


def modern_client(meta: JsonObject) -> ClientFacts | None:
    """The client of a request that says its version; None where it does not. Raises `RpcError` where what it says cannot be used."""
    if META_VERSION not in meta:
        return None
    version, capabilities = meta[META_VERSION], meta.get(META_CAPABILITIES)
    if not isinstance(version, str):
        raise RpcError(INVALID_PARAMS, f"`{META_VERSION}` is text")
    if version not in MODERN_VERSIONS:
        data = {"supported": list(VERSIONS), "requested": version}
        raise RpcError(UNSUPPORTED_VERSION, "this version of the protocol is not spoken here in this way", data=data)
    if not isinstance(capabilities, dict):
        raise RpcError(INVALID_PARAMS, f"`{META_CAPABILITIES}` is an object, and must be said with every request")
    info = meta.get(META_CLIENT, {})
    if not isinstance(info, dict):
        raise RpcError(INVALID_PARAMS, f"`{META_CLIENT}` is an object")
    return ClientFacts(era="modern", version=version, capabilities=capabilities, info=info)


def legacy_client(params: JsonObject) -> ClientFacts:
    """The client of an `initialize`: in its own version where that is known, else in the newest. Raises `RpcError`."""
    version, capabilities, info = params.get("protocolVersion"), params.get("capabilities", {}), params.get("clientInfo", {})
    if not isinstance(version, str) or not isinstance(capabilities, dict) or not isinstance(info, dict):
        raise RpcError(INVALID_PARAMS, "`initialize` needs `protocolVersion`, `capabilities` and `clientInfo`")
    return ClientFacts(
        era="legacy", version=version if version in LEGACY_VERSIONS else LEGACY_VERSIONS[0], capabilities=capabilities, info=info
    )


def id_in(unverified: bytes) -> MessageId | None:
    """The id of a message that cannot be taken, so that its client does not wait for ever; None where there is none to be found."""
    try:
        found: Any = _loose.decode(unverified)
    except (ValueError, RecursionError):  # `DecodeError`, and what is no UTF-8
        return None
    if not isinstance(found, dict) or "method" not in found or not is_id(found.get("id")):
        return None
    number: MessageId = found["id"]
    return number

"""A webhook, signed as Standard Webhooks says: headers `webhook-id`, `webhook-timestamp` and `webhook-signature` over a JSON body.

Rules:

1. Every delivery is signed, with every secret, so that a receiver may know either of them while they are rotated.
2. The `webhook-id` of a message is the same whenever it is sent again: receivers tell repeats by it.
3. Delivered is what was answered with 2xx, and nothing else. Nothing of an answer but its status and `Retry-After` is believed or repeated.
4. After 410 this channel sends nothing more: its receiver has asked for that.
5. No message repeats a secret, nor the path and query of the address (licet/wire.py: where to, how long, how much).
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from licet.approvals.notify.message import Message
from licet.errors import ConfigInvalid, DeliveryFailed, OperatorError
from licet.wire import Address, Unreachable

if TYPE_CHECKING:
    from standardwebhooks import Webhook as Signer

VERSION: Final = 1
"""Of the body. Fields may be added under it; a removed or changed one makes another version."""
TIMEOUT_S: Final = 10.0
SECRETS_LIMIT: Final = 2
LONGEST_WAIT_S: Final = 3_600.0
"""A receiver that asks for more in `Retry-After` is asked again after this."""

_SECRET_BYTES: Final = range(24, 65)  # Standard Webhooks, "Signature scheme"
_RESPONSE_LIMIT_BYTES: Final = 16_384  # read and thrown away, so that the receiver's write ends well
_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_GONE: Final = 410
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


class Body(Struct, frozen=True, kw_only=True):
    """What is sent. `data` is the whole message; every field of it stands there, as null where there is nothing."""

    version: int
    type: str
    timestamp: datetime
    data: Message


class WebhookChannel:
    """One receiver. `secrets` are one or two, as text (`whsec_` and base64), the newer first; `now` is what deliveries are stamped with.

    Raises `ConfigInvalid` for an address that is neither https nor on this machine and for secrets that are none, `OperatorError` where
    the library for signatures is missing.
    """

    def __init__(
        self,
        url: str,
        secrets: tuple[str, ...],
        *,
        name: str = "webhook",
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._address = Address.parse(url, "a webhook", query=True)
        self._signers = _signers(secrets)
        self._timeout_s = timeout_s
        self._now = now
        self._tls = tls or ssl.create_default_context()
        self._gone = False

    def deliver(self, message: Message, earlier: str | None) -> str | None:  # noqa: ARG002  an event of its own each time
        """The receiver has answered 2xx to this message. Raises `DeliveryFailed`."""
        if self._gone:
            raise self._failed("has answered 410 (gone) before, and is sent nothing until the next start", retry=False)
        body = msgspec.json.encode(Body(version=VERSION, type=f"request.{message.event}", timestamp=message.at, data=message))
        answer = self._address.exchange(
            "POST", "", body, self._headers(message.id, body), timeout_s=self._timeout_s, limit_bytes=_RESPONSE_LIMIT_BYTES, tls=self._tls
        )
        if isinstance(answer, Unreachable):
            raise self._failed(f"is not reached: {answer.message}", retry=True)
        self._judge(answer.status, answer.headers.get("retry-after"))
        return None

    def close(self) -> None:
        """Nothing is kept open."""

    def _headers(self, identity: str, body: bytes) -> dict[str, str]:
        at = self._now().astimezone(UTC)
        return {
            "Content-Type": "application/json",
            "User-Agent": "licet",
            "webhook-id": identity,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signer.sign(identity, at, body.decode()) for signer in self._signers),
        }

    def _judge(self, status: int, unverified_wait: str | None) -> None:
        if status in _OK:
            return
        if status == _GONE:
            self._gone = True
            raise self._failed("answered 410 (gone): it is sent nothing more", retry=False)
        if status in _REDIRECTS:
            raise self._failed(f"answered {status} and sends elsewhere, where this client does not go", retry=False)
        retry = status == _TOO_MANY or status >= _SERVER_ERROR
        raise self._failed(f"answered {status}", retry=retry, retry_after_s=self._wait_s(unverified_wait) if retry else None)

    def _wait_s(self, unverified_wait: str | None) -> float | None:
        """Seconds of a `Retry-After` header (RFC 9110, 10.2.3: seconds or a date), up to `LONGEST_WAIT_S`; None if there is none."""
        if unverified_wait is None:
            return None
        text = unverified_wait.strip()
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), LONGEST_WAIT_S)
        try:
            until = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        left_s = (until.replace(tzinfo=until.tzinfo or UTC) - self._now()).total_seconds()
        return min(max(left_s, 0.0), LONGEST_WAIT_S)

    def _failed(self, what: str, *, retry: bool, retry_after_s: float | None = None) -> DeliveryFailed:
        return DeliveryFailed(f"the webhook at `{self._address.host}` {what}", retry, retry_after_s=retry_after_s)


def _signers(secrets: tuple[str, ...]) -> tuple[Signer, ...]:
    try:
        from standardwebhooks import Webhook as Signer  # noqa: PLC0415  an optional library
    except ImportError as error:
        raise OperatorError('webhooks are signed by a library that is not here: `pip install "licet[notify]"`') from error
    if not 1 <= len(secrets) <= SECRETS_LIMIT:
        raise ConfigInvalid(f"a webhook has one secret, or two while they are rotated; here are {len(secrets)}")
    return tuple(Signer(_key(secret, place)) for place, secret in enumerate(secrets, 1))


def _key(secret: str, place: int) -> bytes:
    """The bytes of a secret. The library would skip over what is not base64, so that a damaged secret would sign as another one."""
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _SECRET_BYTES:
        raise ConfigInvalid(
            f"secret {place} of the webhook is not `whsec_` and base64 of {_SECRET_BYTES.start} to {_SECRET_BYTES.stop - 1} bytes"
        ) from None
    return key

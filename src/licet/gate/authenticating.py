"""Who may speak to a gate over the network: the authenticator of a gate's store, directory and licet.toml."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Self

from licet.config import Settings
from licet.errors import ConfigInvalid
from licet.gate.key_view import KeyView
from licet.identity.api_keys import ApiKeys
from licet.identity.authenticator import Authenticator
from licet.identity.directory import Directory
from licet.identity.mtls import Certificates
from licet.ledger.record import microseconds
from licet.ledger.writer import Writer
from licet.store.contract import Store

if TYPE_CHECKING:
    from licet.identity.jwt import Tokens


class Authenticating:
    """The `authenticator` that accepts what `[identity]` says, and the thread that keeps it fresh. Close it, or use it in a `with` block.

    `settings` and `directory` give what is in force at the moment: what was verified under others is verified anew.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        *,
        settings: Callable[[], Settings],
        directory: Callable[[], Directory],
        now: Callable[[], datetime],
    ) -> None:
        def now_us() -> int:
            return microseconds(now())

        accepted = settings().identity
        self._view = KeyView(store, writer)
        self.authenticator = Authenticator(
            keys=ApiKeys(self._view, directory, now_us) if accepted.api_keys else None,
            sessions=ApiKeys(self._view, directory, now_us, "session"),
            tokens=_tokens(settings, directory, now_us) if accepted.issuers else None,
            certificates=Certificates(settings, directory, now_us) if accepted.certificates else None,
        )
        self._view.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The thread has ended; when keys were used last is written."""
        self._view.close()


def _tokens(settings: Callable[[], Settings], directory: Callable[[], Directory], now_us: Callable[[], int]) -> Tokens:
    try:
        from licet.identity.jwt import Tokens  # noqa: PLC0415  its library is there only with `licet[server]`
    except ImportError as error:
        raise ConfigInvalid("tokens need a library: install `licet[server]`", key="identity.issuers") from error
    return Tokens(settings, directory, now_us)

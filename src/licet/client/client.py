"""`Client`: the API of one server, with its credential from the environment or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from licet.client.connection import TIMEOUT_S, Connection, read_credential
from licet.client.operations import Operations
from licet.errors import ConfigInvalid


class Client(Operations):
    """Every operation of the API as a method (`operations.py`). May be used from many threads; it keeps nothing open."""

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        credential_file: Path | None = None,
        ca: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """A client of the server at `url`, or at `LICET_SERVER`, with the credential that `read_credential` finds. Asks nothing yet.

        Raises `ConfigInvalid` where no server is named, or address or credential cannot be used.
        """
        named = url or environment.get("LICET_SERVER")
        if not named:
            raise ConfigInvalid("no server is named; give its URL, or `LICET_SERVER`")
        return cls(Connection(named, read_credential(environment, file=credential_file), timeout_s=timeout_s, ca=ca))

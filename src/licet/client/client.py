"""`Client`: the API of one server, with its credential from the environment or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from licet.client import types
from licet.client.connection import TIMEOUT_S, Connection, read_credential
from licet.client.governed import Run, govern
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

    def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        run: Run,
        caller: types.CallerNamed | None = None,
        reason: str | None = None,
        workflow: str | None = None,
        idempotency_key: str | None = None,
        wait_s: float = 0.0,
    ) -> Any:
        """Propose a call, run it here if it is permitted, and report how it ended; what `run(**arguments)` returned.

        `run` is given the arguments as they were decided on, by name, and may return `Ran` to report what it has changed. `caller` may be
        left out where the credential speaks for one alone. `wait_s` is how long to wait for people. Raises as `governed.govern`.
        """
        proposal = types.ProposeCall(
            tool=tool,
            arguments=dict(arguments or {}),
            caller=caller or types.CallerNamed(),
            reason=reason,
            workflow=workflow,
            idempotency_key=idempotency_key,
            wait_s=wait_s,
        )
        return govern(self, proposal, run)

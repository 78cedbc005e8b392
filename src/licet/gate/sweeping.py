"""The thread that ends calls of which nobody will say the end: not reported in time, or of a process that died.

Every process with an open gate has one, and each takes what it finds: of two that say it at one moment the store refuses one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from licet.errors import GateClosed, StoreError

SWEEP_S = 1.0
"""How late it may be said. Looking costs a read of an index that is empty where nothing is open, and one of who lives."""

_log = logging.getLogger("licet.gate")


class Sweeper:
    """Does these rounds again and again until closed. Nothing that one meets stops it or the others: it is found again the next time."""

    def __init__(self, *rounds: Callable[[], object]) -> None:
        self._rounds = rounds
        self._closed = threading.Event()
        self._problems: list[str | None] = [None] * len(rounds)
        self._thread = threading.Thread(target=self._run, name="licet-sweeper", daemon=True)

    def start(self) -> None:
        """It sweeps, for the first time at once."""
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """It sweeps no more. Safe to call twice, and before it was started."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            try:
                for number, once in enumerate(self._rounds):
                    self._do(number, once)
            except GateClosed:
                return
            if self._closed.wait(SWEEP_S):
                return

    def _do(self, number: int, once: Callable[[], object]) -> None:
        try:
            once()
            self._problems[number] = None
        except GateClosed:
            raise
        except StoreError as error:
            if self._problems[number] != str(error):  # said once, for as long as it lasts
                self._problems[number] = str(error)
                _log.warning("licet: calls that nobody will end cannot be recorded as such yet: %s", error)
        except Exception:  # noqa: BLE001 - as the class says
            _log.exception("licet: the sweeper met an error; it goes on")

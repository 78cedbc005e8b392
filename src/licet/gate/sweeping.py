"""The thread that says of calls which somebody else executes that nobody reported their end in time.

Every process with an open gate has one, and each takes what it finds: of two that say it at one moment the store refuses one.
"""

from __future__ import annotations

import logging
import threading

from licet.errors import GateClosed, StoreError
from licet.gate.reporting import Reporter

SWEEP_S = 1.0
"""How late it may be said. Looking costs one read of an index that is empty where nothing is open."""

_log = logging.getLogger("licet.gate")


class Sweeper:
    """Sweeps until closed. Nothing it meets stops it: what cannot be written now is found again at the next round."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._closed = threading.Event()
        self._problem: str | None = None
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
                self._reporter.sweep()
                self._problem = None
            except GateClosed:
                return
            except StoreError as error:
                if self._problem != str(error):  # said once, for as long as it lasts
                    self._problem = str(error)
                    _log.warning("licet: calls whose time is over cannot be recorded as such yet: %s", error)
            except Exception:  # noqa: BLE001 - as the class says
                _log.exception("licet: the sweeper met an error; it goes on")
            if self._closed.wait(SWEEP_S):
                return

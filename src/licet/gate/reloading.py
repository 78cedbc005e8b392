"""Reading licet.toml and the policies again while calls go on.

Rules:

1. Everything is read and validated first, and swapped whole. What does not load keeps what stands, and the error says why.
2. Once a reload has returned, failed or not, this process writes no intent that rests on what was in force before. A call that was decided
   before, and whose intent was not yet written, is decided again, wherever it was on its way; one that already runs ends under what it was
   decided by. That is a condition of the intent's batch, looked at while its group is written (store/freezes.py, rule 4), and the reload
   waits for the group that was under way at the swap: calls take no lock for it, and a reload waits for no call. A read without an intent
   has begun when the pipeline has looked for the last time. Where the log does not answer for so long that the reload gives up waiting, an
   intent may still land whose caller has been told that nothing ran, and nothing does. Other processes have files of their own, and reload
   them by themselves.
3. Removals need nobody's consent: who is not in the file any more, or has less there, loses it at once, also where the rest does not load:
   a policy that is broken, a setting that is unknown. That grants nothing, and whatever was lost so comes back by a reload that succeeds.
4. Votes of people who may not vote any more are taken back whenever a directory comes into force.
5. What a process cannot change while it runs (its store, keys, witness, addresses ...) is refused, and nothing else of that file is taken.
6. What came into force is recorded as at the start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from licet import config
from licet.config import Settings
from licet.errors import ConfigInvalid, OperatorError, PolicyInvalid, StoreError
from licet.gate.basis import Basis
from licet.gate.house import OpenHouse
from licet.gate.registry import Registry
from licet.identity.content import DirectoryContent, content_of
from licet.policy.bundle import OWN_FILE

CHANGEABLE = frozenset(
    {
        "agents",
        "approvals",
        "cross_tenant",
        "freeze",
        "groups",
        "identity",
        "limits",
        "meters",
        "production",
        "require_reason",
        "resources",
        "retention",
        "roles",
        "services",
        "tenants",
        "timezone",
        "tools",
        "users",
    }
)
"""Every other setting is fixed while a process runs. A new one is, until somebody has made it changeable."""
FIXED_LIMITS = ("store_timeout_s", "tool_timeout_s")
"""The writer has the first; the second is in the definitions of tools that were registered under it. Of `[identity]` everything can change
but which kinds of credentials there are: what verifies them is made at the start."""

_log = logging.getLogger("licet.gate")


class Reloaded(Struct, frozen=True, kw_only=True):
    """A reload that succeeded: `digest` names what is in force, `bundle` its policies; whether it differs from before."""

    digest: str
    bundle: str
    changed: bool
    votes_taken_back: int


class ReloadStatus(Struct, frozen=True, kw_only=True):
    """How reloads have gone so far. `problem` is why the last one did not load; None where what is in force is what the files say."""

    succeeded: int = 0
    failed: int = 0
    at: datetime | None = None
    problem: str | None = None


class Reloading:
    """The part of the gate that reads its files again."""

    settings: Settings
    _clock: Callable[[], datetime]
    _registry: Registry
    _lock: threading.RLock
    _from_file: bool
    _reloads: ReloadStatus

    def _opened(self) -> OpenHouse:
        raise NotImplementedError

    @property
    def reloads(self) -> ReloadStatus:
        """How reloads have gone so far."""
        return self._reloads

    def reload(self, settings: Settings | None = None) -> Reloaded:
        """Put into force what licet.toml and the policies say now; what holds once this has returned is rule 2.

        A gate that was made from settings keeps them, unless it is given others, and reads the policies. Raises `OperatorError` with
        everything that is wrong, and then nothing has changed but that who was removed is gone.
        """
        with self._lock:
            house = self._opened()
            try:
                reloaded = self._reload(house, settings)
            except OperatorError as error:
                self._remove(house, settings)
                self._note(str(error))
                raise
            self._note(None, changed=reloaded.changed)
            return reloaded

    def on_change(self, changed: Callable[[], None]) -> None:
        """From now on this is told, in whichever thread, when something was put into force; it waits for nothing and raises nothing.

        What is in force may be the same as before. Raises `OperatorError` if the gate cannot be opened.
        """
        self._opened().on_swap(changed)

    def catch_up(self) -> None:
        """Write what could not be written when people were removed, if anything. Whatever stands in the way is in the log."""
        with self._lock:
            self._settle(self._opened())

    def _reload(self, house: OpenHouse, given: Settings | None) -> Reloaded:
        fresh = given or self._read()
        refuse_fixed(self.settings, fresh)
        if house.scene.own is not None and not (fresh.policies / OWN_FILE).exists():
            raise PolicyInvalid((f"`{fresh.policies / OWN_FILE}` is gone, and without it nobody may do anything: put it back",))
        registry = self._registry.under(fresh)
        changed = house.adopt(Basis(settings=fresh, registry=registry))
        registry.supersede(self._registry)
        self.settings, self._registry = fresh, registry
        scene = house.scene
        return Reloaded(digest=scene.digest, bundle=scene.engine.bundle.digest, changed=changed, votes_taken_back=self._settle(house))

    def _read(self) -> Settings:
        return config.load(self.settings.file) if self._from_file and self.settings.file is not None else self.settings

    def _remove(self, house: OpenHouse, given: Settings | None) -> None:
        """Rule 3."""
        said = self._people(given)
        if said is None:
            return
        less = house.scene.directory.with_removals_of(said)
        if less.version != house.scene.directory.version:
            house.adopt_removals(less)
            _log.warning("licet: who was removed from `%s` is gone, though the rest of it is not in force", self.settings.file)
        self._settle(house)

    def _people(self, given: Settings | None) -> DirectoryContent | None:
        """Who there is by now, as far as that can be read; None where it cannot be."""
        if given is not None:
            return content_of(given)
        if not self._from_file or self.settings.file is None:
            return None
        try:
            return content_of(config.load_people(self.settings.file, self.settings.environment))
        except ConfigInvalid:
            return None

    def _settle(self, house: OpenHouse) -> int:
        try:
            return house.settle()
        except StoreError as error:
            _log.error("licet: votes of people who were removed are still to be taken back: %s", error)
            return 0

    def _note(self, problem: str | None, *, changed: bool = False) -> None:
        seen = self._reloads
        if problem is None:
            _log.info("licet: reloaded" if changed else "licet: looked at its files again, and nothing has changed")
        else:
            _log.error("licet: what was changed is not in force: %s", problem)
        self._reloads = ReloadStatus(
            succeeded=seen.succeeded + (problem is None),
            failed=seen.failed + (problem is not None),
            at=self._clock(),
            problem=problem,
        )


def refuse_fixed(old: Settings, new: Settings) -> None:
    """Raise `ConfigInvalid` where a setting differs that is fixed while a process runs."""
    changed = [name for name in Settings.__struct_fields__ if name not in CHANGEABLE and getattr(old, name) != getattr(new, name)]
    kinds = {"api_keys": old.identity.api_keys != new.identity.api_keys}
    kinds |= {name: bool(getattr(old.identity, name)) != bool(getattr(new.identity, name)) for name in ("issuers", "certificates")}
    changed += [f"identity.{name}" for name, differs in kinds.items() if differs]
    changed += [f"limits.{name}" for name in FIXED_LIMITS if getattr(old.limits, name) != getattr(new.limits, name)]
    if not changed:
        return
    names = ", ".join(f"`{name}`" for name in changed)
    where = "the settings" if new.file is None else f"`{new.file}`"
    raise ConfigInvalid(
        f"{names} in {where} cannot change while the process runs: restart it, or take the change back",
        file=None if new.file is None else str(new.file),
        key=changed[0],
    )

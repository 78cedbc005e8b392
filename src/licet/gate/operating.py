"""The half of the gate for people: approvals, calls of which nobody saw the end, freezes, and looking at what is there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from licet.approvals.desk import Desk
from licet.config import Settings
from licet.gate.credentials import Credentials
from licet.gate.freeze import Lifted
from licet.gate.freeze_view import StandingFreeze
from licet.gate.house import OpenHouse
from licet.gate.opening import OpenLedger
from licet.gate.probing import Probed
from licet.gate.scene import Scene
from licet.gate.unknown import Settled, SettledAs, UnknownCall, unknown_calls
from licet.gate.writable import whoever_runs_this
from licet.ledger.frozen import Scope
from licet.ledger.report import Report
from licet.ledger.verify import verify
from licet.model import CallId
from licet.store.contract import Store


class Operating:
    """What a gate offers to whoever runs it, decides or looks."""

    settings: Settings
    _clock: Callable[[], datetime]

    def _opened(self) -> OpenHouse:
        raise NotImplementedError

    @property
    def approvals(self) -> Desk:
        """Where people decide on held calls, under the directory that is in force."""
        house = self._opened()
        return Desk(house.store, house.writer, house.scene.directory, self.settings.environment, self._clock)

    def unknown(self, tenant: str | None = None) -> tuple[UnknownCall, ...]:
        """The calls of which nobody saw the end, and which nobody has settled since, the oldest first."""
        house = self._opened()
        return unknown_calls(house.store, tenant, house.scene.probes)

    def probe_unknown(self, call: CallId) -> Probed:
        """Ask the tool's probe whether this call happened, and settle it by a clear answer. Never runs the tool.

        Raises `SettlementRefused` where the end of the call is known, or becomes known meanwhile.
        """
        return self._opened().probe(call)

    def settle(self, call: CallId, status: SettledAs, *, reason: str, by: str | None = None, credential: str | None = None) -> Settled:
        """Say how a call ended of which nobody saw the end, in the name of a user of the directory or of this process alone.

        It is recorded with the reason and the credential that was shown, or else the operating user; it grants nothing and runs nothing.
        Raises `SettlementRefused`.
        """
        user = whoever_runs_this().name if credential is None else None
        return self._opened().reconciliation.settle(call, status, reason=reason, by=by, operating_user=user, credential=credential)

    def freeze(
        self,
        scope: Scope,
        name: str | None = None,
        *,
        reason: str,
        tenant: str | None = None,
        by: str | None = None,
        anyway: bool = False,
        credential: str | None = None,
    ) -> StandingFreeze:
        """Stop an agent, a service, a tool, a tenant, a session or everything (`all`), in every process on the store, until it is lifted.

        From this call's return on, no call of it begins: its intent is refused; a read that was decided before may end. `tenant` narrows
        it to that tenant's calls. `reason` is recorded, and told to whoever calls. A name that nobody knows is refused unless `anyway`.
        `credential` is the id of the one that was shown, if one was; else the record names the operating user. Raises `FreezeRefused`.
        """
        house = self._opened()
        freezer = house.freezer.showing(credential)
        try:
            return freezer.freeze(house.known, scope, name, reason=reason, tenant=tenant, by=by, anyway=anyway).freeze
        finally:  # also where the answer was lost: it may have landed
            house.services.freezes.forget()

    def lift(
        self, freeze_id: str, *, reason: str, by: str | None = None, second: str | None = None, credential: str | None = None
    ) -> Lifted:
        """Lift a freeze, in the name of users of the directory where `[freeze]` in licet.toml asks for them.

        `credential` as for `freeze`. Raises `FreezeRefused`.
        """
        house = self._opened()
        try:
            return house.freezer.showing(credential).lift(freeze_id, reason=reason, by=by, second=second)
        finally:
            house.services.freezes.forget()

    def freezes(self) -> tuple[StandingFreeze, ...]:
        """Every freeze that stands, the oldest first."""
        return self._opened().services.freezes.look().told

    @property
    def credentials(self) -> Credentials:
        """Where API keys are issued, replaced and revoked, under the directory that is in force."""
        house = self._opened()
        return Credentials(
            house.store,
            house.writer,
            directory=house.scene.directory,
            environment=house.scene.environment,
            now=self._clock,
            operating_user=whoever_runs_this().name,
        )

    def verify(self) -> Report:
        """Recompute the whole log as it is now, and hold requests, votes, keys and open calls against it. Reads every record."""
        with self._opened().store.source() as ledger:
            return verify(ledger)

    def now(self) -> datetime:
        """The time of this gate's clock, in UTC."""
        return self._clock()

    @property
    def ledger(self) -> OpenLedger:
        """The open ledger of this gate: store, writer, notary and keys, for what is done to it beside the calls."""
        return self._opened().ledger

    @property
    def store(self) -> Store:
        """The store of this gate, to read from. Nothing but the pipeline and the desk write to it."""
        return self._opened().store

    @property
    def scene(self) -> Scene:
        """What is in force: catalog, directory and policies."""
        return self._opened().scene

"""An open gate: store, writer, threads, and what is in force. Opened once, at the first call or at `seal()`.

Opening, in this order:

0. a warning, where the operating user of this process could change the policies or licet.toml
1. the store, with a lease of this process
2. recovery: the open calls of processes that died get a `recovery` record, `unknown`
3. catalog (this process's tools, and what other processes on the store have registered), directory and policies, validated together
4. a record of each, with its content by hash, so that every decision can be replayed
5. votes of people who may not vote any more are taken back

From then on 2. is done again whenever a process that shares the store has died (gate/recovering.py).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from licet.approvals.desk import Desk
from licet.config import Settings
from licet.errors import GateClosed, OperatorError, StoreError
from licet.gate import checks
from licet.gate.acting import Acting
from licet.gate.basis import Basis
from licet.gate.building import build_scene
from licet.gate.clerk import Clerk
from licet.gate.drivers import Services
from licet.gate.freeze import Freezer, Known
from licet.gate.freeze_view import FreezeView
from licet.gate.opening import OpenLedger
from licet.gate.pipeline import House
from licet.gate.probing import Probed, Prober
from licet.gate.recorder import Recorder
from licet.gate.recovering import Recovering
from licet.gate.registry import Registry
from licet.gate.reporting import Reporter
from licet.gate.scene import Scene, scene_manifest
from licet.gate.session import Sessions
from licet.gate.sweeping import Sweeper
from licet.gate.sync_driver import Portal
from licet.gate.unknown import Reconciliation, Said, SettledAs, find_case
from licet.gate.waiting import Waiting
from licet.gate.workers import Workers
from licet.gate.writable import exposed, whoever_runs_this
from licet.identity.directory import Directory
from licet.ledger.record import Kind, microseconds
from licet.ledger.seal import Filing
from licet.model import OPERATOR_LOG, CallId
from licet.store.contract import PutBlob, Store

if TYPE_CHECKING:
    from licet.approvals.notify.deliverer import Deliverer

SNAPSHOTS_MERGED = 20
"""How many of the newest catalog snapshots are read: policies may speak of other processes' tools, not of all that ever were."""

_log = logging.getLogger("licet.gate")


def warn_if_exposed(settings: Settings) -> None:
    """Say so where the user who runs the tools could change what they are held by. The store is left out: whoever writes records can."""
    if settings.file is None or not settings.file.exists():
        return  # made in Python or in memory: there is no file to change
    user = whoever_runs_this()
    how = exposed([settings.file, settings.policies, *settings.policies.glob("*.cedar")], user)
    if how is not None:
        _log.warning("licet: `%s`, who runs the tools, %s: an agent with a shell could change its own permissions", user.name, how)


class OpenHouse:
    """Everything that an open gate holds. Close it to give the lease back."""

    def __init__(self, settings: Settings, registry: Registry, now: Callable[[], datetime]) -> None:
        self._basis = Basis(settings=settings, registry=registry)
        self._now = now
        self._timed: Callable[[float], None] | None = None
        self._swapped: list[Callable[[], None]] = []
        self._unrecorded = self._unseen = False  # what came into force, and whose votes it took: still to be written
        warn_if_exposed(settings)
        self.ledger = OpenLedger(settings, now, indexed=True)
        self.store: Store = self.ledger.store
        self.writer = self.ledger.writer
        try:
            self._recorder = Recorder(self.store.boot, settings.environment)
            self._workers = Workers()
            self.portal = Portal()
            self._recovering = Recovering(self.store, self.writer, self._recorder, self.now_us)
            self._recovering.recover()
            self._scene = self._build(self._basis)
            self._revision = registry.revision
            self._announce(self._scene, self._basis)
            self.drop_lapsed_votes()
        except BaseException:
            self.ledger.close()
            raise
        self._clerk = Clerk(self.store, self.writer, self._recorder, self.now_us, settings.limits.denials_per_minute)
        self.sessions = Sessions(tuple(settings.meters))
        freezes = FreezeView(self.store)
        self.waiting = Waiting(self.store, now, freezes)
        self.services = Services(
            store=self.store,
            freezes=freezes,
            writer=self.writer,
            workers=self._workers,
            environment=settings.environment,
            resolver_timeout_s=settings.limits.resolver_timeout_s,
            store_timeout_s=settings.limits.store_timeout_s,
        )
        self.house = House(
            scene=lambda: self._scene,
            now=now,
            recorder=self._recorder,
            clerk=self._clerk,
            sessions=self.sessions,
        )
        self.reporter = Reporter(self.store, self.writer, self._recorder, now, settings.environment)
        self._sweeper = Sweeper(self.reporter.sweep, self._recovering.look)
        self._deliverer = self._begin_telling() if settings.notify.channels else None
        self._sweeper.start()

    @property
    def scene(self) -> Scene:
        """What is in force."""
        return self._scene

    @property
    def unwritten(self) -> tuple[int, int]:
        """How many refusals are not in a `gap` record yet, and how much else waits for the store."""
        return self._clerk.unwritten

    @property
    def is_current(self) -> bool:
        """Whether everything that was registered is in force."""
        return self._revision == self._basis.registry.revision

    def now_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return microseconds(self._now())

    def label(self, acting: Acting, label: str) -> None:
        """Put a label on the session that acts. Raises `CallerRefused` if the caller is not in the directory."""
        self.sessions.label(checks.caller_of(acting, self._scene), acting.session, label)

    @property
    def reconciliation(self) -> Reconciliation:
        """Where calls are settled of which nobody saw the end."""
        return Reconciliation(self.store, self.writer, self._scene.directory, self._scene.environment, self._now)

    @property
    def freezer(self) -> Freezer:
        """Where calls are stopped, under the directory that is in force."""
        return Freezer(
            self.store,
            self.writer,
            directory=self._scene.directory,
            rules=self._scene.settings.freeze,
            environment=self._scene.environment,
            now=self._now,
            operating_user=whoever_runs_this().name,
        )

    @property
    def known(self) -> Known:
        """The names that can be frozen."""
        directory = self._scene.directory
        return Known(directory.agents, directory.services, directory.tenants, self._scene.catalog.tools)

    def probe(self, call: CallId) -> Probed:
        """Ask the probe of a call's tool, and settle the call by a clear answer. Raises `SettlementRefused`."""
        case = find_case(self.store, call)
        prober = Prober(self._scene, self._workers, self.portal, self._scene.settings.limits.resolver_timeout_s, self.ledger.store.boots)
        probed = prober.ask(case)
        if probed.answer is None or probed.why is not None:
            return probed
        status: SettledAs = "ok" if probed.answer else "not_executed"
        said = Said(status=status, operating_user=whoever_runs_this().name, answer=probed.answer)
        return replace(probed, settled=self.reconciliation.record(case, said))

    def renew(self) -> None:
        """Put what was registered since into force; if it does not load, the scene that stands keeps standing, and the log says why."""
        revision = self._basis.registry.revision
        try:
            scene = self._build(self._basis)
            self._announce(scene, self._basis)
        except StoreError as error:
            _log.error("licet: what was registered last is not in force yet: %s", error)
            return  # the next call tries again
        except OperatorError as error:
            _log.error("licet: what was registered last is not in force: %s", error)
        else:
            self._swap(self._basis, scene)
        # After the scene: a thread that finds this revision current must find what it registered in force.
        self._revision = revision

    def adopt(self, basis: Basis) -> bool:
        """Put this into force, whole; whether decisions rest on anything else now. Raises `OperatorError`, and then nothing has changed.

        After this has returned no intent lands that rests on anything else, unless the log does not answer (gate/reloading.py, rule 2). A
        call that was decided before, and whose intent was not yet written, is decided again.
        """
        scene = self._build(basis)
        changed = _rests_on(scene) != _rests_on(self._scene)
        if changed:
            self._announce(scene, basis)
        self._swap(basis, scene)
        self._unrecorded, self._unseen = False, True
        self._revision = basis.registry.revision
        self._outlast_intents()
        return changed

    def adopt_removals(self, directory: Directory) -> None:
        """Put a directory into force that is the one that stands, less some of it. Nothing can keep it from counting.

        It is recorded as soon as the store takes it: now, or when `settle` is called.
        """
        scene = self._scene
        digest, manifest = scene_manifest(scene.engine, scene.catalog, directory)
        basis = replace(self._basis, directory=directory)
        self._swap(basis, replace(scene, directory=directory, digest=digest, manifest=manifest, admitted=set()))
        self._unrecorded = self._unseen = True
        self._outlast_intents()

    def settle(self) -> int:
        """What a directory that came into force still has to be written for is written; how many votes were taken back.

        Raises `StoreError`; then it is still to be done.
        """
        if self._unrecorded:
            self._announce(self._scene, self._basis)
            self._unrecorded = False
        dropped = self.drop_lapsed_votes() if self._unseen else 0
        self._unseen = False
        return dropped

    def observe(self, decided: Callable[[float], None], committed: Callable[[Sequence[Filing], float], None]) -> None:
        """From now on these are told of each decision and each group that was committed, with the seconds it took; they raise nothing."""
        self._timed = self._scene.engine.timed = decided
        self.writer.observed = committed

    def on_swap(self, swapped: Callable[[], None]) -> None:
        """From now on this is told, in whichever thread, when something was put into force; it waits for nothing and raises nothing."""
        self._swapped.append(swapped)

    def _swap(self, basis: Basis, scene: Scene) -> None:
        """The one place where what is in force changes."""
        limits = basis.settings.limits
        self._clerk.limit = limits.denials_per_minute
        self.services = replace(self.services, resolver_timeout_s=limits.resolver_timeout_s)
        self._basis = basis
        scene.engine.timed = self._timed
        self._scene = scene  # last: who finds this scene finds all that belongs to it
        for swapped in self._swapped:
            swapped()

    def _outlast_intents(self) -> None:
        """What the writer took up before the swap is answered; what it takes up now is refused if it rests on what was in force before.

        So nothing needs a lock that calls take, and nobody waits for a call: only for a batch without anything in it (store/freezes.py,
        rule 4). Bounded by the writer's own deadline.
        """
        try:
            self.writer.submit(Filing(())).wait()
        except (StoreError, GateClosed):
            return  # an answer too: those before it have theirs, and whose intent may have landed all the same has been told not to run

    def close(self) -> None:
        """Write what is still to be written; give threads and lease back, whatever goes wrong on the way."""
        with ExitStack() as rest:
            rest.callback(self.portal.close)
            rest.callback(self._workers.close)
            rest.callback(self.ledger.close)
            if self._deliverer is not None:
                rest.callback(self._deliverer.close)
            rest.callback(self._clerk.close)
            rest.callback(self._sweeper.close)
            self.waiting.close()

    def _begin_telling(self) -> Deliverer:
        """People are told of requests for as long as the gate is open, by this process or another on the same store."""
        from licet.approvals.notify.deliverer import Deliverer  # noqa: PLC0415  mail, TLS and more: only where somebody is told
        from licet.approvals.notify.office import Office  # noqa: PLC0415  as above

        office = Office(self.store, self.writer, lambda: self._scene.directory, self._scene.environment, self._now)
        deliverer = Deliverer(office, self._basis.settings.notify, environ=os.environ)
        deliverer.start()
        return deliverer

    def drop_lapsed_votes(self) -> int:
        """Votes of people who have left since, in the directory that is in force now, stand no more. Raises `StoreError`."""
        return Desk(self.store, self.writer, self._scene.directory, self._scene.environment, self._now).drop_lapsed()

    def _build(self, basis: Basis) -> Scene:
        snapshots = [content for _, content in reversed(self.store.blobs("catalog")[-SNAPSHOTS_MERGED:])]
        return build_scene(basis.settings, basis.registry, snapshots, directory=basis.directory)

    def _announce(self, scene: Scene, basis: Basis) -> None:
        """Record what is in force, with its content by hash, in one transaction."""
        parts: tuple[tuple[Kind, str, bytes], ...] = (
            ("catalog", "catalog", basis.registry.catalog.snapshot()),
            ("catalog", "catalog_in_force", scene.catalog.snapshot()),
            ("directory", "directory", scene.directory.content),
            ("policy", "schema", scene.engine.schema),
            ("policy", "bundle", scene.engine.bundle.content),
            ("policy", "scene", scene.manifest),
            *((("policy", "own", scene.own.bundle.content),) if scene.own is not None else ()),
        )
        at_us = self.now_us()
        digests = {name: hashlib.sha256(content).hexdigest() for _, name, content in parts}
        blobs = tuple(PutBlob(digests[name], name, content) for _, name, content in parts)
        records = tuple(self._recorder.event(kind, OPERATOR_LOG, at_us, {"part": name, "sha256": digests[name]}) for kind, name, _ in parts)
        self.writer.submit(Filing(records, blobs)).wait()


def _rests_on(scene: Scene) -> tuple[str, str | None]:
    """What tells two scenes apart: the digest of what decides about calls, and that of what decides about endpoints."""
    return scene.digest, None if scene.own is None else scene.own.digest

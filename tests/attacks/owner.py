"""What an attacker has in hand who has the key as well: payloads, blinds and signatures as the ledger makes them.

Whatever this one does, the ledger by itself can be made to verify: `mend_everything`. Only who kept something outside sees it.
"""

from __future__ import annotations

import json
from typing import Any

from licet.ledger.examine import examine_log
from licet.ledger.forgotten import Forgotten
from licet.ledger.note import Signer
from licet.ledger.record import Head, commitment, decode_head
from licet.ledger.replay import Replay
from licet.ledger.report import Findings
from licet.ledger.rotation import endorse, open_endorsement
from licet.ledger.vault import Opened, Vault, payload_aad
from licet.model import OPERATOR_LOG, asker_of
from licet.store.sqlite_rows import ConnectionSecrets
from licet.store.sqlite_source import SqliteSource
from tests.attacks.forger import Forger
from tests.attacks.stored import Stored

PROJECTIONS = ("requests", "votes", "keys", "open_calls", "unsettled", "holds", "erasures", "freezes")


class Owner(Forger):
    """Who has the key-encryption key as well."""

    def __init__(self, stored: Stored) -> None:
        super().__init__(stored)
        self.keys = stored.keys()

    @property
    def vault(self) -> Vault:
        """The secrets as they are now."""
        return Vault(self.keys, ConnectionSecrets(self.con))

    # payloads

    def opened(self, log: str, index: int) -> Opened:
        """A payload that is there."""
        found = self.find_opened(log, index)
        assert found is not None
        return found

    def find_opened(self, log: str, index: int) -> Opened | None:
        """A payload; None where it was erased."""
        head = decode_head(self.envelope(log, index))
        sealed = [row[0] for row in self.run("SELECT sealed FROM payloads WHERE place = ?", self.place(log, index))] or [None]
        return None if sealed[0] is None else self.vault.open(log, head.payload.subjects, _aad(head), sealed[0])

    def payload(self, log: str, index: int) -> dict[str, Any]:
        """A payload's fields."""
        fields = json.loads(self.opened(log, index).payload)
        assert isinstance(fields, dict)
        return fields

    def put_payload(self, log: str, index: int, payload: bytes, *, salt: bytes | None = None, commit: bool) -> None:
        """The record has this payload, sealed as it should be; its envelope commits to it if `commit`."""
        salt = self.opened(log, index).salt if salt is None else salt
        if commit:
            fields = self.fields(log, index)
            fields["payload"] |= {"commitment": commitment(salt, payload), "length": len(payload)}
            self.put_fields(log, index, fields)
        self.reseal(log, index, salt, payload)

    def reseal(self, log: str, index: int, salt: bytes, payload: bytes) -> None:
        """Salt and payload are sealed for the record as its envelope is now."""
        head = decode_head(self.envelope(log, index))
        cipher = self.vault._find_cipher(log, head.payload.subjects)
        assert cipher is not None
        nonce = bytes(12)
        sealed = nonce + cipher.encrypt(nonce, salt + payload, _aad(head))
        self.run("REPLACE INTO payloads (place, sealed) VALUES (?, ?)", self.place(log, index), sealed)

    # signatures

    def signers(self) -> list[Signer]:
        """Every key that has signed, oldest first."""
        rows = self.run("SELECT vkey, key, wrapped FROM signing_keys ORDER BY number")
        return [Signer.from_seed(self.origin(), self.keys.unwrap(key, wrapped, OPERATOR_LOG, vkey)) for vkey, key, wrapped in rows]

    def mend_signatures(self) -> None:
        """The keys hand over at states of the head log as it is now, and each checkpoint is signed by the key of its size."""
        signers, end = self.signers(), int(self.one("SELECT head_size FROM ledger"))
        starts = [0]
        for number, endorsement in self.run("SELECT number, endorsement FROM signing_keys WHERE endorsement NOT NULL ORDER BY number"):
            size = min(open_endorsement(endorsement).at.size, end)
            old, new = signers[len(starts) - 1 : len(starts) + 1]
            self.run("UPDATE signing_keys SET endorsement = ? WHERE number = ?", endorse(self.checkpoint(size), old, new), number)
            starts.append(size)
        self.sign(
            lambda size: next(signer for signer, start in reversed(list(zip(signers, starts, strict=True))) if size > start or not start)
        )

    # rows beside the records

    def mend_projections(self) -> None:
        """What follows from the records stands in the rows, and nothing else."""
        source = SqliteSource(self.con, self.vault)
        replay = Replay(Findings(), source.blind)
        for state in source.trees():
            for chunk in examine_log(source, state.log):
                replay.take(state.log, chunk.followed)
            replay.end_log()
        for table in PROJECTIONS:
            self.run(f"DELETE FROM {table}")
        self._put_requests(replay)
        self._put_calls(replay)
        for freeze in replay.frozen.standing:
            self.run("INSERT INTO freezes VALUES (?, ?, ?, ?, ?)", freeze.id, freeze.log, freeze.scope, freeze.name, freeze.at)
        self._put_holds()
        for (digest,) in self.run("SELECT digest FROM blobs"):
            if digest not in replay.snapshots:
                self.run("DELETE FROM blobs WHERE digest = ?", digest)

    def _put_calls(self, replay: Replay) -> None:
        for call, taken in replay.keys.items():
            if taken is None:
                continue  # what cannot be read leaves the row as good as forged
            self.run("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", taken.scope, taken.key, taken.digest, call, taken.log)
        for call, intent in replay.open.items():
            text = "INSERT INTO open_calls SELECT ?, ?, number, iif(? IS NULL, number, 0), ? FROM boots WHERE id = ?"
            self.run(text, call, intent.log, intent.report_by, intent.report_by, intent.boot)
        for call, (log, _) in replay.unsettled.items():
            self.run("INSERT INTO unsettled VALUES (?, ?)", call, log)

    def _put_requests(self, replay: Replay) -> None:
        for asking in replay.requests.values():
            opened = asking.opened
            key, expires = self.vault.blind(asking.log, "request", opened.key), round(opened.expires_at.timestamp() * 1_000_000)
            asker = self.vault.blind(asking.log, "asker", asker_of(opened))
            text = "INSERT INTO requests (id, key, tenant, state, expires_at, asker, plan) VALUES (?, ?, ?, ?, ?, ?, ?)"
            self.run(text, opened.id, key, opened.tenant, asking.state.value, expires, asker, opened.plan)
            for person, live in asking.ballots():
                blind = self.vault.blind(asking.log, "person", person)
                self.run("INSERT INTO votes (request, person, live) VALUES (?, ?, ?)", opened.id, blind, live)

    def _put_holds(self) -> None:
        forgotten = self._forgotten()
        for hold in forgotten.holds():
            self.run("INSERT INTO holds VALUES (?, ?, ?, ?)", hold.id, hold.log, hold.target, hold.at)
        for pseudonym, (log, target) in forgotten.erased().items():
            self.run("INSERT INTO erasures VALUES (?, ?, ?)", pseudonym, log, target)

    def _forgotten(self) -> Forgotten:
        forgotten = Forgotten()
        for log in self.logs():
            for index in range(self.size(log)):
                forgotten.take(self.envelope(log, index), index)
        return forgotten

    def fill_what_is_gone(self) -> None:
        """A payload that is gone without a word is gone with one: the record never had one that says anything."""
        forgotten = self._forgotten()
        for log in self.logs():
            for index in range(self.size(log)):
                fields = self.fields(log, index)
                gone = tuple(fields["payload"].get("subjects", ()))
                if self._is_gone(log, gone) and not forgotten.explains(log, index, gone):
                    fields["payload"] = {"commitment": "", "length": 2}
                    self.put_fields(log, index, fields)
                    self.put_payload(log, index, b"{}", salt=bytes(32), commit=True)

    def _is_gone(self, log: str, subjects: tuple[str, ...]) -> bool:
        return self.vault._find_cipher(log, subjects) is None

    def mend_everything(self) -> None:
        """The ledger by itself is whole."""
        self.mend_all_hashes()
        self.mend_signatures()
        self.mend_projections()

    def cut(self, log: str, size: int) -> None:
        """The log ends there. Nothing is mended."""
        for table in ("records", "payloads"):
            self.run(f"DELETE FROM {table} WHERE place >= ? AND place >> 40 = ?", self.place(log, size), self.place(log, 0) >> 40)


def _aad(head: Head) -> bytes:
    return payload_aad(head.log, head.kind, head.call, head.id)

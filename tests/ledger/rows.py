"""Secrets in memory, for vaults without a store."""

from __future__ import annotations

from licet.ledger.vault import SecretRow


class Rows:
    """What a store would have: `SecretRows` of ledger/vault.py."""

    def __init__(self) -> None:
        self.kept: list[SecretRow] = []
        self.asked = 0

    def keep(self, *rows: SecretRow) -> None:
        """These rows are durable."""
        self.kept += rows

    def find_secret(self, lookup: bytes) -> SecretRow | None:
        self.asked += 1
        return next((row for row in self.kept if row.lookup == lookup), None)

    def find_secret_of(self, pseudonym: str) -> SecretRow | None:
        self.asked += 1
        return next((row for row in self.kept if row.pseudonym == pseudonym), None)

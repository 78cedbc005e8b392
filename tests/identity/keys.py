"""A source of API keys that a test owns."""

from __future__ import annotations

from dataclasses import dataclass, field

from licet.config import loads
from licet.errors import StoreUnavailable
from licet.identity.api_keys import ApiKeys, KeyContent, Minted, StoredKey, mint
from licet.identity.directory import Directory
from tests.identity.people import CONFIG, FILE


def directory_of(config: str = CONFIG) -> Directory:
    return Directory.from_settings(loads(config, file=FILE))


@dataclass
class Keys:
    """Keys as a store would have them; `fresh` and `down` are what the test says."""

    rows: dict[str, StoredKey] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    fresh: bool = True
    down: bool = False
    asked: int = 0
    now: int = 1_000
    directory: Directory = field(default_factory=directory_of)

    def put(self, content: KeyContent, expires_at: int | None = None) -> Minted:
        minted = mint()
        self.rows[minted.id] = StoredKey(id=minted.id, digest=minted.digest, content=content, expires_at=expires_at)
        return minted

    def verifier(self) -> ApiKeys:
        return ApiKeys(self, lambda: self.directory, lambda: self.now)

    def is_fresh(self) -> bool:
        return self.fresh

    def refresh(self) -> None:
        if self.down:
            raise StoreUnavailable("the ledger is away")
        self.fresh = True

    def find(self, credential: str) -> StoredKey | None:
        self.asked += 1
        return self.rows.get(credential)

    def ends_at(self, credential: str) -> int | None:
        return self.ends.get(credential)

    def mark_of(self, credential: str) -> str | None:
        return self.marks.get(credential)

    def note_use(self, credential: str, at: int) -> None:
        self.used[credential] = at

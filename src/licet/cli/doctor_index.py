"""What `licet doctor` looks at in the search index. It proves nothing and can be deleted at any time, so nothing here fails."""

from __future__ import annotations

from collections.abc import Iterator

from licet.cli.finding import Finding
from licet.cli.loading import reading
from licet.cli.wording import counted
from licet.config import Settings
from licet.errors import StoreError
from licet.gate.opening import has_ledger, index_path
from licet.store.finder import LedgerRows
from licet.store.index import Index
from licet.store.indexer import Indexer

FAR_BEHIND = 100_000
"""Records that a search takes some ten seconds to catch up with."""


def index_findings(settings: Settings) -> Iterator[Finding]:
    """Whether it is there, can be read, and how far it is behind the ledger."""
    if not has_ledger(settings):
        return
    if not index_path(settings).exists():
        yield Finding("ok", "search index", "there is none; the first search makes it")
        return
    try:
        with reading(settings) as store:
            index = Index.open(index_path(settings), text=settings.search.text, read_only=True)
            try:
                behind = Indexer(index, LedgerRows(store)).behind()
            finally:
                index.close()
    except StoreError as error:
        yield Finding("warn", "search index", str(error), f"delete `{index_path(settings)}`: the next search makes it anew")
        return
    if behind <= FAR_BEHIND:
        text = "; it holds the words of payloads in clear" if settings.search.text else ""
        yield Finding("ok", "search index", f"{counted(behind, 'record')} behind the ledger{text}" if behind else f"up to date{text}")
        return
    message = f"{counted(behind, 'record')} behind the ledger: the next search waits for them"
    step = "a process that makes calls fills it; with `index = false` under `[search]` only searches do"
    yield Finding("warn", "search index", message, step)

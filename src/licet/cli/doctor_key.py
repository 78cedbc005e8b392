"""What `licet doctor` looks at in the key under which the ledger's payloads are encrypted. No part of a key is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from licet.cli.finding import Finding
from licet.cli.wording import counted
from licet.config import Settings
from licet.errors import KeyUnavailable
from licet.gate.opening import has_ledger
from licet.ledger.keys import load_keys


def key_findings(settings: Settings) -> Iterator[Finding]:
    """Whether it is there, private, and kept apart from what it protects."""
    scheme, _, rest = settings.keys.partition(":")
    file = Path(rest) if scheme == "file" else None
    if file is not None and not file.exists() and not has_ledger(settings):
        yield Finding("warn", "key", f"there is no key at `{file}` yet", "an application makes it with the ledger, at its first call")
        return
    try:
        keys = load_keys(settings.keys, folder=Path())
    except KeyUnavailable as error:
        yield Finding("fail", "key", str(error), "until it is mended nothing is written, so every call is refused")
        return
    source = {"file": f"`{rest}`", "env": f"the environment variable `{rest}`"}.get(scheme, "the output of a command")
    yield Finding("ok", "key", f"{counted(len(keys.ids), 'key')} in {source}; `{keys.current}` encrypts")
    if file is not None and file.resolve().parent == settings.beside.resolve().parent:
        message = f"the key `{file}` lies beside the ledger: who copies the folder has both"
        yield Finding("warn", "key", message, "name another place (`keys` in licet.toml), and keep a copy apart from the ledger's copies")

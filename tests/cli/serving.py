"""The project's own server, on its own ledger, and the keys of the people and programs who ask it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from licet.cli import main
from licet.config.server import ServerSettings
from licet.policy.own import default_text
from licet.server.assembly import assemble
from tests.cli.conftest import Shop, envelope

KEYS = {
    "lena": ("--tenant", "acme", "--person", "lena"),
    "alice": ("--tenant", "acme", "--person", "alice"),
    "auditor": ("--tenant", "*", "--role", "licet-auditor"),
    "admin": ("--tenant", "*", "--role", "licet-admin"),
    "agent": ("--tenant", "acme", "--agent", "support-bot", "--for", "alice", "--role", "licet-agent"),
}


class Doors:
    """The two ways to ask: the ledger at hand, and the server on it."""

    def __init__(self, folder: Path, url: str, keys: dict[str, str]) -> None:
        self.folder = folder
        self.url = url
        self.keys = keys

    def here(self, *arguments: str, stdin: str | None = None) -> Result:
        """Ask the ledger at hand."""
        return CliRunner().invoke(main, arguments, input=stdin)

    def there(self, who: str | None, *arguments: str, stdin: str | None = None) -> Result:
        """Ask the server, with the key of somebody."""
        key = {} if who is None else {"LICET_API_KEY": self.keys[who]}
        return CliRunner(env=key).invoke(main, ["--server", self.url, *arguments], input=stdin)

    def told(self, who: str, *arguments: str) -> Any:
        """What the server's answer is as JSON."""
        return envelope(self.there(who, *arguments, "--json"))["data"]


@contextmanager
def serving(folder: Path) -> Iterator[Doors]:
    """The application of this folder, served; each of `KEYS` is issued by the command line."""
    own = folder / "policies" / "licet.cedar"
    own.write_text(default_text())
    keys = {}
    for name, options in KEYS.items():
        issued = CliRunner().invoke(main, ["credentials", "issue", name, *options, "--json"])
        assert issued.exit_code == 0, issued.output
        keys[name] = envelope(issued)["data"]["key"]
    shop = Shop(folder)
    shop.gate.settings = replace(shop.gate.settings, server=ServerSettings(listen="127.0.0.1:0", metrics="", reload=False))
    server = assemble(shop.gate)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert server.started.wait(20)
    try:
        yield Doors(folder, f"http://{server.address}", keys)
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def doors(used: Path) -> Iterator[Doors]:
    """The project after some calls, behind both doors."""
    with serving(used) as found:
        yield found

"""Runs a scripted server: `python run.py legacy|modern [MODE]... [--page N]`. The modes are those of `peer`, `legacy` and `modern`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from tests.gateway.upstreams.servers.legacy import Legacy
from tests.gateway.upstreams.servers.modern import Modern


def main(era: str, *modes: str) -> None:
    servers: dict[str, type[Legacy | Modern]] = {"legacy": Legacy, "modern": Modern}
    server = servers[era](set(modes))
    if "--page" in modes:
        server.page = int(modes[modes.index("--page") + 1])
    server.run()


main(*sys.argv[1:])

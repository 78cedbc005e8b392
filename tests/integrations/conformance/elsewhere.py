"""A process of its own in which an agent works or goes on: `python -m tests.integrations.conformance.elsewhere FOLDER run|resume`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from licet import Gate
from tests.integrations.driving import FRAMEWORK, Ask, Setting, driver_of
from tests.integrations.shop import Shop


def main(folder: Path, what: str) -> None:
    assert FRAMEWORK is not None
    shop = Shop(folder / "ran.txt")
    kept = folder / "saved"
    saved = kept.read_bytes() if what == "resume" else None
    script = ([Ask("call_1", "pay", {"customer": "C-1", "cents": 500})], "done")
    with Gate(folder / "licet.toml") as gate, gate.acting(agent="shop-bot", user="alice"):
        agent = driver_of(FRAMEWORK).agent(Setting(gate, shop.tools("pay"), script, saved=saved))
        ended = agent.run() if saved is None else agent.resume()
        if saved is None:
            kept.write_bytes(agent.saved())
    print(json.dumps({"told": dict(ended.told), "waiting": list(ended.waiting), "said": ended.said}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

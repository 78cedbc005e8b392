"""The Todo example in memory, and the public interoperability cases that it must answer.

`tests/vectors/authzen_todo_1_0_02.json` is `authzen-todo-1_0-02` of the OpenID AuthZEN working group's interoperability tests
(github.com/openid/authzen, `interop/authzen-todo-backend/test/decisions-authorization-api-1_0-02.json`), byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from licet import Gate
from licet.gate.inquiry import Inquiry
from licet.testing import Clock, in_memory_gate

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples/authzen_todo"
VECTORS: dict[str, list[dict[str, Any]]] = msgspec.json.decode((ROOT / "tests/vectors/authzen_todo_1_0_02.json").read_bytes())
SINGLE = [(case["request"], case["expected"]) for case in VECTORS["evaluation"]]
TOGETHER = [(case["request"], [answer["decision"] for answer in case["expected"]]) for case in VECTORS["evaluations"]]
RICK, MORTY, SUMMER, BETH, JERRY = (f"CiRmZD{place}2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs" for place in "AEIMQ")


@contextmanager
def todo_gate() -> Iterator[Gate]:
    """A gate in memory under the example's own files."""
    policies = {path.name: path.read_text() for path in (EXAMPLE / "policies").glob("*.cedar")}
    with in_memory_gate((EXAMPLE / "licet.toml").read_text(), policies, clock=Clock()) as gate:
        yield gate


def inquiry(request: dict[str, Any], **defaults: Any) -> Inquiry:
    """One question of a case."""
    return msgspec.convert({**defaults, **request}, Inquiry)

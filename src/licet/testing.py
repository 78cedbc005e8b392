"""For your tests: a gate in memory, a clock that the test owns, and pytest fixtures for both.

    def test_the_agent_cannot_refund_more_than_the_limit(licet_gate):
        gate = licet_gate(CONFIG, POLICIES)

        @gate.tool("billing.adjust", access="write")
        def adjust(amount_cents: int) -> str: ...

        with gate.acting(agent="support-bot", user="alice"):
            result = gate.call("billing.adjust", {"amount_cents": 10_000_00})
        assert result.decision.code == "no_permit"

The gate is the real one: the same pipeline, policies, ledger and approvals; only its store lives in memory and is gone with it. The
fixtures come with the package: pytest finds `licet_clock` and `licet_gate` by itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    import pytest

    from licet.gate.gate import Gate
    from licet.ledger.record import Envelope, Payload
    from licet.model import Receipt, RequestId

IN_MEMORY = "sqlite::memory:"
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""A Monday morning."""


class Clock:
    """A clock that stands still until the test moves it. Calling it gives the time: aware, in UTC."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start.astimezone(UTC)

    def __call__(self) -> datetime:
        """Now, as the test has it."""
        return self._now

    def advance(self, by: timedelta | float) -> datetime:
        """Move the clock on by a duration, or by so many seconds. Returns the new time."""
        self._now += by if isinstance(by, timedelta) else timedelta(seconds=by)
        return self._now


class Read(Struct, frozen=True):
    """One record as a test wants to see it."""

    kind: str
    envelope: Envelope
    payload: Payload
    receipt: Receipt


@contextmanager
def in_memory_gate(config: str, policies: str | Mapping[str, str], *, clock: Callable[[], datetime] | None = None) -> Iterator[Gate]:
    """A gate whose store lives in memory. `config` is the text of a licet.toml; `policies` is Cedar text, or texts by file name.

    Raises `ConfigInvalid` at once; policies are validated at the first call, as ever.
    """
    # Imported here: pytest loads this module as a plugin in every run of every project that has Licet installed.
    from licet.config import loads  # noqa: PLC0415
    from licet.gate.gate import Gate, utc_now  # noqa: PLC0415

    texts = {"policies.cedar": policies} if isinstance(policies, str) else policies
    with tempfile.TemporaryDirectory(prefix="licet-test-") as folder:
        root = Path(folder)
        settings = replace(loads(config, file=root / "licet.toml"), store=IN_MEMORY)
        settings.policies.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (settings.policies / name).write_text(text, encoding="utf-8")
        with Gate(settings, clock=clock or utc_now) as gate:
            yield gate


def vote(gate: Gate, request: RequestId | None, *voters: str, verdict: Literal["approve", "reject"] = "approve") -> None:
    """Let these users vote on a request, one after the other. Raises `VoteRefused` where one of them may not."""
    assert request is not None, "the call opened no request"
    for voter in voters:
        gate.approvals.vote(request, voter, verdict)


def records(gate: Gate, log: str) -> list[Read]:
    """Every record of a log, oldest first, decoded."""
    from licet.ledger.record import decode_payload, leaf_hash, read_envelope  # noqa: PLC0415
    from licet.model import Receipt  # noqa: PLC0415

    return [
        Read(
            record.kind,
            read_envelope(record.envelope, record.payload),
            decode_payload(record.payload or b"{}"),
            Receipt(log, record.index, leaf_hash(record.envelope).hex()),
        )
        for record in gate.store.records(log)
    ]


try:
    import pytest
except ImportError:  # the library does not need pytest; only the fixtures below do
    pass
else:

    @pytest.fixture
    def licet_clock() -> Clock:
        """A clock that stands still until the test moves it."""
        return Clock()

    @pytest.fixture
    def licet_gate(licet_clock: Clock) -> Iterator[Callable[[str, str | Mapping[str, str]], Gate]]:
        """Makes gates in memory, on `licet_clock`, and closes them when the test is over."""
        from contextlib import ExitStack  # noqa: PLC0415

        with ExitStack() as stack:
            yield lambda config, policies: stack.enter_context(in_memory_gate(config, policies, clock=licet_clock))

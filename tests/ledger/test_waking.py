"""Every sleeper is woken, whoever leaves in between."""

from __future__ import annotations

import random
import threading
import time

import pytest

from licet.ledger.waking import Sleeper, WakingQueue


def started(sleepers: list[Sleeper], timeouts: list[float | None]) -> tuple[list[threading.Thread], list[bool | None]]:
    woken: list[bool | None] = [None] * len(sleepers)

    def sleep(at: int) -> None:
        woken[at] = sleepers[at].sleep(timeouts[at])

    threads = [threading.Thread(target=sleep, args=(at,), daemon=True) for at in range(len(sleepers))]
    for thread in threads:
        thread.start()
    return threads, woken


def test_all_are_woken_by_waking_the_first() -> None:
    sleepers = [Sleeper() for _ in range(64)]
    threads, woken = started(sleepers, [None] * 64)
    WakingQueue().wake(sleepers)
    for thread in threads:
        thread.join(10)
    assert woken == [True] * 64


def test_one_that_is_woken_before_it_sleeps_passes_on() -> None:
    queue, sleepers = WakingQueue(), [Sleeper() for _ in range(3)]
    queue.wake(sleepers)
    assert [sleeper.sleep(5) for sleeper in sleepers] == [True, True, True]


def test_one_that_left_before_it_was_woken_is_passed_over() -> None:
    queue, sleepers = WakingQueue(), [Sleeper() for _ in range(3)]
    sleepers[0].leave()
    sleepers[1].leave()
    queue.wake(sleepers)
    assert sleepers[2].sleep(5)


def test_one_that_leaves_after_it_was_woken_passes_on() -> None:
    queue, sleepers = WakingQueue(), [Sleeper() for _ in range(2)]
    queue.wake(sleepers)
    sleepers[0].leave()
    assert sleepers[1].sleep(5)


def test_a_timeout_is_told_and_does_not_hold_up_the_next() -> None:
    queue, sleepers = WakingQueue(), [Sleeper() for _ in range(2)]
    assert not sleepers[0].sleep(0.01)
    queue.wake(sleepers)
    assert sleepers[1].sleep(5)


def test_an_interrupted_sleeper_passes_on() -> None:
    class Interrupted(Sleeper):
        __slots__ = ()

        def sleep(self, timeout_s: float | None = None) -> bool:
            self._gate = _Interrupting(self._gate)  # type: ignore[assignment]
            return super().sleep(timeout_s)

    queue, first, second = WakingQueue(), Interrupted(), Sleeper()
    with pytest.raises(KeyboardInterrupt):
        first.sleep()
    queue.wake([first, second])
    assert second.sleep(5)


class _Interrupting:
    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.release = lock.release

    def acquire(self, *, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            raise KeyboardInterrupt
        return self._lock.acquire(blocking=False, timeout=timeout)


def test_a_later_group_starts_a_chain_that_was_broken_again() -> None:
    queue, lost, left, later = WakingQueue(), Sleeper(), Sleeper(), Sleeper()
    queue.wake([lost, left])  # `lost` is awake and never passes on
    queue.wake([later])
    assert left.sleep(5)
    assert later.sleep(5)


def test_sleepers_that_leave_at_any_moment_break_no_chain() -> None:
    chance = random.Random(11)
    for _ in range(40):
        sleepers = [Sleeper() for _ in range(32)]
        timeouts = [chance.choice([None, chance.random() / 500]) for _ in sleepers]
        threads, woken = started(sleepers, timeouts)
        time.sleep(chance.random() / 500)
        WakingQueue().wake(sleepers)
        for thread in threads:
            thread.join(10)
        assert [answer for answer, timeout in zip(woken, timeouts, strict=True) if timeout is None] == [True] * timeouts.count(None)

from __future__ import annotations

import resource

import pytest

from licet.server.descriptors import SPARE, raise_limit


@pytest.mark.parametrize(
    ("soft", "hard", "set_to", "words"),
    [
        (1_024, 20_000, 2_000 + SPARE, None),
        (1_024, resource.RLIM_INFINITY, 2_000 + SPARE, None),
        (4_096, 20_000, None, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, None),
        (256, 1_024, 1_024, "2256 open files are needed for `server.connections = 2000`, and this process may have 1024"),
    ],
    ids=["raised", "raised without bound", "enough", "unbounded", "short"],
)
def test_the_limit_is_raised_as_far_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, set_to: int | None, words: str | None
) -> None:
    done: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: done.append(limits))
    assert raise_limit(2_000) == words
    assert done == ([] if set_to is None else [(set_to, hard)])

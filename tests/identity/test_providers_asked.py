"""Providers are asked once for all who wait, and nobody waits for the provider of others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from licet.identity import provider
from licet.identity.provider import Provider, Providers, ProviderUnavailable

FOUND = Provider("https://idp.example/authorize", "https://idp.example/token", (), names_itself=False)


def test_a_provider_that_does_not_answer_keeps_nobody_from_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, release = threading.Event(), threading.Event()

    def discover(issuer: str) -> Provider:
        if issuer == "https://slow.example":
            asked.set()
            assert release.wait(30)
            raise ProviderUnavailable("it does not answer")
        return FOUND

    monkeypatch.setattr(provider, "discover", discover)
    providers = Providers()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(providers.get, "https://slow.example")
        try:
            assert asked.wait(30)
            assert ThreadPoolExecutor(1).submit(providers.get, "https://idp.example").result(30) == FOUND
        finally:
            release.set()
        with pytest.raises(ProviderUnavailable, match="does not answer"):
            slow.result(30)


def test_many_who_wait_for_a_provider_ask_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, begin = [], threading.Barrier(8)

    def discover(issuer: str) -> Provider:
        asked.append(issuer)
        return FOUND

    monkeypatch.setattr(provider, "discover", discover)
    providers = Providers()

    def get() -> Provider:
        begin.wait(30)
        return providers.get("https://idp.example")

    with ThreadPoolExecutor(8) as pool:
        found = [one.result(30) for one in [pool.submit(get) for _ in range(8)]]
    assert (found, asked) == ([FOUND] * 8, ["https://idp.example"])

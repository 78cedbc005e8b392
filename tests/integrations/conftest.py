"""The conformance suite runs where a framework is installed: `LICET_FRAMEWORK` names it. Everywhere else it is not collected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from licet import Gate
from licet.integrations.frameworks import FRAMEWORKS
from tests.integrations.driving import FRAMEWORK, Driver, driver_of
from tests.integrations.shop import Shop, gate_in_memory

RESULTS = os.environ.get("LICET_FRAMEWORK_RESULTS")
collect_ignore_glob = [] if FRAMEWORK else ["conformance/*", "frameworks/*"]
_seen: dict[str, str] = {}


@pytest.fixture(scope="session")
def driver() -> Driver:
    assert FRAMEWORK is not None
    return driver_of(FRAMEWORK)


@pytest.fixture
def gate() -> Iterator[Gate]:
    with gate_in_memory() as found:
        yield found


@pytest.fixture
def shop() -> Iterator[Shop]:
    found = Shop()
    yield found
    found.started.set()


@pytest.fixture(autouse=True)
def _row(request: pytest.FixtureRequest) -> None:
    """A test is of a row of the table; where the framework has nothing for it, it says so there."""
    mark = request.node.get_closest_marker("row")
    if mark is None:
        return
    driver: Driver = request.getfixturevalue("driver")
    row = mark.args[0]
    if row in driver.cannot:
        pytest.skip(driver.cannot[row])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    mark = item.get_closest_marker("row")
    if mark is not None and (report.when == "call" or report.skipped or report.failed):
        row = mark.args[0]
        outcome = "failed" if report.failed else f"no: {report.longrepr[2].removeprefix('Skipped: ')}" if report.skipped else "yes"
        if _seen.get(row) != "failed":
            _seen[row] = outcome
    return report


def pytest_sessionfinish() -> None:
    """What was seen, for the table of the docs."""
    if FRAMEWORK is not None and RESULTS is not None:
        driver = driver_of(FRAMEWORK)
        title = next(one.title for one in FRAMEWORKS if one.name == FRAMEWORK)
        found = {"title": title, "package": driver.package, "version": version(driver.package), "rows": dict(sorted(_seen.items()))}
        Path(RESULTS).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

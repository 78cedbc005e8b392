"""docs/operations.md, held equal to the code: metrics, conditions, and what cannot change while the process runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from licet.config import Settings
from licet.gate.reloading import CHANGEABLE, FIXED_LIMITS
from licet.server.health import Health
from licet.server.metrics import Metrics
from licet.server.observing import Answered
from tests.gate.files import world_of_files

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_metric_is_explained_with_its_labels_and_no_other(tmp_path: Path) -> None:
    rows = re.findall(r"^\| `(licet_\w+)` \| ([^|]*)\|", section("Metrics"), re.MULTILINE)
    written = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    with world_of_files(tmp_path) as w:
        w.adjust(2_500)
        metrics = Metrics(w.gate, lambda: Health(w.gate))
        w.adjust(2_500)
        metrics.began()
        metrics.answered(Answered(request_id="r", method="GET", route="/x", status=200, duration_s=0.1))
        metrics.not_authenticated("expired")
        text = metrics.show()[0].decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        if samples:
            name = {"counter": f"{family.name}_total"}.get(family.type, samples[0].name if family.type == "info" else family.name)
            found[name] = {label for sample in samples for label in sample.labels} - {"le"}
    assert written == found


def test_every_condition_is_explained_and_no_other(tmp_path: Path) -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| ", section("Health"), re.MULTILINE))
    with world_of_files(tmp_path) as w:
        assert rows == {condition.name for condition in Health(w.gate).look()}


@pytest.mark.parametrize("name", sorted({*Settings.__struct_fields__} - CHANGEABLE - {"file"} | {*FIXED_LIMITS}))
def test_what_takes_a_restart_is_said(name: str) -> None:
    assert f"`{name}`" in section("Reload") or f"`[{name}]`" in section("Reload")

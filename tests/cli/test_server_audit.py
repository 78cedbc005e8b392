"""`licet audit` of the ledger at hand and of a server on it: one presentation, two sources."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from licet.cli.record_source_remote import Shape, stored
from licet.client import Client, Connection
from licet.errors import IntegrityBroken
from tests.cli.conftest import envelope
from tests.cli.serving import Doors
from tests.cli.serving import doors as doors  # noqa: PLC0414  a fixture

OLD = ("--until", "2031-01-01")


@pytest.mark.parametrize(
    "arguments",
    [
        ("search",),
        ("search", "--tool", "billing.adjust"),
        ("search", "--verdict", "deny"),
        ("search", "--kind", "intent", "--kind", "outcome"),
        ("search", "--target", "Customer/C-1", "--user", "alice"),
        ("search", "--since", "2h", *OLD, "--outcome", "error"),
        ("search", "--text", "refund OR nothing"),
        ("search", "--tenant", "operator"),
        ("tail", "-n", "3"),
        ("tail", "-n", "0"),
        ("tail", "--agent", "support-bot"),
        ("count", "--by", "tool", "--tenant", "acme"),
        ("count", "--by", "outcome"),
        ("count",),
    ],
    ids=" ".join,
)
def test_what_is_printed_of_a_server_is_what_is_printed_here(doors: Doors, arguments: tuple[str, ...]) -> None:
    asked = ["audit", *arguments]
    here, there = doors.here(*asked), doors.there("auditor", *asked)
    assert (there.exit_code, without_cursor(there.stderr)) == (here.exit_code, without_cursor(here.stderr))
    assert without_looks(there.stdout) == without_looks(here.stdout)
    if arguments[0] == "search":
        assert data(doors.there("auditor", *asked, "--json")) == data(doors.here(*asked, "--json"))


def without_looks(text: str) -> str:
    """Without the count of what has no tool, verdict or outcome: each look is a record of that kind."""
    return "\n".join(line for line in text.splitlines() if "(none)" not in line)


def without_cursor(text: str) -> str:
    return re.sub(r"--before \S+", "--before X", text)


def data(result: Any) -> Any:
    found = envelope(result)["data"]
    return {**found, "before": bool(found.get("before"))}


def test_pages_of_a_server_are_continued(doors: Doors) -> None:
    first = envelope(doors.there("auditor", "audit", "search", "--tenant", "acme", "--limit", "3", "--json"))["data"]
    then = envelope(doors.there("auditor", "audit", "search", "--tenant", "acme", "--limit", "3", "--before", first["before"], "--json"))[
        "data"
    ]
    whole = envelope(doors.here("audit", "search", "--tenant", "acme", "--limit", "6", "--json"))["data"]
    assert [*first["records"], *then["records"]] == whole["records"]
    wrong = doors.there("auditor", "audit", "search", "--before", "elsewhere")
    assert (wrong.exit_code, wrong.stdout) == (2, "")


def test_a_story_is_told_alike_whatever_names_it(doors: Doors, request_id: str) -> None:
    (place, call) = next(
        (one["place"], one["envelope"]["call"])
        for one in envelope(doors.here("audit", "search", "--kind", "intent", "--json"))["data"]["records"]
    )
    for reference in (call, place, request_id, "acme:0"):
        here, there = doors.here("audit", "show", reference), doors.there("auditor", "audit", "show", reference)
        assert (there.exit_code, there.stdout, there.stderr) == (here.exit_code, here.stdout, here.stderr)
        assert there.exit_code == 0
        asked = ("audit", "show", reference, "--json")
        assert envelope(doors.there("auditor", *asked)) == envelope(doors.here(*asked))


@pytest.mark.parametrize("reference", ["01a20000-0000-7000-8000-000000000000", "acme:999", "nowhere:1"])
def test_what_is_not_there_is_refused_alike(doors: Doors, reference: str) -> None:
    here, there = doors.here("audit", "show", reference), doors.there("auditor", "audit", "show", reference)
    assert (there.exit_code, there.stdout, there.stderr) == (here.exit_code, here.stdout, here.stderr)
    assert there.exit_code == 1


def test_a_log_that_is_not_there_is_not_empty(doors: Doors) -> None:
    for verb in ("search", "tail", "count"):
        result = doors.there("auditor", "audit", verb, "--tenant", "nowhere")
        assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: there is no log `nowhere` in this ledger")


def test_who_may_not_read_is_denied(doors: Doors) -> None:
    result = doors.there("lena", "audit", "search")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.startswith("error: `records.read` is not permitted to this credential\n")


def test_each_look_is_recorded_with_the_credential(doors: Doors) -> None:
    doors.there("auditor", "audit", "search", "--tenant", "acme", "--user", "alice")
    looked = envelope(doors.here("audit", "search", "--kind", "access", "--tenant", "acme", "--json"))["data"]["records"]
    assert re.search(r"credential \S+ (looked|read|searched)", looked[0]["sentence"]) or "credential" in str(looked[0]["payload"])


ENVELOPE = b'{"v":0,"log":"acme"}'


@pytest.mark.parametrize("change", [{"leaf": "0" * 64}, {"log": "globex"}], ids=["leaf", "log"])
def test_what_a_server_says_of_a_record_is_held_against_its_bytes(doors: Doors, change: dict[str, Any]) -> None:
    client = Client(Connection(doors.url, doors.keys["auditor"]))
    shape = client.connection.decoded(client.connection.ask("GET", "/api/v1/records/acme/0"), Shape)
    assert stored(shape).index == 0
    with pytest.raises(IntegrityBroken, match="is not of its bytes"):
        stored(msgspec.structs.replace(shape, **change))


def test_a_decision_is_explained_alike_through_both_doors(doors: Doors, request_id: str) -> None:
    found = envelope(doors.here("audit", "search", "--tenant", "acme", "--limit", "50", "--json"))["data"]["records"]
    told = ""
    erased = ("audit", "erase", "--tenant", "acme", "--subject", "Customer/C-1", "--reason", "asked to", "--yes")
    for act in ((), erased):
        assert not act or doors.here(*act).exit_code == 0
        for reference in (
            *[one["place"] for one in found],
            *sorted({one["envelope"]["call"] for one in found if one["envelope"].get("call")}),
            request_id,
        ):
            here, there = doors.here("why", reference), doors.there("auditor", "why", reference)
            assert (there.exit_code, there.stdout, there.stderr) == (here.exit_code, here.stdout, here.stderr)
            assert envelope(doors.there("auditor", "why", reference, "--json")) == envelope(doors.here("why", reference, "--json"))
            told += there.stdout
    assert all(said in told for said in ('@id("billing-adjust")', '@id("billing-needs-lead")', "it was erased"))
    nowhere = doors.there("auditor", "why", "acme:9999")
    assert (nowhere.exit_code, nowhere.stdout) == (1, "")
    assert nowhere.stderr.startswith("error: ")

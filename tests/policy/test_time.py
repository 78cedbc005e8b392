"""Windows and environments: Cedar's datetime on `context.now`, the clock on the wall in `context.local`, and where a target stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.errors import PolicyInvalid
from licet.model import Decision
from licet.policy.local_time import LocalTime, local_time
from tests.policy.scene import PROFILE, STATUS, customer, engine, question, tenant

BERLIN = ZoneInfo("Europe/Berlin")
PERMIT = '@id("all") permit (principal, action, resource);\n'


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def decide(condition: str, now: datetime, zone: Any = UTC, **more: Any) -> Decision:
    """The decision where a plain forbid has this condition; `forbidden` where it holds."""
    loaded = engine(f'{PERMIT}@id("window") forbid (principal, action, resource) when {{ {condition} }};')
    asked = question(STATUS, {}, on=(tenant(),), now=now, local=local_time(now, zone), **more)
    return loaded.decide(asked)


@pytest.mark.parametrize(
    ("condition", "now", "verdict"),
    [
        ('context.now < datetime("2026-12-24")', "2026-12-23T23:59:59.999", "deny"),
        ('context.now < datetime("2026-12-24")', "2026-12-24T00:00:00", "allow"),
        ('context.now >= datetime("2026-12-24T00:00:00+0100")', "2026-12-23T23:00:00", "deny"),
        ('context.now >= datetime("2026-12-24T00:00:00+0100")', "2026-12-23T22:59:59", "allow"),
        ('context.now.toTime() >= duration("18h")', "2026-11-22T17:59:59.999", "allow"),
        ('context.now.toTime() >= duration("18h")', "2026-11-22T18:00:00", "deny"),
        ('context.now.toTime() >= duration("17h30m")', "2026-11-22T17:30:00", "deny"),
        ('context.now.toDate() == datetime("2026-11-22")', "2026-11-22T23:59:59", "deny"),
        ('context.now.toDate() == datetime("2026-11-22")', "2026-11-23T00:00:00", "allow"),
        ('context.now.offset(duration("1h")).toTime() < duration("9h")', "2026-11-22T07:59:59", "deny"),
        ('context.now.offset(duration("1h")).toTime() < duration("9h")', "2026-11-22T08:00:00", "allow"),
        ('context.now.offset(duration("-6h")).toDate() == datetime("2026-11-21")', "2026-11-22T05:00:00", "deny"),
        ('context.now.durationSince(datetime("2026-11-01")) > duration("21d")', "2026-11-22T00:00:01", "deny"),
        ('context.now.durationSince(datetime("2026-11-01")).toDays() == 21', "2026-11-22T12:00:00", "deny"),
        ('context.now.durationSince(datetime("2026-11-01")).toHours() > 516', "2026-11-22T12:00:00", "allow"),
    ],
)  # fmt: skip
def test_cedar_s_own_times_work_on_now(condition: str, now: str, verdict: str) -> None:
    decision = decide(condition, at(now))
    assert (decision.verdict, decision.code) == (verdict, "forbidden" if verdict == "deny" else "allowed")


WORKING_HOURS = "!(context.local.weekday <= 5 && context.local.hour >= 9 && context.local.hour < 17)"


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ("2026-11-23T07:59:59", "deny"),  # Monday 08:59 in Berlin
        ("2026-11-23T08:00:00", "allow"),
        ("2026-11-23T15:59:59", "allow"),
        ("2026-11-23T16:00:00", "deny"),
        ("2026-11-22T10:00:00", "deny"),  # Sunday
        ("2026-11-28T10:00:00", "deny"),  # Saturday
        ("2026-07-01T06:59:59", "deny"),  # in summer nine o'clock is an hour earlier
        ("2026-07-01T07:00:00", "allow"),
        ("2026-07-01T15:00:00", "deny"),
    ],
)
def test_working_hours_follow_the_zone_through_summer_and_winter(now: str, verdict: str) -> None:
    assert decide(WORKING_HOURS, at(now), BERLIN).verdict == verdict


@pytest.mark.parametrize(
    ("now", "zone", "shown"),
    [
        ("2026-11-22T23:30:00", "Europe/Berlin", (1, 0, 30, "2026-11-23")),
        ("2026-11-22T23:30:00", "America/Los_Angeles", (7, 15, 30, "2026-11-22")),
        ("2026-11-22T00:30:00", "Asia/Kolkata", (7, 6, 0, "2026-11-22")),
        ("2026-11-22T12:00:00", "Pacific/Kiritimati", (1, 2, 0, "2026-11-23")),
        ("2026-03-29T00:59:00", "Europe/Berlin", (7, 1, 59, "2026-03-29")),
        ("2026-03-29T01:00:00", "Europe/Berlin", (7, 3, 0, "2026-03-29")),  # 02:00 is left out
        ("2026-10-25T00:30:00", "Europe/Berlin", (7, 2, 30, "2026-10-25")),
        ("2026-10-25T01:30:00", "Europe/Berlin", (7, 2, 30, "2026-10-25")),  # and 02:30 comes twice
        ("2024-02-29T12:00:00", "UTC", (4, 12, 0, "2024-02-29")),
    ],
)
def test_local_time_is_what_the_clocks_of_the_zone_show(now: str, zone: str, shown: tuple[int, int, int, str]) -> None:
    assert local_time(at(now), ZoneInfo(zone)) == LocalTime(*shown)


@given(st.datetimes(at("1970-01-02").replace(tzinfo=None), at("2100-01-01").replace(tzinfo=None)), st.integers(-14 * 60, 14 * 60))
def test_local_time_says_nothing_that_now_and_the_zone_do_not(naive: datetime, minutes: int) -> None:
    offset = timedelta(minutes=minutes)
    shown = local_time(naive.replace(tzinfo=UTC), timezone(offset))
    moved = naive + offset
    assert (shown.weekday, shown.hour, shown.minute) == (moved.weekday() + 1, moved.hour, moved.minute)
    assert shown.date == f"{moved:%Y-%m-%d}"
    assert 1 <= shown.weekday <= 7


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ('context.local.date == "2026-11-22"', "deny"),
        ('["2026-11-22", "2026-12-25"].contains(context.local.date)', "deny"),
        ('context.local.date like "2026-11-*"', "deny"),
        ('context.local.date like "*-12-*"', "allow"),
        ("context.local.hour * 60 + context.local.minute >= 570", "deny"),
        ("context.local.hour * 60 + context.local.minute >= 571", "allow"),
        ("context.local.weekday == 7", "deny"),
        ("[6, 7].contains(context.local.weekday)", "deny"),
        ("context has local && context.local has hour && context.local.hour == 9", "deny"),
        ('context.local == {weekday: 7, hour: 9, minute: 30, date: "2026-11-22"}', "deny"),
    ],
)
def test_each_part_of_local_time_can_be_asked(condition: str, verdict: str) -> None:
    assert decide(condition, at("2026-11-22T09:30:00")).verdict == verdict


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("context.local.second > 3", "second"),
        ('context.local.weekday == "Monday"', "types"),
        ("context.local.day == 1", "day"),
        ("context has local && context.local has second", "nothing in scope has the attribute `second`"),
        ('context.now > "2026-11-22"', "expected"),
        ('datetime("22.11.2026") < context.now', ""),
        ("datetime(context.local.date) < context.now", ""),
    ],
)
def test_what_time_does_not_have_does_not_load(condition: str, words: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        decide(condition, at("2026-11-22T09:30:00"))
    assert any(problem.startswith("policies/test.cedar:2: policy `window`: ") and words in problem for problem in caught.value.problems)


def test_only_tools_whose_policies_read_it_are_told_the_local_time() -> None:
    text = f'{PERMIT}@id("window") forbid (principal, action == Action::"system.status", resource) when {{ {WORKING_HOURS} }};'
    loaded = engine(text)
    assert loaded.reads_local("system.status")
    assert not loaded.reads_local("customer.profile")
    assert not loaded.reads_local("no.such.tool")
    assert loaded.decide(question(PROFILE, {"customer_id": "C-412"}, local=None)).verdict == "allow"


def test_a_policy_that_reads_the_local_time_denies_where_nobody_says_it() -> None:
    loaded = engine(f'{PERMIT}@id("window") forbid (principal, action, resource) when {{ {WORKING_HOURS} }};')
    decision = loaded.decide(question(STATUS, {}, on=(tenant(),), local=None))
    assert (decision.verdict, decision.code) == ("deny", "policy_error")
    assert decision.message == "the call could not be decided, which is a denial: `local` is missing"


@pytest.mark.parametrize(
    ("gate", "target", "verdict"),
    [
        ("production", "production", "deny"),
        ("production", "staging", "allow"),
        ("staging", "production", "deny"),
        ("staging", "dev", "allow"),
    ],
)
def test_a_target_s_environment_is_what_its_resolver_said(gate: str, target: str, verdict: str) -> None:
    text = f'{PERMIT}@id("away") forbid (principal, action, resource is Customer) when {{ resource.environment == "production" }};'
    on = (customer(),)
    moved = (type(on[0])(type="Customer", id="C-412", tenant="acme", environment=target, attributes={"vip": False}),)
    assert engine(text).decide(question(PROFILE, {"customer_id": "C-412"}, on=moved, environment=gate)).verdict == verdict


@pytest.mark.parametrize(("environment", "verdict"), [("production", "deny"), ("staging", "allow"), ("Production", "allow")])
def test_the_gate_s_environment_is_compared_letter_by_letter(environment: str, verdict: str) -> None:
    assert decide('context.environment == "production"', at("2026-11-22T09:30:00"), environment=environment).verdict == verdict


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("context.local.weekday == 0", "it compares `context.local.weekday` with 0, and that is from 1 to 7"),
        ("context.local.weekday != 8", "it compares `context.local.weekday` with 8, and that is from 1 to 7"),
        ("[0, 6].contains(context.local.weekday)", "it compares `context.local.weekday` with 0, and that is from 1 to 7"),
        ("25 == context.local.hour", "it compares `context.local.hour` with 25, and that is from 0 to 23"),
        ("context.local.hour == 24", "it compares `context.local.hour` with 24, and that is from 0 to 23"),
        ("context.local.hour >= 1700", "it compares `context.local.hour` with 1700, and that is from 0 to 23"),
        ("context.local.minute > 61", "it compares `context.local.minute` with 61, and that is from 0 to 59"),
        ('context.local.date == "24.12.2026"', "it compares `context.local.date` with `24.12.2026`, which is no date such as `2026-11-22`"),
        ('context.local.date == "2026-02-30"', "it compares `context.local.date` with `2026-02-30`, which is no date such as `2026-11-22`"),
        ('context.local.date == "2026-1-5"', "it compares `context.local.date` with `2026-1-5`, which is no date such as `2026-11-22`"),
        (
            '["2026-12-24", "2026-12-32"].contains(context.local.date)',
            "it compares `context.local.date` with `2026-12-32`, which is no date such as `2026-11-22`",
        ),
    ],
)
def test_a_time_that_no_clock_shows_does_not_load(condition: str, problem: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        decide(condition, at("2026-11-22T09:30:00"))
    assert caught.value.problems == (f"policies/test.cedar:2: policy `window`: {problem}",)


@pytest.mark.parametrize(
    "condition",
    [
        "context.local.hour < 24",
        "context.local.weekday > 0",
        "context.local.minute <= 60",
        "context.local.hour * 60 + context.local.minute < 1700",
        "context.local.hour + 1 == 24",
        'context.local.date like "2026-12-*"',
        'context.input == context.input || context.environment == "24.12.2026"',
    ],
)
def test_what_a_clock_can_show_loads(condition: str) -> None:
    assert decide(condition, at("2026-11-22T09:30:00")).code in {"allowed", "forbidden"}

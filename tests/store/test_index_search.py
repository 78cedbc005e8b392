"""Whatever was taken in whatever order, a search finds what a scan of all records finds, page by page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licet.ledger.record import Kind
from licet.store import index_ask, index_text
from licet.store.index import Index
from licet.store.index_ask import AT_LIMIT_US, Page, Place, Query
from licet.store.index_take import IndexRow
from licet.store.index_terms import Field, term
from tests.store.index_samples import AT, row, row_of

ALICE, DANA, CUSTOMER, ACCOUNT = (letter * 32 for letter in "abcd")
TIMES = st.sampled_from([AT, AT, AT, AT + 1, AT + 2, AT + 3_600_000_000, AT - 86_400_000_000, 0, -5, 1 << 52, 1 << 60, 1 << 80])
WORDS = ("refund", "C-412", "late")
VALUES: dict[Field, tuple[str, ...]] = {
    "log": ("acme", "Acme", "operator"),
    "kind": ("intent", "vote"),
    "agent": ("bot", "Bot", "b_6ft", "bot "),
    "service": ("bot", "cron"),
    "user": (ALICE, DANA),
    "actor": ("bot", ALICE, "cron"),
    "session": ("s" * 300, "s" * 299 + "t", 'AND "', "ключ"),
    "tool": ("a.b", "a_b", ""),
    "access": ("read", "write"),
    "target": (f"Customer::{CUSTOMER}", f"Account::{CUSTOMER}", f"Account::{ACCOUNT}", "Tenant::acme", "User::acme", "acme"),
    "target_type": ("Customer", "Account", "Tenant"),
    "verdict": ("allow", "deny"),
    "code": ("allowed", "no_permit"),
    "outcome": ("ok", "timeout"),
    "policy": ("p1", "p2"),
    "obligation": ("p1", "p2"),
    "decided_by": ("policy", "human"),
    "workflow": ("w1", "w-1"),
    "trace_id": ("0" * 32, "1" * 32),
    "call": ("i1", "i2"),
    "request": ("r1", "r2"),
    "environment": ("test", "production"),
    "voter": (DANA, ALICE),
    "subject": (ALICE, DANA, CUSTOMER, ACCOUNT, "e" * 32),
}


def some(field: Field) -> st.SearchStrategy[str]:
    return st.sampled_from(VALUES[field])


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ENVELOPES = st.fixed_dictionaries(
    {"at": TIMES, "kind": some("kind"), "environment": some("environment")},
    optional={
        "actor": optional(agent=some("agent"), service=some("service"), user=some("user"), session=some("session")),
        "tool": st.fixed_dictionaries({"name": some("tool"), "access": st.none() | some("access")}),
        "targets": st.lists(st.sampled_from([f"Customer::{CUSTOMER}", f"Account::{ACCOUNT}", "Tenant::acme"]), unique=True),
        "decision": st.fixed_dictionaries(
            {"verdict": some("verdict"), "code": some("code")},
            optional={
                "policies": st.lists(some("policy"), unique=True),
                "obligations": st.lists(some("obligation"), unique=True),
                "decided_by": some("decided_by"),
            },
        ),
        "approval": st.fixed_dictionaries({"request": some("request")}, optional={"voters": st.lists(some("voter"), unique=True)}),
        "trace": optional(trace_id=some("trace_id"), workflow=some("workflow")),
        "outcome": st.fixed_dictionaries({"status": some("outcome")}),
        "call": some("call"),
        "payload": st.fixed_dictionaries(
            {"commitment": st.just(""), "length": st.just(0)}, optional={"subjects": st.lists(some("subject"))}
        ),
    },
)
RECORDS = st.lists(st.tuples(some("log"), ENVELOPES, st.none() | st.lists(st.sampled_from(WORDS)).map(" and ".join)), max_size=25)
FILTERS = st.dictionaries(st.sampled_from(sorted(VALUES)), st.just(None), max_size=3).flatmap(
    lambda chosen: st.fixed_dictionaries({field: st.lists(some(field), max_size=2).map(tuple) for field in chosen})
)
BOUNDS = st.none() | st.sampled_from([AT, AT + 1, AT - 1, 0, AT + 10_000_000_000, 1 << 60])
QUERIES = st.builds(Query, filters=FILTERS, text=st.none() | st.sampled_from([*WORDS, "ref* late", "*"]), since_us=BOUNDS, until_us=BOUNDS)


@contextmanager
def open_small(**names: Any) -> Iterator[Index]:
    """An index whose shards and steps are so small that a few records meet every path."""
    with patch.multiple(index_text, SHARD_TEXTS=3), patch.multiple(index_ask, **({"_STEP": 1, "_STEP_LIMIT": 4, "_SPARSE": 1.5} | names)):
        index = Index.open("sqlite::memory:")
        yield index
        index.close()


Taken = tuple[str, int, Mapping[str, Any], str | None]


def fill(index: Index, records: list[tuple[str, dict[str, Any], str | None]], at_once: int) -> list[Taken]:
    counters = {log: itertools.count() for log in VALUES["log"]}
    taken: list[Taken] = [(log, next(counters[log]), envelope, text) for log, envelope, text in records]
    for start in range(0, len(taken), at_once):
        by_log: dict[str, list[IndexRow]] = {}
        for log, number, envelope, text in taken[start : start + at_once]:
            fields = {name: value for name, value in envelope.items() if name not in ("at", "kind")}
            by_log.setdefault(log, []).append(row(number, text, at=envelope["at"], kind=envelope["kind"], **fields))
        index.take_all(by_log.items())
    return taken


def clamped(at: int) -> int:
    return max(0, min(at, AT_LIMIT_US))


def holds(field: Field, value: str, log: str, record: Mapping[str, Any]) -> bool:
    """What a filter means, said without an index."""
    actor, decision, approval = (record.get(name, {}) for name in ("actor", "decision", "approval"))
    targets, trace = record.get("targets", ()), record.get("trace", {})
    people = (actor.get("user"), *approval.get("voters", ()), *[target.split("::")[1] for target in targets if "::acme" not in target])
    has: dict[Field, tuple[Any, ...]] = {
        "log": (log,),
        "kind": (record["kind"],),
        "environment": (record["environment"],),
        "agent": (actor.get("agent"),),
        "service": (actor.get("service"),),
        "user": (actor.get("user"),),
        "session": (actor.get("session"),),
        "actor": (actor.get("agent"), actor.get("service"), actor.get("user")),
        "tool": (record["tool"]["name"],) if "tool" in record else (),
        "access": (record["tool"]["access"],) if "tool" in record else (),
        "target": targets,
        "target_type": tuple(target.split("::")[0] for target in targets),
        "verdict": (decision.get("verdict"),),
        "code": (decision.get("code"),),
        "decided_by": (decision.get("decided_by", "policy"),) if decision else (),
        "policy": decision.get("policies", ()),
        "obligation": decision.get("obligations", ()),
        "outcome": (record.get("outcome", {}).get("status"),),
        "workflow": (trace.get("workflow"),),
        "trace_id": (trace.get("trace_id"),),
        "call": (record.get("call"),),
        "request": (approval.get("request"),),
        "voter": approval.get("voters", ()),
        "subject": (*people, *record.get("payload", {}).get("subjects", ())),
    }
    if field == "target" and value == f"Account::{CUSTOMER}":  # a pseudonym is one subject's: the type adds nothing
        return f"Customer::{CUSTOMER}" in targets
    return value in has[field]


def matches(query: Query, taken: Taken) -> bool:
    log, _, record, text = taken
    if not all(any(holds(field, value, log, record) for value in values) for field, values in query.filters.items()):
        return False
    at = clamped(record["at"])
    if not clamped(query.since_us or 0) <= at < (1 << 62 if query.until_us is None else query.until_us):
        return False
    if query.text is None:
        return True
    needed = {"ref* late": ("refund", "late"), "*": ("no such word",)}.get(query.text, (query.text,))
    return text is not None and all(word in text for word in needed)


def all_pages(index: Index, query: Query, limit: int, patience_s: float = 10) -> list[Page]:
    pages = [index.search(query, limit=limit, patience_s=patience_s)]
    while pages[-1].next is not None:
        pages.append(index.search(query, limit=limit, after=pages[-1].next, patience_s=patience_s))
    return pages


@settings(deadline=None, max_examples=150)
@given(RECORDS, st.lists(QUERIES, min_size=3, max_size=6), st.integers(1, 9), st.integers(1, 5), st.sampled_from([10.0, 0.0]))
def test_pages_together_are_what_a_scan_finds(
    records: list[tuple[str, dict[str, Any], str | None]], queries: list[Query], at_once: int, limit: int, patience_s: float
) -> None:
    with open_small() as index:
        taken = fill(index, records, at_once)
        for query in queries:
            expected = {
                (log, number): clamped(record["at"]) for log, number, record, text in taken if matches(query, (log, number, record, text))
            }
            places = [place for page in all_pages(index, query, limit, patience_s) for place in page.places]
            assert len(places) == len(expected)
            assert {(place.log, place.index): place.at for place in places} == expected
            assert [place.at for place in places] == sorted(expected.values(), reverse=True)
            for later, earlier in itertools.pairwise(places):
                assert later.at > earlier.at or later.log != earlier.log or later.index > earlier.index
            count = index.count(query, limit=limit, patience_s=10)
            assert (count.number, count.exact) == (min(limit, len(expected)), len(expected) <= limit)
            moments = index.moments(query, limit=limit, patience_s=10)
            assert (list(moments.at), moments.exact) == (sorted(expected.values(), reverse=True)[:limit], len(expected) <= limit)
            if moments.exact:
                decided = [
                    (clamped(record["at"]), record.get("decision", {}).get("verdict", ""))
                    for log, number, record, text in taken
                    if (log, number) in expected
                ]
                assert sorted(zip(moments.at, moments.verdicts, strict=True)) == sorted(decided)


@pytest.mark.parametrize("field", sorted(VALUES))
def test_each_field_finds_its_value_and_no_other(field: Field) -> None:
    full: dict[str, Any] = {
        "at": AT,
        "kind": "intent",
        "environment": "test",
        "actor": {"agent": "bot", "service": "cron", "user": ALICE, "session": "s" * 300},
        "tool": {"name": "a.b", "access": "write"},
        "targets": [f"Customer::{CUSTOMER}"],
        "decision": {"verdict": "deny", "code": "no_permit", "policies": ["p1"], "obligations": ["p2"], "decided_by": "human"},
        "approval": {"request": "r1", "voters": [DANA]},
        "trace": {"trace_id": "0" * 32, "workflow": "w1"},
        "outcome": {"status": "ok"},
        "call": "i1",
    }
    with open_small() as index:
        taken = fill(index, [("acme", full, None), ("operator", {"at": AT, "kind": "gap", "environment": "else"}, None)], 2)
        found = {value: [place.log for place in index.search(Query(filters={field: (value,)})).places] for value in VALUES[field]}
        assert ["acme"] in found.values()
        for value, logs in found.items():
            assert logs == [
                log for log, *_ in reversed(taken) if matches(Query(filters={field: (value,)}), next(t for t in taken if t[0] == log))
            ]


@given(st.text(), st.text(), st.sampled_from(["session", "agent"]))
def test_two_values_never_make_the_same_term(one: str, other: str, field: str) -> None:
    assert (term(field, one) == term(field, other)) == (one == other)
    assert term("session", one) != term("agent", other)


def test_an_unknown_field_is_refused() -> None:
    with open_small() as index, pytest.raises(KeyError):
        index.search(Query(filters={"colour": ("red",)}))  # type: ignore[dict-item]


def test_a_field_has_a_thousand_values_at_most() -> None:
    values = tuple(f"agent-{number}" for number in range(1001))
    with open_small() as index:
        index.take("acme", [row(0, actor={"agent": "agent-999"})])
        assert len(index.search(Query(filters={"agent": values[:1000]})).places) == 1
        with pytest.raises(ValueError, match="at most 1000 values of `agent`, not 1001"):
            index.search(Query(filters={"agent": values}))


def test_a_field_without_values_matches_nothing() -> None:
    with open_small() as index:
        index.take("acme", [row(0)])
        assert index.search(Query(filters={"log": ()})) == Page((), None)


def test_thousands_of_records_in_one_microsecond_are_all_found_in_order() -> None:
    with open_small() as index:
        index.take("acme", [row(number) for number in range(3000)])
        index.take("acme", [row(number) for number in range(3000, 5000)])
        index.take("operator", [row(0, at=AT + 1), row(1, at=AT - 1)])
        index.take("acme", [row(number) for number in range(5000, 5010)])
        places = [place for page in all_pages(index, Query(filters={"log": ("acme",)}), 1000) for place in page.places]
        assert [place.index for place in places] == list(range(5009, -1, -1))
        assert AT <= places[-1].at <= places[0].at <= AT + 2
        assert index.search(Query(filters={"log": ("operator",)})).places[-1] == Place("operator", 1, AT - 1)


def test_records_that_come_while_somebody_turns_pages_are_neither_repeated_nor_shift_anything() -> None:
    with open_small() as index:
        index.take("acme", [row(number, at=AT + 10 * number) for number in range(20)])
        seen: list[int] = []
        cursor: str | None = None
        for number in range(20, 200):
            page = index.search(Query(), limit=3, after=cursor)
            seen += [place.index for place in page.places]
            cursor = page.next
            if cursor is None:
                break
            index.take("acme", [row(number, at=AT + 10 * number)])
            index.take("operator", [row(number - 20, at=AT + 10_000 + number)])
        assert seen == list(range(19, -1, -1))


@pytest.mark.parametrize("cursor", ["", "x", "-1", "0x10", " 1", "01", "1_0", "f" * 40, "\N{ARABIC-INDIC DIGIT ONE}", "8000000000000000"])
def test_a_cursor_that_no_page_gave_is_refused(cursor: str) -> None:
    with open_small() as index, pytest.raises(ValueError, match="is not where a page ended"):
        index.search(Query(), after=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_size(limit: int) -> None:
    with open_small() as index, pytest.raises(ValueError, match="a page has 1 to 1000 records"):
        index.search(Query(), limit=limit)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b'{"kind":1,"at":1}',
        b'{"kind":"a"}',
        b'{"kind":"a","at":1.5}',
        b"[" * 5000,
        b'{"kind":"a","at":1,"tool":null}',
    ],
)
def test_an_envelope_that_cannot_be_decoded_is_found_as_such_at_the_time_before_it(garbage: bytes) -> None:
    with open_small() as index:
        index.take("acme", [row(0), row_of(1, garbage), row(2)])
        assert index.search(Query(filters={"kind": ("unreadable",)})).places == (Place("acme", 1, AT),)
        assert len(index.search(Query()).places) == 3


@pytest.mark.parametrize("sparse", [0.0, 100.0, 1e9])
def test_text_and_filters_meet_whichever_is_rarer(sparse: float) -> None:
    with open_small(_STEP=8, _STEP_LIMIT=32, _SPARSE=sparse) as index:
        rows = [
            row(number, "common rare" if number % 97 == 0 else "common", at=AT + number, call=f"c{number % 89}", actor={"agent": "bot"})
            for number in range(1000)
        ]
        index.take("acme", rows)
        for text, filters in (("rare", {"agent": ("bot",)}), ("common", {"call": ("c7",)}), ("rare", {"call": ("c7",)})):
            query = Query(text=text, filters=filters)  # type: ignore[arg-type]
            expected = [
                number
                for number in range(999, -1, -1)
                if (text == "common" or number % 97 == 0) and ("call" not in filters or number % 89 == 7)
            ]
            assert [place.index for page in all_pages(index, query, 7) for place in page.places] == expected


NEARLY_ALL = (*[kind for kind in get_args(Kind) if kind != "access"], "unreadable")


@pytest.mark.parametrize("logs", [None, ("acme",), ("acme", "operator"), ("operator",)])
@pytest.mark.parametrize("filters", [{}, {"environment": ("test",)}])
def test_nearly_every_kind_is_every_kind_but_the_others(logs: tuple[str, ...] | None, filters: dict[Field, tuple[str, ...]]) -> None:
    with open_small() as index:
        for log in ("acme", "operator"):
            kinds = ["intent", "access", "outcome", "access", "denial"]
            index.take(log, [row(number, "word", at=AT + number, kind=kind, environment="test") for number, kind in enumerate(kinds)])
        chosen: dict[Field, tuple[str, ...]] = {**filters, "kind": NEARLY_ALL} | ({} if logs is None else {"log": logs})
        expected = {(log, number) for log in logs or ("acme", "operator") for number in (0, 2, 4)}
        for text in (None, "word"):
            query = Query(filters=chosen, text=text)
            assert {(place.log, place.index) for place in index.search(query).places} == expected
            assert index.count(query).number == len(index.moments(query).at) == len(expected)


@pytest.mark.parametrize("sizes", [(40, 3, 2), (3, 3, 3), (1, 30, 20)])
@pytest.mark.parametrize(
    "chosen", [n for size in range(1, 5) for n in itertools.combinations(("large", "acme", "operator", "unknown"), size)]
)
def test_no_record_of_a_log_that_is_not_looked_in_is_found_whichever_is_shorter_to_read(
    sizes: tuple[int, ...], chosen: tuple[str, ...]
) -> None:
    with open_small() as index:
        for log, size in zip(("large", "acme", "operator"), sizes, strict=True):
            index.take(log, [row(number, "word", at=AT + number, environment="test" if number % 2 else "live") for number in range(size)])
        for filters in ({}, {"environment": ("live",)}, {"environment": ("live", "test"), "kind": ("intent",)}, {"kind": NEARLY_ALL}):
            for text in (None, "word"):
                query = Query(filters={**filters, "log": chosen}, text=text)  # type: ignore[dict-item]
                every = [place for log in chosen for place in index.search(Query(filters={**filters, "log": (log,)}, text=text)).places]  # type: ignore[dict-item]
                places = index.search(query).places
                assert {place.log for place in every} <= set(chosen)
                assert len(every) == sum(
                    1
                    for log, size in zip(("large", "acme", "operator"), sizes, strict=True)
                    if log in chosen
                    for number in range(size)
                    if "test" in filters.get("environment", ("test",)) or not number % 2
                )
                assert set(places) == set(every)
                assert index.count(query).number == len(index.moments(query).at) == len(every)


def test_a_kind_that_is_not_known_here_is_found_as_what_cannot_be_read() -> None:
    with open_small() as index:
        index.take("acme", [row(0, kind="intent"), row(1, kind="novel")])
        for more in ({}, {"log": ("acme",)}, {"environment": ("test",)}):
            for kinds, expected in ((("unreadable",), {1}), (NEARLY_ALL, {0, 1}), (("intent",), {0})):
                query = Query(filters={**more, "kind": kinds})  # type: ignore[dict-item]
                assert {place.index for place in index.search(query).places} == expected

"""Which URIs are a template's."""

from __future__ import annotations

import itertools

import pytest

from licet.gateway.uri_templates import EXPRESSIONS_LIMIT, UriTemplate


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("a://{id}", "a://1"),
        ("a://{id}/data", "a://x y?z/data"),
        ("a://{id}{more}", "a://12"),
        ("file://{+path}", "file:///a/b.txt"),
        ("file:///{path*}", "file:///a"),
        ("a://x{/part*}", "a://x/1/2"),
        ("a://x{/part*}", "a://x"),
        ("a://x{?q,r}", "a://x?q=1&r=2/3"),
        ("a://x{?q,r}", "a://x"),
        ("a://x?fixed=1{&q}", "a://x?fixed=1&q=2"),
        ("a://x{#f}", "a://x#f/g"),
        ("a://x{.kind}", "a://x.json"),
        ("a://x{;p}", "a://x;p=1"),
        ("{a}/{b}", "aa/bb"),
        ("{+a}-{+b}", "1-2-3"),
    ],
)
def test_a_uri_of_a_template_matches_it(template: str, uri: str) -> None:
    assert UriTemplate(template).matches(uri)


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("a://{id}", "a://"),
        ("a://{id}", "a://1/2"),
        ("a://{id}", "b://1"),
        ("a://{id}/data", "a://1/dat"),
        ("a://{id}/data", "a://1/data/"),
        ("a://x{?q}", "a://xq=1"),
        ("a://x{/p}", "a://xy"),
        ("a://{+path}.txt", "a://.txt"),
        ("{a}/{b}", "aa/"),
    ],
)
def test_any_other_does_not(template: str, uri: str) -> None:
    assert not UriTemplate(template).matches(uri)


@pytest.mark.parametrize("template", ["", "a://b", "a://{", "a://}", "a://{}", "a://{{x}}", "a://{x", "a://{x}" + "y" * 3_000])
def test_what_is_no_template_matches_nothing(template: str) -> None:
    assert not any(UriTemplate(template).matches(uri) for uri in ("", template, "a://b", "a://x"))


def test_a_template_of_too_many_expressions_matches_nothing() -> None:
    assert UriTemplate("{a}-" * EXPRESSIONS_LIMIT).matches("1-" * EXPRESSIONS_LIMIT)
    assert not UriTemplate("{a}-" * (EXPRESSIONS_LIMIT + 1)).matches("1-" * (EXPRESSIONS_LIMIT + 1))


def test_a_template_made_to_take_long_looks_at_each_character_once_for_each_of_its_parts() -> None:
    looked = itertools.count()

    class Counted(str):
        __slots__ = ()

        def __getitem__(self, place: object) -> str:
            next(looked)
            return super().__getitem__(place)  # type: ignore[index]

    assert not UriTemplate("{a}" * EXPRESSIONS_LIMIT + "!").matches(Counted("x" * 8_192))
    assert next(looked) <= EXPRESSIONS_LIMIT * 8_192

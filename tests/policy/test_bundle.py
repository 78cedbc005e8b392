from __future__ import annotations

import hashlib
from pathlib import Path

import cedarpy
import pytest

from licet.errors import PolicyInvalid
from licet.policy.bundle import Bundle
from licet.policy.evaluation import policy_set
from licet.policy.obligations import ObligationRule
from tests.policy.scene import BASE, TEXTS

PERMIT = "permit (principal, action, resource);"


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyInvalid) as caught:
        Bundle.from_texts({"p/a.cedar": text})
    return caught.value.problems


def test_a_policy_has_its_id_place_text_digest_and_obligation() -> None:
    bundle = Bundle.from_texts(TEXTS)
    assert [(one.id, one.effect, one.place) for one in bundle.policies] == [
        ("tenant-wall", "forbid", "policies/base.cedar:2"),
        ("support-reads", "permit", "policies/base.cedar:7"),
        ("billing-adjust", "permit", "policies/billing.cedar:1"),
        ("billing-needs-lead", "forbid", "policies/billing.cedar:5"),
        ("suspend", "permit", "policies/billing.cedar:11"),
        ("suspension-needs-two", "forbid", "policies/billing.cedar:15"),
    ]
    wall = bundle.get_policy("tenant-wall")
    assert wall.text == BASE[BASE.index("@id") : BASE.index(";", BASE.index("@id")) + 1]
    assert wall.digest == hashlib.sha256(wall.text.encode()).hexdigest()
    assert (wall.reason, wall.obligation) == ("targets of other tenants are out of reach", None)
    lead = bundle.get_policy("billing-needs-lead")
    assert lead.obligation == ObligationRule(kind="approval", count=1, group="billing-leads")


def test_files_are_read_in_order_of_their_names_and_nothing_else_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    (folder / "more").mkdir(parents=True)
    for name, text in {
        "b.cedar": f'@id("b") {PERMIT}',
        "a.cedar": f'\n@id("a") {PERMIT}',
        "a.test.yaml": "cases: []",
        "more/c.cedar": "broken",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    bundle = Bundle.read(folder)
    assert [one.place for one in bundle.policies] == ["policies/a.cedar:2", "policies/b.cedar:1"]
    again = Bundle.from_content(bundle.content)
    assert (again.digest, again.policies) == (bundle.digest, bundle.policies)
    assert bundle.digest == hashlib.sha256(bundle.content).hexdigest()


def test_the_digest_changes_with_every_byte_and_not_with_the_order_of_files() -> None:
    digest = Bundle.from_texts(TEXTS).digest
    assert Bundle.from_texts(dict(reversed(TEXTS.items()))).digest == digest
    assert Bundle.from_texts({**TEXTS, "policies/base.cedar": BASE + "\n"}).digest != digest


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        (
            f'@id("a;b") {PERMIT} // ; "\n\n// @id("no")\n  @id("c")\n{PERMIT}\n// end ; "',
            [(1, f'@id("a;b") {PERMIT}'), (4, f'@id("c")\n{PERMIT}')],
        ),
        (
            '@id("a") permit (principal, action, resource) when { "\\";//" == "\\\\" };@id("b") forbid (principal, action, resource);',
            [
                (1, '@id("a") permit (principal, action, resource) when { "\\";//" == "\\\\" };'),
                (1, '@id("b") forbid (principal, action, resource);'),
            ],
        ),
        (
            '@id("a")\npermit (principal,\r\naction, resource) when { "two\nlines" == "a" };\n@id("b")' + PERMIT,
            [(1, None), (5, f'@id("b"){PERMIT}')],
        ),
    ],
)
def test_a_file_is_cut_where_cedar_ends_a_policy(text: str, texts: list[tuple[int, str | None]]) -> None:
    bundle = Bundle.from_texts({"a.cedar": text})
    assert [(one.line, one.text if expected else None) for one, (_, expected) in zip(bundle.policies, texts, strict=True)] == texts


def test_the_trees_that_are_evaluated_are_the_texts_that_are_shown() -> None:
    for policy in Bundle.from_texts(TEXTS).policies:
        whole = cedarpy.PolicySet.from_str(policy.text).to_pst().static_policies["policy0"]
        made = policy_set([policy.tree]).to_pst().static_policies[policy.id]
        assert (made.effect, made.principal, made.action, made.resource, made.clauses) == (
            whole.effect,
            whole.principal,
            whole.action,
            whole.resource,
            whole.clauses,
        )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PERMIT, "p/a.cedar:1: a policy needs an `@id`"),
        (f'@id("") {PERMIT}', "p/a.cedar:1: a policy needs an `@id`"),
        (f"@id {PERMIT}", "p/a.cedar:1: a policy needs an `@id`"),
        (f'@id("a b") {PERMIT}', "p/a.cedar:1: policy `a b`: the id `a b` cannot be used: it has a space in it"),
        (f'\n@id("a")\n@ressaon("x") {PERMIT}', "p/a.cedar:2: policy `a`: unknown annotation `@ressaon`"),
        (f'@id("a") @Preview_only {PERMIT}', "p/a.cedar:1: policy `a`: unknown annotation `@Preview_only`"),
        (f'@id("a") @preview_only {PERMIT}', "p/a.cedar:1: policy `a`: `@preview_only` softens a `forbid` and means nothing on a `permit`"),
        (f'@id("a") @id("b") {PERMIT}', "p/a.cedar:1: cannot be read: duplicate annotation: @id"),
        (
            '@id("a") @preview_only @require_confirmation forbid (principal, action, resource);',
            "p/a.cedar:1: policy `a`: `@preview_only` and `@require_confirmation` must stand on two policies: a vote is for one obligation",
        ),
        (
            '@id("a") @preview_only("yes") forbid (principal, action, resource);',
            "p/a.cedar:1: policy `a`: `@preview_only` takes no value, found `yes`",
        ),
        (
            '@id("a") permit (principal == ?principal, action, resource);',
            "p/a.cedar:1: templates (`?principal`, `?resource`) cannot be used: nothing would ever link them",
        ),
        (
            f'@id("a") {PERMIT}\n@id("b")\npermit (principal, action,\n resource) when {{\n  1 +\n}};',
            "p/a.cedar:6: cannot be read: unexpected token `}`",
        ),
        (f'@id("a")\npermit (principal, action, resource)\n\n@id("b") {PERMIT}', "p/a.cedar:4: cannot be read: unexpected token `@`"),
        ('@id("a")\npermit (principal, action, resource)\nwhen { "never ends };', "p/a.cedar:3: cannot be read: invalid token"),
        (
            '@id("a")\npermit (principal, action, resource) when {\n  nope(1) };',
            "p/a.cedar:3: cannot be read: `nope` is not a valid function",
        ),
        (f'@id("a") {PERMIT}\n@id("b") permit (principal, action, resource)', "p/a.cedar:2: cannot be read: unexpected end of input"),
        (f'@id("a") {PERMIT};', "p/a.cedar:1: cannot be read: unexpected token `;`"),
        (f'@id("a") {PERMIT} and more', "p/a.cedar:1: cannot be read: unexpected token `more`"),
        ("", "there are no policies: nothing would ever be permitted"),
        ("// only a comment", "there are no policies: nothing would ever be permitted"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(text: str, told: str) -> None:
    assert problems(text) == (told,)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1",
        'Group::"g"',
        '0 of Group::"g"',
        '1 of Group::""',
        '100 of Group::"g"',
        '01 of Group::"g"',
        '1 of Role::"g"',
        '1 of Group::"g" ',
        "1 of g",
        '1 of Group::"g\\\\"',
    ],
)
def test_an_approval_that_does_not_say_how_many_of_whom_does_not_load(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    (told,) = problems(f'@id("a") @require_approval("{escaped}") forbid (principal, action, resource);')
    assert told.startswith('p/a.cedar:1: policy `a`: `@require_approval` must be "N of Group::\\"name\\"" with N from 1 to 99, found `')


def test_an_id_is_unique_over_all_files_and_every_problem_is_reported_at_once() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        Bundle.from_texts({"a.cedar": f'@id("a") {PERMIT}\n{PERMIT}', "b.cedar": f'\n@id("a") {PERMIT}\n@id("b") @nope {PERMIT}'})
    assert caught.value.problems == (
        "a.cedar:2: a policy needs an `@id`",
        "b.cedar:2: the id `a` is taken by a.cedar:1",
        "b.cedar:3: policy `b`: unknown annotation `@nope`",
    )
    assert str(caught.value) == "; ".join(caught.value.problems)


def test_a_folder_that_is_not_there_empty_or_unreadable_is_refused(tmp_path: Path) -> None:
    for folder, told in ((tmp_path / "no", "is not a folder"), (tmp_path, "has no `*.cedar` file")):
        with pytest.raises(PolicyInvalid, match=told.replace("*", r"\*")):
            Bundle.read(folder)
    (tmp_path / "latin.cedar").write_bytes(b'@id("caf\xe9")')
    with pytest.raises(PolicyInvalid, match=r"latin\.cedar: cannot be read"):
        Bundle.read(tmp_path)


def test_a_stored_bundle_that_is_not_one_is_refused() -> None:
    for content in (b"", b"[]", b'{"a.cedar": 1}', b'{"a.cedar": ""}'):
        with pytest.raises(PolicyInvalid):
            Bundle.from_content(content)


def test_conditions_nested_beyond_what_can_be_read_do_not_load() -> None:
    deep = "!(" * 200 + "true" + ")" * 200
    (told,) = problems(f'@id("a") permit (principal, action, resource) when {{ {deep} }};')
    assert told.startswith("p/a.cedar:1: cannot be read: ")


def test_a_carriage_return_ends_a_comment_as_it_does_for_the_engine() -> None:
    text = f'@id("p") {PERMIT}\n// a note\r@id("f") forbid (principal, action, resource);'
    assert len(cedarpy._internal.PolicySet.from_str(text).to_pst().static_policies) == 2
    assert [policy.id for policy in Bundle.from_texts({"p/a.cedar": text}).policies] == ["p", "f"]

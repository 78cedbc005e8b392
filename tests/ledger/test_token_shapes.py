from __future__ import annotations

import importlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.ledger.token_checks import MARKER, is_card_number
from licet.ledger.token_shapes import SHAPES, could_hold_token, find_tokens, is_credential_by_key, json_could_hold_token

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/redaction_v1.json").read_text())["tokens"]
IDS = [f"{vector['shape']}-{number}" for number, vector in enumerate(VECTORS)]
NEEDS_CONTEXT = {"aws_secret_key", "slack_webhook", "discord_webhook", "telegram_token", "azure_sas", "aws_signature", "bearer_token"}
NEEDS_CONTEXT |= {"basic_credentials", "authorization", "url_password", "credential"}
ALONE = [vector for vector in VECTORS if vector["shape"] not in NEEDS_CONTEXT]
sre: Any = importlib.import_module("re._constants")  # the tree of a pattern has no public name
parser: Any = importlib.import_module("re._parser")


def found(text: str) -> list[tuple[str, str]]:
    return [(token.name, text[token.start : token.end]) for token in find_tokens(text)]


@pytest.mark.parametrize("name", {shape.name for shape in SHAPES})
def test_the_name_of_a_shape_fits_into_a_marker(name: str) -> None:
    assert MARKER.fullmatch(f"(secret {name}, hmac {'0' * 32})")


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_no_credential_hides_in_a_marker_that_was_made_up(vector: dict[str, Any]) -> None:
    if vector["shape"] not in NEEDS_CONTEXT:
        secret = "".join(vector["hidden"])
        assert found(f"(secret {secret}, hmac {'0' * 32})") == [(vector["shape"], secret)]


def test_every_shape_has_a_sample() -> None:
    assert {vector["shape"] for vector in VECTORS} | {"aws_secret_key"} == {shape.name for shape in SHAPES}


@pytest.mark.parametrize("vector", VECTORS, ids=IDS)
def test_a_sample_is_found_whole_and_nothing_else(vector: dict[str, Any]) -> None:
    secret = "".join(vector["hidden"])
    assert found(vector["before"] + secret + vector["after"]) == [(vector["shape"], secret)]


@pytest.mark.parametrize(
    "before", ["", " ", "\n", "\\n", "=", ": ", '"', "'", "(", "[", "/", "%3D", "%22", ",", ";", "|", "`", "é", "<", "\x00"]
)
def test_a_token_is_found_behind_whatever_may_stand_before_it(before: str) -> None:
    for vector in ALONE:
        secret = "".join(vector["hidden"])
        if vector["shape"] == "card_number" and before == "/":
            continue  # digits in a path are an identifier
        assert found(f"{before}{secret} x") == [(vector["shape"], secret)]


@pytest.mark.parametrize("after", ["", " ", "\n", '"', "'", ")", ",", ";", "&x=1", "%22", "`", "é", "<", "\x00", "]"])
def test_a_token_is_found_in_front_of_whatever_may_stand_behind_it(after: str) -> None:
    for vector in ALONE:
        secret = "".join(vector["hidden"])
        assert found(f"x {secret}{after}") == [(vector["shape"], secret)]


@given(st.sampled_from([vector for vector in ALONE if vector["shape"] != "private_key"]), st.sampled_from(ALONE))
def test_two_tokens_in_one_text_are_two(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, two = "".join(first["hidden"]), "".join(second["hidden"])
    assert found(f"{one} {two}") == [(first["shape"], one), (second["shape"], two)]


def test_a_pair_of_aws_keys_is_two_secrets() -> None:
    key, secret = "AK" + "IAIOSFODNN7ABCDEFG", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYabcdefghij"
    expected = [("aws_access_key_id", key), ("aws_secret_key", secret)]
    assert found(f"{key},{secret}\n") == expected
    assert found(f'{key}", "{secret}"') == expected


def test_what_covers_several_shapes_is_hidden_as_one() -> None:
    secret = "gh" + "p_" + "a1B2" * 9
    assert found(f"password={secret}!!") == [("github_token", f"{secret}!!")]
    assert found(f"Authorization: Bearer {secret}") == [("github_token", secret)]


UUID = "123e4567-e89b-12d3-a456-426614174000"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize(
    "text",
    [
        UUID,
        f"sha256:{DIGEST}",
        f"commit {DIGEST[:40]}",
        f"task-{DIGEST[:32]}",
        f"ask-{DIGEST[:32]} desk-{DIGEST}",
        "sk-learn, scikit-learn and sk-learn-contrib",
        "sk-some-long-name-of-a-branch-that-somebody-made",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4",
        "order 4111111111111111",
        'Order::"4111111111111111"',
        "order_id: 4111111111111111",
        "orderId=4111111111111111",
        "Invoice no. 4111111111111111",
        "tracking number 4111 1111 1111 1111",
        "4111111111111112",
        "4111-11111111-1111",
        "41111111111111111",
        "0.4111111111111111",
        "x4111111111111111",
        "/items/4111111111111111",
        "0000000000000000",
        "4444444444444444",
        "+49 171 1234567 890",
        "2026-11-22 13:38:23.123456",
        "1763818703000000",
        "password: required",
        "Password: must be at least 8 characters",
        "the password is wrong, the token expired",
        "password=${DB_PASSWORD}",
        'password="<password>"',
        "password: ********",
        "password=os.environ['DB_PASSWORD']",
        "password == other",
        "password => 5",
        "password::text",
        "reset_password=true",
        "passwords: a, b",
        "password_hash of nobody",
        "PWD=/home/user",
        "max_tokens=1024 tokens: 4096",
        "next_token=aB3dE5fG7hJ9kL1m",
        "page_token: aB3dE5fG7hJ9kL1m",
        "secret=prod/db/main",
        "token: string",
        "primary_key=customer_id",
        "api key: see the docs",
        "authorization: required",
        "Bearer of the certificate",
        "bearer internationalization",
        "Basic authentication and basic understanding",
        "https://example.com:8080/a@b",
        "https://example.com/a:b@c",
        "git@github.com:owner/repo.git",
        "postgres://app:${PASSWORD}@db/x",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "a PEM file has -----BEGIN PRIVATE KEY----- in it",
        "eyJ.a.b and eyJhbGci",
        "hf_hub_download, npm_config_registry, xoxo-",
        "AKIA is how keys begin",
        "https://hooks.slack.com/services/",
        "SG.short.one",
    ],
)
def test_what_looks_alike_is_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("key", "is_secret"),
    [
        ("password", True),
        ("db_password", True),
        ("userPassword", True),
        ("clientSecret", True),
        ("X-Api-Key", True),
        ("SecretAccessKey", True),
        ("access_token", True),
        ("Authorization", True),
        ("Set-Cookie", True),
        ("token", False),
        ("secret", False),
        ("password_policy", False),
        ("next_token", False),
        ("key", False),
        ("passwords", False),
    ],
)
def test_what_a_key_says(key: str, *, is_secret: bool) -> None:
    assert is_credential_by_key(key, "correct horse") is is_secret
    assert not is_credential_by_key(key, "required")
    assert not is_credential_by_key(key, "")


@pytest.mark.parametrize("key", ["token", "secret", "webhookSecret", "csrf_token"])
def test_what_is_called_a_token_is_one_if_it_looks_drawn_at_random(key: str) -> None:
    assert is_credential_by_key(key, "aB3dE5fG7hJ9kL1m")
    assert is_credential_by_key(key, DIGEST)
    assert not is_credential_by_key(key, "prod/db/main-password")
    assert not is_credential_by_key(key, UUID)


@pytest.mark.parametrize("key", ["nextToken", "next_token", "page_token", "nextPageToken", "continuationToken", "sync-token", "tokens"])
def test_the_token_of_a_page_is_no_credential(key: str) -> None:
    assert not is_credential_by_key(key, "aB3dE5fG7hJ9kL1m")


def luhn(digits: str) -> bool:
    """Luhn's rule, as ISO/IEC 7812-1 annex B tells it."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += sum(map(int, str(int(digit) * (2 if place % 2 else 1))))
    return total % 10 == 0


@given(st.integers(0, 10**15 - 1))
def test_a_card_number_is_one_with_a_right_check_digit_only(rest: int) -> None:
    numbers = [f"4{rest // 10:014d}{last}" for last in range(10)]
    right = [number for number in numbers if is_card_number(number, "")]
    assert right == [number for number in numbers if luhn(number) and len(set(number)) > 1]


# time


def nodes(tree: Any) -> Any:
    """Every operation of a parsed pattern, with its arguments."""
    for operation, argument in tree:
        yield operation, argument
        stack = [argument]
        while stack:
            part = stack.pop()
            if isinstance(part, parser.SubPattern):
                yield from nodes(part)
            elif isinstance(part, list | tuple):
                stack += part


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_no_pattern_repeats_without_end_and_gives_back(shape: Any) -> None:
    repeats = [
        (operation, argument)
        for operation, argument in nodes(parser.parse(shape.pattern, re.ASCII))
        if operation in {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}
    ]
    for operation, (_, most, _) in repeats:
        assert operation is sre.POSSESSIVE_REPEAT or most <= 256


HOSTILE = [
    *(
        "eyJ",
        "eyJa-",
        "eyJaaaaaaaaaaaa.",
        "eyJaaaaaaaaaaaa.b.",
        "\\",
        "\\\\n",
        '\\"',
        "://",
        "://a:",
        "://a:b",
        "-----BEGIN PRIVATE KEY-----",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----AAAAAAAAAAAA",
        "password=",
        'password="',
        "password=\\",
        "password \t",
        "1",
        "4 ",
        "4111 ",
        "4111-1111-",
    ),
    *(
        "ghp_",
        "ghs_.",
        "github_pat_",
        "xoxb-",
        "SG.aaaaaaaaaaaaaaaaaaaaaa.",
        "sk-",
        "sk-proj-",
        "AKIAIOSFODNN7EXAMPLE ",
        "basic ",
        "basic a",
        "bearer a",
        "bearer ",
    ),
    *(
        "authorization: ",
        "--password ",
        "hooks.slack.com\\/",
        "discord.com/",
        "?sig=",
        "0Q~",
        "12345678:AA",
        "(secret a",
        "(secret ",
        "token=",
        "\\u006",
        "dp.pt.",
        "<apiKey>",
    ),
]


def seconds(text: str) -> float:
    started = time.process_time()
    find_tokens(text)
    return time.process_time() - started


@pytest.mark.parametrize("piece", HOSTILE)
def test_work_grows_with_a_hostile_text_and_no_faster(piece: str) -> None:
    """Sixteen times the text: linear work grows about 16 times, quadratic work 256 times."""
    small, large = 2**15, 2**19
    few, many = (piece * (size // len(piece)) for size in (small, large))
    least = max(min(seconds(few) for _ in range(3)), 1e-4)
    assert min(seconds(many) for _ in range(2)) < 64 * least


@given(st.text(), st.sampled_from(VECTORS), st.text())
def test_what_the_triggers_do_not_see_no_pattern_finds(before: str, vector: dict[str, Any], after: str) -> None:
    text = before + vector["before"] + "".join(vector["hidden"]) + vector["after"] + after
    seen = any(re.search(shape.pattern, text, re.ASCII) for shape in SHAPES)
    assert could_hold_token(text) or not seen
    assert json_could_hold_token(json.dumps(text)) or not could_hold_token(text)
    assert json_could_hold_token(json.dumps(text, ensure_ascii=False)) or not could_hold_token(text)

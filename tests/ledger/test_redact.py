from __future__ import annotations

import hashlib
import hmac as hmac_module
import json
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec import Raw

from licet.ledger.record import Payload, decode_payload, encode_payload
from licet.ledger.redact import ECHO_SHORTEST, cut_json, redact_encoded, redact_marked, redact_payload, redact_tokens
from licet.ledger.token_checks import MARKER
from licet.model import Effect, JsonObject, Obligation, Principal, Target

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/redaction_v1.json").read_text())
PEPPER = bytes.fromhex(VECTORS["pepper"])
TOKEN = "gh" + "p_" + "a1B2" * 9


def mac(secret: bytes) -> bytes:
    return hmac_module.digest(PEPPER, secret, "sha256")


def stands(what: str, secret: str, kind: str = "text") -> str:
    return f"(secret {what}, hmac {mac(f'{kind}:{secret}'.encode()).hex()[:32]})"


def text_stands(secret: str) -> str:
    return stands(f"text of {len(secret)} characters", secret)


def never(secret: bytes) -> bytes:
    raise AssertionError("nothing was to be hidden")


# vectors


@pytest.mark.parametrize("vector", VECTORS["tokens"], ids=lambda vector: vector["shape"])
def test_a_token_is_replaced_byte_for_byte(vector: JsonObject) -> None:
    secret = "".join(vector["hidden"])
    document = json.dumps({"text": vector["before"] + secret + vector["after"]}).encode()
    assert redact_tokens(document, mac) == (vector["output"].encode(), (vector["shape"],))
    assert json.loads(vector["output"])["text"] == vector["before"] + stands(vector["shape"], secret) + vector["after"]


@pytest.mark.parametrize("vector", VECTORS["marked"], ids=lambda vector: ",".join(vector["paths"]))
def test_marked_fields_are_replaced_byte_for_byte(vector: JsonObject) -> None:
    assert redact_marked(vector["input"].encode(), vector["paths"], mac) == (vector["output"].encode(), tuple(vector["redactions"]))


@pytest.mark.parametrize("vector", VECTORS["cut"], ids=lambda vector: str(vector["start_characters"]))
def test_what_is_cut_is_cut_byte_for_byte(vector: JsonObject) -> None:
    document = "".join(part * times for part, times in vector["parts"]).encode()
    cut = cut_json(document, vector["limit_bytes"])
    assert hashlib.sha256(cut).hexdigest() == vector["sha256_of_output"]
    content = json.loads(cut)
    assert (content["cut"], content["bytes"], content["sha256"]) == (True, vector["bytes"], hashlib.sha256(document).hexdigest())
    assert document.decode().startswith(content["start"])
    assert len(content["start"]) == vector["start_characters"]


# marked fields


def test_everything_around_a_marked_field_keeps_its_bytes() -> None:
    hidden, redactions = redact_marked(
        b'{"auth": {"token":"hunter22"}, "n": 1.50, "big":123456789012345678901234567890, "x":1e400}', ["auth.token"], mac
    )
    assert hidden == b'{"auth":{"token":"%b"},"n":1.50,"big":123456789012345678901234567890,"x":1e400}' % text_stands("hunter22").encode()
    assert redactions == ("secret:arguments.auth.token",)


def test_equal_secrets_show_equal_hmacs_and_different_ones_do_not() -> None:
    hidden, _ = redact_marked(
        b'{"a":"same","b":"same","c":"other","d":5,"e":"5","f":{"x":1,"y":2},"g":{"y":2,"x":1}}', list("abcdefg"), mac
    )
    shown = {name: text.rpartition(" ")[2] for name, text in json.loads(hidden).items()}
    assert shown["a"] == shown["b"]
    assert shown["f"] == shown["g"]
    assert len(set(shown.values())) == 5


def test_another_pepper_shows_another_hmac() -> None:
    one, _ = redact_marked(b'{"a":"same"}', ["a"], mac)
    two, _ = redact_marked(b'{"a":"same"}', ["a"], lambda secret: hmac_module.digest(b"x" * 32, secret, "sha256"))
    assert one != two


def test_a_token_shows_one_hmac_marked_and_found() -> None:
    hidden, _ = redact_payload(Payload(arguments=Raw(json.dumps({"key": TOKEN}).encode()), reason=None), ("key",), mac)
    found, _ = redact_tokens(json.dumps([TOKEN]).encode(), mac)
    assert bytes(hidden.arguments)[-35:-3] == found[-35:-3]


@pytest.mark.parametrize("value", ["text", "5", "[1]", "true", '{"other":1}'])
def test_what_a_marked_path_cannot_follow_is_hidden(value: str) -> None:
    document = f'{{"auth":{json.dumps(value) if value == "text" else value}}}'.encode()
    hidden, redactions = redact_marked(document, ["auth.token[].x"], mac)
    if value == '{"other":1}':
        assert (hidden, redactions) == (document, ())
    else:
        assert re.fullmatch(r'\{"auth":"\(secret [a-z]+( of [0-9]+ [a-z]+)?, hmac [0-9a-f]{32}\)"\}', hidden.decode())
        assert redactions == ("secret:arguments.auth.token[].x",)


@pytest.mark.parametrize(
    "unreadable",
    [
        b"",
        b"nul",
        b'{"a":"hunter22"',
        b'{"a":"hunter22"}}',
        b'{"a":"\xff"}',
        b'["a"]',
        b'"a"',
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_arguments_that_are_no_object_are_hidden_whole(unreadable: bytes) -> None:
    hidden, redactions = redact_marked(unreadable, ["a"], mac)
    shown = json.loads(hidden)
    assert MARKER.fullmatch(shown["a"] if isinstance(shown, dict) else shown)
    assert b"hunter22" not in hidden
    assert redactions == ("secret:arguments.a",)


def test_null_and_what_is_not_there_are_no_secrets() -> None:
    assert redact_marked(b'{"a":null,"b":{}}', ["a", "b.c", "d", "a.x"], never) == (b'{"a":null,"b":{}}', ())


def test_without_marked_fields_arguments_are_left_alone() -> None:
    assert redact_marked(b'{"a" : 1}', [], never) == (b'{"a" : 1}', ())


secrets = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=4, max_size=40)
names = st.sampled_from(["a", "b", "c.d", "*", "[]", 'q"q', "ü"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | secrets,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def leaves(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in leaves(one)]


@given(
    st.dictionaries(names, values),
    st.lists(st.sampled_from(["a", "a.b", "b[]", "b[].a", "*", "a.*", '"c.d"', '"*"', '"[]".a', '"q\\"q"', "ü.b[]"]), max_size=4),
)
def test_nothing_of_a_hidden_value_is_left(value: JsonObject, paths: list[str]) -> None:
    document = msgspec.json.encode(value)
    hidden, redactions = redact_marked(document, paths, mac)
    left = json.loads(hidden)
    assert bool(redactions) == (left != json.loads(document))
    assert {entry.removeprefix("secret:arguments.") for entry in redactions} <= set(paths)
    gone = set(leaves(value)) - set(leaves(left))
    kept = " ".join(text for text in leaves(left) if not MARKER.fullmatch(text))
    markers = " ".join(text for text in leaves(left) if MARKER.fullmatch(text))
    for secret in gone:
        assert secret not in kept
        assert not any(secret[start : start + 4] in markers for start in range(len(secret) - 3))


# tokens in JSON


def test_without_tokens_a_document_keeps_its_bytes() -> None:
    document = b'{ "a" : [1.50, "x\\u00e9\\/y", null] }'
    assert redact_tokens(document, never) == (document, ())


@pytest.mark.parametrize("escaped", [0, 1, 2, 3, 10, 39])
def test_a_letter_written_as_an_escape_hides_no_token(escaped: int) -> None:
    written = TOKEN[:escaped] + f"\\u{ord(TOKEN[escaped]):04x}" + TOKEN[escaped + 1 :]
    expected = json.dumps({"a": f"x {stands('github_token', TOKEN)} y"})
    assert redact_tokens(f'{{"a": "x {written} y"}}'.encode(), mac) == (expected.encode(), ("github_token",))


def test_a_token_written_in_escapes_only_is_found() -> None:
    written = "".join(f"\\u{ord(letter):04X}" for letter in TOKEN)
    assert redact_tokens(f'"{written}"'.encode(), mac)[0] == json.dumps(stands("github_token", TOKEN)).encode()


def test_escapes_of_json_within_json_hide_no_token() -> None:
    inner = '{"token": "\\u0067' + TOKEN[1:] + '"}'
    hidden, names = redact_tokens(json.dumps({"text": inner}).encode(), mac)
    assert json.loads(json.loads(hidden)["text"]) == {"token": stands("github_token", TOKEN)}
    assert names == ("github_token",)


def test_escapes_of_json_within_json_stay_where_nothing_is_found() -> None:
    document = json.dumps({"text": '{"a": "\\u0067 \\u00e9"}'}).encode()
    assert redact_tokens(document, never) == (document, ())


def test_keys_of_objects_are_looked_at() -> None:
    hidden, _ = redact_tokens(json.dumps({TOKEN: {"a": 1}}).encode(), mac)
    assert json.loads(hidden) == {stands("github_token", TOKEN): {"a": 1}}


def test_what_a_key_calls_a_password_is_one() -> None:
    document = {"db_password": "correct horse", "clientSecret": "abcd", "list": {"password": ["x"], "apiKey": 5}, "password": None}
    hidden, names = redact_tokens(json.dumps(document).encode(), mac)
    expected = {**document, "db_password": stands("credential", "correct horse"), "clientSecret": stands("credential", "abcd")}
    assert json.loads(hidden) == expected
    assert names == ("credential",)


def test_a_member_called_a_token_is_one_if_it_looks_drawn_at_random() -> None:
    document = {"token": "aB3dE5fG7hJ9kL1m", "next_token": "aB3dE5fG7hJ9kL1m", "secret": "prod/db/main"}
    hidden, names = redact_tokens(json.dumps(document).encode(), mac)
    assert json.loads(hidden) == {**document, "token": stands("credential", "aB3dE5fG7hJ9kL1m")}
    assert names == ("credential",)


def test_a_clean_payload_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def look(text: str) -> bool:
        looks.append(text)
        return False

    monkeypatch.setattr("licet.ledger.redact.json_could_hold_token", look)
    monkeypatch.setattr("licet.ledger.redact._redacted", never)
    monkeypatch.setattr("licet.ledger.redact.hide_in_json", never)
    body = encode_payload(Payload(arguments=Raw(b'{"a":1}'), reason="because"))
    assert redact_encoded(body, never) == (body, ())
    assert looks == [body.decode()]


def test_a_placeholder_or_a_short_text_is_no_password() -> None:
    document = json.dumps({"password": "required", "api_key": "${API_KEY}", "passwd": "abc", "password_policy": "long enough"}).encode()
    assert redact_tokens(document, never) == (document, ())


def test_digits_that_a_key_calls_an_identifier_are_no_card() -> None:
    document = {
        "order_id": "4111111111111111",
        "Id": "4111111111111111",
        "tracking_number": "4111 1111 1111 1111",
        "list": ["x"],
        "at": 4111111111111111,
    }
    assert redact_tokens(json.dumps(document).encode(), never)[1] == ()
    assert redact_tokens(b'{"card_number":"4111111111111111"}', mac)[1] == ("card_number",)
    assert redact_tokens(b'{"paid":["4111111111111111"]}', mac)[1] == ("card_number",)


def test_markers_are_left_as_they_are() -> None:
    once, _ = redact_tokens(
        json.dumps({"password": "hunter2", "text": f"password={TOKEN} api_key: 'abcdef' postgres://u:pass@h"}).encode(), mac
    )
    assert redact_tokens(once, never) == (once, ())


@pytest.mark.parametrize(
    "document", [f"it is {TOKEN}.", f'{{"a": {TOKEN}}}', f'"a" {TOKEN}', f'{{"open": "{TOKEN}', f"'{TOKEN}'", f"\x00{TOKEN}\x00"]
)
def test_what_is_no_json_is_text(document: str) -> None:
    hidden, names = redact_tokens(document.encode(), mac)
    assert hidden == document.replace(TOKEN, stands("github_token", TOKEN)).encode()
    assert names == ("github_token",)


def test_bytes_that_are_no_unicode_stay() -> None:
    assert redact_tokens(b'"\xff%b"' % TOKEN.encode(), mac)[0] == b'"\xff%b"' % stands("github_token", TOKEN).encode()


def test_lone_surrogates_and_nul_stay() -> None:
    hidden, _ = redact_tokens(f'{{"a":"\\ud800 {TOKEN} \\u0000\\udfff","b":"\\ud800"}}'.encode(), mac)
    assert json.loads(hidden) == {"a": f"\ud800 {stands('github_token', TOKEN)} \x00\udfff", "b": "\ud800"}


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_depth_hides_no_token(depth: int) -> None:
    hidden, names = redact_tokens(b"[" * depth + json.dumps(TOKEN).encode() + b"]" * depth, mac)
    assert hidden == b"[" * depth + json.dumps(stands("github_token", TOKEN)).encode() + b"]" * depth
    assert names == ("github_token",)


PIECES = [
    '"',
    '\\"',
    '"\\',
    "[",
    '{"password":"',
    '{"a":',
    '"\\u0067',
    "\\\\u0067",
    '"\\\\',
    '"token":"',
    '"(secret ',
    '"a" ',
    '":"',
    '"ghp_", ',
    '"password":"hunter2",',
]


def seconds(document: bytes) -> float:
    started = time.process_time()
    redact_tokens(document, mac)
    return time.process_time() - started


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("before", ["", '"', '["\\u0067", "'])
def test_work_grows_with_a_hostile_document_and_no_faster(before: str, piece: str) -> None:
    """Sixteen times the document: linear work grows about 16 times, quadratic work 256 times."""
    few, many = ((before + piece * (size // len(piece))).encode() for size in (2**15, 2**19))
    least = max(min(seconds(few) for _ in range(3)), 1e-4)
    assert min(seconds(many) for _ in range(2)) < 64 * least


def shape(value: Any) -> Any:
    """A value with its strings blotted out."""
    if isinstance(value, str):
        return ""
    if isinstance(value, list):
        return [shape(item) for item in value]
    return [(shape(name), shape(inner)) for name, inner in value.items()] if isinstance(value, dict) else value


samples = st.sampled_from(["".join(vector["hidden"]) for vector in VECTORS["tokens"]])
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | samples
    | st.tuples(st.text(), samples, st.text()).map("".join),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(["password", "token", "id"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(anything, st.booleans(), st.sampled_from([None, 1]))
@example({"a\ud800": "password=\ud800abcd"}, True, None)
def test_any_json_stays_json_of_the_same_structure(value: Any, ascii_only: bool, indent: int | None) -> None:  # noqa: FBT001
    document = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    hidden, names = redact_tokens(document, mac)
    assert shape(json.loads(hidden.decode("utf-8", "surrogatepass"))) == shape(json.loads(document.decode("utf-8", "surrogatepass")))
    assert (hidden != document) == bool(names)
    assert redact_tokens(hidden, mac)[0] == hidden


@given(
    st.text(),
    st.sampled_from(
        [vector for vector in VECTORS["tokens"] if vector["shape"] in {"github_token", "stripe_key", "npm_token", "openai_key"}]
    ),
    st.text(),
)
def test_nothing_of_a_token_is_left(before: str, vector: JsonObject, after: str) -> None:
    assume(not re.search("[0-9A-Za-z%\\\\]$", before))
    secret = "".join(vector["hidden"])
    hidden = redact_tokens(json.dumps([f"{before}{secret}{after}"]).encode(), mac)[0].decode()
    assert not any(secret[start : start + 4] in re.sub(MARKER, "", hidden).replace(before, "") for start in range(len(secret) - 3))


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_answered(document: bytes) -> None:
    hidden, names = redact_tokens(document, mac)
    assert (hidden == document) == (not names)


# payloads

PRINCIPAL = Principal(kind="User", id="alice", tenant="acme")
TARGET = Target(type="Customer", id="C-412", tenant="acme", environment="production", attributes={"note": f"has {TOKEN}"})
OBLIGATION = Obligation(kind="approval", policy="p", policy_digest="d", principal='User::"alice"', reason=f"see {TOKEN}")


def test_a_payload_without_secrets_is_the_same_object() -> None:
    payload = Payload(arguments=Raw(b'{"a":1}'), reason="because", principals=(PRINCIPAL,), context={"now": 1763818703000000})
    assert redact_payload(payload, ("token",), mac) == (payload, ())
    hidden, _ = redact_payload(payload, (), never)
    assert hidden is payload


def test_every_readable_field_is_looked_at() -> None:
    text = f"x {TOKEN} y"
    payload = Payload(
        arguments=Raw(json.dumps({"note": text}).encode()),
        reason=text,
        message=text,
        principals=(PRINCIPAL,),
        targets=(TARGET,),
        context={"labels": [text]},
        obligations=(OBLIGATION,),
        result=Raw(json.dumps([text]).encode()),
        effects=(Effect(target="T", field="f", before=text, after={"deep": text}),),
        preview=Raw(json.dumps([{"after": text}]).encode()),
        detail={"request": Raw(json.dumps({"summary": {"reason": text}}).encode())},
    )
    hidden, redactions = redact_payload(payload, (), mac)
    fields = ("arguments", "context", "detail", "effects", "message", "preview", "reason", "result", "targets")
    assert redactions == tuple(f"github_token:{field}" for field in fields)
    assert encode_payload(hidden).count(TOKEN.encode()) == 1  # the reason of an obligation, which is a policy's text
    assert encode_payload(hidden).count(stands("github_token", TOKEN).encode()) == 10
    assert hidden.targets[0].id == "C-412"


def test_a_name_that_was_decided_on_stays() -> None:
    target = Target(type="Key", id=TOKEN, tenant="acme", environment="production")
    payload = Payload(targets=(target,), reason=TOKEN)
    hidden, redactions = redact_payload(payload, (), mac)
    assert hidden.targets == (target,)
    assert redactions == ("github_token:reason",)


def test_marked_fields_are_hidden_wherever_arguments_stand() -> None:
    arguments = {"auth": {"token": "hunter22"}, "n": 1}
    safe = {"auth": {"token": text_stands("hunter22")}, "n": 1}
    payload = Payload(
        arguments=Raw(json.dumps(arguments).encode()),
        context={"input": arguments},
        detail={"request": {"id": "r", "summary": {"arguments": arguments, "reason": None}}},
    )
    hidden, redactions = redact_payload(payload, ("auth.token",), mac)
    assert json.loads(bytes(hidden.arguments)) == safe
    assert hidden.context == {"input": safe}
    assert hidden.detail == {"request": {"id": "r", "summary": {"arguments": safe, "reason": None}}}
    assert redactions == ("secret:arguments.auth.token",)


def test_a_marked_text_is_hidden_where_the_record_repeats_it() -> None:
    payload = Payload(
        arguments=Raw(b'{"pin":"hunter22"}'),
        reason="use hunter22 please",
        message="KeyError('hunter22')",
        result=Raw(b'{"echo":"hunter22","quoted":"{\\"pin\\": \\"hunter22\\"}"}'),
    )
    hidden, redactions = redact_payload(payload, ("pin",), mac)
    assert b"hunter22" not in encode_payload(hidden)
    assert hidden.reason == f"use {text_stands('hunter22')} please"
    assert redactions == ("secret:arguments.pin", "secret:message", "secret:reason", "secret:result")


def test_an_outcome_does_not_repeat_the_secrets_of_its_call() -> None:
    body = encode_payload(Payload(result=Raw(b'"set to hunter22"')))
    hidden, redactions = redact_encoded(body, mac, ("pin",), b'{"pin":"hunter22"}')
    assert decode_payload(hidden).result == Raw(json.dumps(f"set to {text_stands('hunter22')}").encode())
    assert redactions == ("secret:result",)


def test_a_secret_with_quotes_is_found_in_json_within_a_text() -> None:
    secret = 'a"b\\c\nd'
    payload = Payload(arguments=Raw(json.dumps({"pin": secret}).encode()), message=f"sent {json.dumps({'pin': secret})}")
    hidden, _ = redact_payload(payload, ("pin",), mac)
    assert hidden.message == f'sent {{"pin": "{text_stands(secret)}"}}'


def test_the_longest_secret_is_hidden_first_and_no_marker_is_changed() -> None:
    payload = Payload(
        arguments=Raw(b'{"a":"secret","b":"secrets of state","c":"characters"}'), reason="secrets of state, secret, characters"
    )
    hidden, _ = redact_payload(payload, ("a", "b", "c"), mac)
    assert hidden.reason == f"{text_stands('secrets of state')}, {text_stands('secret')}, {text_stands('characters')}"
    assert bytes(hidden.arguments) == b'{"a":"%b","b":"%b","c":"%b"}' % tuple(
        text_stands(text).encode() for text in ("secret", "secrets of state", "characters")
    )


def test_a_short_secret_does_not_make_words_vanish() -> None:
    payload = Payload(arguments=Raw(b'{"pin":"is it"}'), reason="it is it")
    hidden, redactions = redact_payload(payload, ("pin",), mac)
    assert len("is it") < ECHO_SHORTEST
    assert (hidden.reason, redactions) == ("it is it", ("secret:arguments.pin",))


def test_of_many_secrets_a_short_one_is_still_found_as_a_whole_text() -> None:
    keys = [f"secret-key-{number:04}" for number in range(500)]
    payload = Payload(arguments=Raw(json.dumps({"keys": keys}).encode()), result=Raw(json.dumps(keys).encode()))
    hidden, _ = redact_payload(payload, ("keys[]",), mac)
    assert b"secret-key" not in encode_payload(hidden)


def test_arguments_that_could_not_be_read_are_hidden_where_some_are_secret() -> None:
    unread = {"text": "{'auth': {'token': 'hunter22'}", "bytes": 31, "sha256": "9f86d081"}
    hidden, redactions = redact_payload(Payload(detail={"unread_arguments": unread}), ("auth.token",), mac)
    assert hidden.detail == {"unread_arguments": {"bytes": 31, "text": text_stands(unread["text"])}}  # type: ignore[arg-type]
    assert redactions == ("secret:unread_arguments",)


def test_a_payload_that_cannot_be_read_is_hidden_whole() -> None:
    body = b'{"result":' + b"[" * 5_000 + b'"hunter22"' + b"]" * 5_000 + b"}"
    hidden, redactions = redact_encoded(body, mac, ("pin",))
    assert decode_payload(hidden) == Payload(
        detail={"unread": f"(secret payload of {len(body)} bytes, hmac {mac(b'json:' + body).hex()[:32]})"}
    )
    assert redactions == ("secret:payload",)


@given(st.dictionaries(st.sampled_from(["a", "b"]), values), st.text(), anything)
def test_a_redacted_payload_can_be_read_and_has_nothing_more_to_hide(arguments: JsonObject, reason: str, result: Any) -> None:
    assume(not any("\ud800" <= letter <= "\udfff" for letter in reason + json.dumps(result, ensure_ascii=False)))
    payload = Payload(arguments=Raw(msgspec.json.encode(arguments)), reason=reason, result=Raw(json.dumps(result).encode()))
    hidden, redactions = redact_payload(payload, ("a", "b.a"), mac)
    assert decode_payload(encode_payload(hidden)) == hidden
    assert redact_encoded(encode_payload(hidden), mac)[1] == ()
    assert all(re.fullmatch(r"[a-z_]+:[a-z.]+", entry) for entry in redactions)


# cutting


def test_what_is_within_the_limit_is_not_cut() -> None:
    document = json.dumps("x" * (16_384 - 2)).encode()
    assert cut_json(document, 16_384) is document


def test_a_limit_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="a limit of 16383 bytes"):
        cut_json(b"{}", 16_383)


@given(
    st.lists(
        st.sampled_from(["x", '\\"', "\\\\", "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "é", "😀", "\\n", f"(secret token, hmac {'0' * 32})"]),
        min_size=200,
        max_size=400,
    )
)
def test_a_cut_goes_through_no_marker_escape_or_character(parts: list[str]) -> None:
    text = "".join(parts)
    document = f'["{"x" * max(0, 2_040 - len(text) // 2)}{text}{"y" * 20_000}"]'
    cut = cut_json(document.encode(), 16_384)
    start = json.loads(cut)["start"]
    assert len(cut) <= 16_384
    assert 2_048 - 60 < len(start) <= 2_048
    assert document.startswith(start)
    rest = document[len(start) :]
    assert len(MARKER.findall(start)) + len(MARKER.findall(rest)) == len(MARKER.findall(document))
    assert json.loads(start + '"]') == [json.loads(document)[0][: len(json.loads(start + '"]')[0])]]

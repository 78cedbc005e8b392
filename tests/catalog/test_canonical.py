from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.catalog.canonical import Kind, canonical
from licet.errors import ArgumentsRefused

TRICKY = st.text(st.sampled_from("aA1 .-/\\%\u00e9\u0301e\u200b\u202e\uff0f\uff0e\u2025\u00a0\u3000\ufeff\x00\n\u2126\ufb01"), max_size=8)


def refusal(kind: Kind, text: str) -> str:
    with pytest.raises(ArgumentsRefused) as caught:
        canonical(kind, text)
    assert caught.value.code == "not_canonical"
    return str(caught.value)


def is_accepted(kind: Kind, text: str) -> bool:
    try:
        return canonical(kind, text) == text
    except ArgumentsRefused:
        return False


@pytest.mark.parametrize(
    "text", ["C-412", "42", "a", "x" * 512, "Jane Doe", "\u00e9t\u00e9", "\u6f22\u5b57", 'say "hi"', "a/b", "__entity", "50%", "\U0001f600"]
)
def test_an_id_in_canonical_form_is_itself(text: str) -> None:
    assert canonical("id", text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it must have 1 to 512 characters"),
        ("x" * 513, "it must have 1 to 512 characters"),
        (" C-1", "spaces may only stand singly between other characters"),
        ("C-1 ", "spaces may only stand singly between other characters"),
        ("C  1", "spaces may only stand singly between other characters"),
        ("C\u200b-1", "it has the character U+200B, which is not visible text"),
        ("C\u200d1", "it has the character U+200D, which is not visible text"),
        ("\ufeffC-1", "it has the character U+FEFF, which is not visible text"),
        ("C\u00ad1", "it has the character U+00AD, which is not visible text"),
        ("C\u034f1", "it has the character U+034F, which is not visible text"),
        ("C\u31641", "it has the character U+3164, which is not visible text"),
        ("C\ufe0f1", "it has the character U+FE0F, which is not visible text"),
        ("C\U000e00411", "it has the character U+E0041, which is not visible text"),
        ("C\u28001", "it has the character U+2800, which is not visible text"),
        ("\u202eC-1", "it has the character U+202E, which is not visible text"),
        ("C\u2066-1", "it has the character U+2066, which is not visible text"),
        ("C\x00", "it has the character U+0000, which is not visible text"),
        ("C\n1", "it has the character U+000A, which is not visible text"),
        ("C\t1", "it has the character U+0009, which is not visible text"),
        ("C\x7f1", "it has the character U+007F, which is not visible text"),
        ("C\u00a01", "it has the character U+00A0, which is not visible text"),
        ("C\u20281", "it has the character U+2028, which is not visible text"),
        ("C\ue0001", "it has the character U+E000, which is not visible text"),
        ("C\u03781", "it has the character U+0378, which is not visible text"),
        ("\uff23-1", "it is not in Unicode form NFKC"),
        ("e\u0301", "it is not in Unicode form NFKC"),
        ("\u2126", "it is not in Unicode form NFKC"),
        ("\ufb01x", "it is not in Unicode form NFKC"),
    ],
)
def test_a_trick_in_an_id_is_refused_and_made_visible(text: str, problem: str) -> None:
    message = refusal("id", text)
    assert message.endswith(f" is not a canonical id: {problem}")
    assert message.isascii()
    assert len(message) < 200


@given(st.text(max_size=8) | TRICKY)
def test_two_accepted_ids_that_normalise_alike_are_the_same(text: str) -> None:
    folded = " ".join("".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char)[0] != "C").split())
    if is_accepted("id", text):
        assert folded == text


@pytest.mark.parametrize(
    "text",
    [
        "/",
        "/a",
        "/data/report.txt",
        "/data/.hidden",
        "/data/...",
        "/data/..a",
        "/with space/x",
        "/\u00e9t\u00e9",
        "/100%",
        "/a%zz",
        "/" + "x" * 4_095,
    ],
)
def test_a_path_in_canonical_form_is_itself(text: str) -> None:
    assert canonical("path", text) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it must be absolute"),
        ("data", "it must be absolute"),
        ("~/x", "it must be absolute"),
        ("C:\\x", "it must be absolute"),
        ("/data/../etc", "it has a `..` segment"),
        ("/..", "it has a `..` segment"),
        ("/data/./x", "it has a `.` segment"),
        ("/.", "it has a `.` segment"),
        ("//etc", "it has an empty segment or ends in a slash"),
        ("/data//x", "it has an empty segment or ends in a slash"),
        ("/data/", "it has an empty segment or ends in a slash"),
        ("/data\\..\\x", "it has a backslash"),
        ("/data/%2e%2e/x", "it has a percent-encoded byte"),
        ("/data/%2Fx", "it has a percent-encoded byte"),
        ("/data/\x00", "it has the character U+0000, which is not visible text"),
        ("/data/x\n", "it has the character U+000A, which is not visible text"),
        ("/data\u200b/x", "it has the character U+200B, which is not visible text"),
        ("/data/\u202etxt", "it has the character U+202E, which is not visible text"),
        ("/e\u0301", "it is not in Unicode form NFC"),
        ("/data/\uff0e\uff0e/x", "it has a character that normalisation turns into `.`"),
        ("/data/\u2025/x", "it has a character that normalisation turns into `.`"),
        ("/data\uff0fx", "it has a character that normalisation turns into `/`"),
        ("/data\uff3cx", "it has a character that normalisation turns into `\\`"),
        ("/data/\uff052e", "it has a character that normalisation turns into `%`"),
        ("/" + "x" * 4_096, "it is longer than 4096 bytes"),
        ("/" + "\u6f22" * 1_400, "it is longer than 4096 bytes"),
    ],
)
def test_a_path_written_another_way_is_refused(text: str, problem: str) -> None:
    assert refusal("path", text).endswith(f" is not a canonical path: {problem}")


@given(
    TRICKY.map(lambda text: "/" + text)
    | st.lists(st.sampled_from(["a", "b", ".", "..", "", "a.b", "%2e"]), max_size=5).map(lambda parts: "/" + "/".join(parts))
)
def test_an_accepted_path_is_a_fixpoint_of_every_normalisation(text: str) -> None:
    if is_accepted("path", text):
        assert posixpath.normpath(text) == text
        assert posixpath.normpath(unicodedata.normalize("NFC", text)) == text
        assert "/../" not in posixpath.join(unicodedata.normalize("NFKC", text), "")


@given(
    st.lists(st.text(st.sampled_from("ab.-_"), min_size=1, max_size=4).filter(lambda part: part not in {".", ".."}), min_size=1, max_size=4)
)
def test_every_plain_path_is_accepted(parts: list[str]) -> None:
    assert is_accepted("path", "/" + "/".join(parts))


@pytest.mark.parametrize(
    "text", ["a@example.com", "first.last+tag@mail.example.co.uk", "o'neil@example.com", "x@xn--bcher-kva.example", "a@example.c0m"]
)
def test_an_email_in_canonical_form_is_itself(text: str) -> None:
    assert canonical("email", text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@example.com",
        "a@",
        "a@b@example.com",
        "A@example.com",
        "a@Example.com",
        "a@example.com.",
        "a@example",
        "a@example.123",
        "a@[127.0.0.1]",
        '"a b"@example.com',
        ".a@example.com",
        "a.@example.com",
        "a..b@example.com",
        "a b@example.com",
        "a@exa mple.com",
        "a@-example.com",
        "a@example-.com",
        "a@example.com\n",
        "a@example.com\x00",
        "\u0430@example.com",
        "a@ex\u00e4mple.com",
        "Jane <a@example.com>",
        "a(comment)@example.com",
        "a@example..com",
    ],
)
def test_an_email_written_another_way_is_refused(text: str) -> None:
    assert refusal("email", text).endswith("one unquoted local part, one `@` and a domain name without trailing dot")


def test_an_email_beyond_the_limits_of_rfc_5321_is_refused() -> None:
    assert canonical("email", "x" * 64 + "@example.com")
    assert "its local part is longer than 64 characters" in refusal("email", "x" * 65 + "@example.com")
    assert "it is longer than 254 characters" in refusal("email", "x" * 60 + "@" + ".".join(["y" * 60] * 4) + ".com")


@given(st.text(st.sampled_from("aB.@-+ \u00e9"), max_size=12))
def test_an_accepted_email_has_one_at_and_no_other_case(text: str) -> None:
    if is_accepted("email", text):
        assert text == text.lower().strip()
        assert text.count("@") == 1


@pytest.mark.parametrize("kind", ["id", "path", "url", "email"])
def test_a_megabyte_is_refused_quickly_and_in_a_short_message(kind: Kind) -> None:
    for text in (
        "\u6f22" * 1_000_000,
        "/" + "\u6f22/" * 500_000,
        "\U0001f600" * 500_000,
        "a" * 1_000_000,
        "/" + "a/" * 500_000,
        "a@" + "a." * 500_000,
        "http://" + "a." * 500_000,
        "/" + "." * 1_000_000,
    ):
        assert len(refusal(kind, text)) < 300

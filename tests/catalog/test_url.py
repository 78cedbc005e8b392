from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit, urlunsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licet.catalog.canonical import canonical
from licet.catalog.url import url_problem
from licet.errors import ArgumentsRefused


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/",
        "https://example.com/a/b",
        "https://example.com/a/b/",
        "http://example.com:8080/x?y=1&z=a%20b",
        "https://example.com/?q=a%2Bb%26c",
        "https://example.com/%C3%A9",
        "https://example.com/a%20b",
        "https://example.com/group%2Fproject",
        "https://example.com/100%25",
        "https://xn--bcher-kva.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[2001:db8::1]:8443/",
        "s3://bucket/key",
        "https://example.com/a:b@c;v=1",
        "https://example.com/...",
        "https://a-b.example.com/~user",
    ],
)
def test_a_url_in_canonical_form_is_itself(text: str) -> None:
    assert canonical("url", text) == text


FORM = "it must be `scheme://host/path`, lower-case scheme and host, upper-case percent-encoding, no userinfo and no fragment"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", FORM),
        ("example.com/", FORM),
        ("//example.com/", FORM),
        ("https:example.com/", FORM),
        ("https:///x", FORM),
        ("HTTPS://example.com/", FORM),
        ("https://Example.com/", FORM),
        ("https://example.com", FORM),
        ("https://example.com?x", FORM),
        ("https://user@example.com/", FORM),
        ("https://user:secret@example.com/", FORM),
        ("https://example.com@evil.com/", FORM),
        ("https://example.com/#x", FORM),
        ("https://example.com/?", FORM),
        ("https://example.com:/", FORM),
        ("https://example.com:0/", FORM),
        ("https://example.com:0443/", FORM),
        ("https://example.com/a%2f", FORM),
        ("https://example.com/a%", FORM),
        ("https://example.com/a%2", FORM),
        ("https://example.com/a b", FORM),
        (" https://example.com/", FORM),
        ("https://example.com/\n", FORM),
        ("https://example.com/\t", FORM),
        ("https://example.com\\@evil.com/", FORM),
        ("https://example.com/a\\b", FORM),
        ("https://b\u00fccher.example/", FORM),
        ("https://\uff45xample.com/", FORM),
        ("https://example.com/\u00e9", FORM),
        ("https://example.com/?q=a+b", FORM),
        ("https://[fe80::1%25eth0]/", FORM),
        ("https://example.com./", "its host is not a domain name"),
        ("https://.example.com/", "its host is not a domain name"),
        ("https://a..example.com/", "its host is not a domain name"),
        ("https://-a.example.com/", "its host is not a domain name"),
        ("https://" + "a" * 64 + ".com/", "its host is not a domain name"),
        ("https://" + "a." * 130 + "com/", "its host is not a domain name"),
        ("http://127.1/", "its host is an address that is not in dotted decimal"),
        ("http://2130706433/", "its host is an address that is not in dotted decimal"),
        ("http://0177.0.0.1/", "its host is an address that is not in dotted decimal"),
        ("http://0x7f.0.0.1/", "its host is an address that is not in dotted decimal"),
        ("http://0x7f000001/", "its host is an address that is not in dotted decimal"),
        ("http://127.0.0.0x1/", "its host is an address that is not in dotted decimal"),
        ("http://256.0.0.1/", "its host is an address that is not in dotted decimal"),
        ("http://[0:0::1]/", "its IPv6 address is not in its shortest form"),
        ("http://[::0001]/", "its IPv6 address is not in its shortest form"),
        ("http://[::ffff:7f00:1]/", "its host is an IPv4 address written as IPv6"),
        ("http://[::7f00:1]/", "its host is an IPv4 address written as IPv6"),
        ("http://[::ffff:0:7f00:1]/", "its host is an IPv4 address written as IPv6"),
        ("http://[64:ff9b::7f00:1]/", "its host is an IPv4 address written as IPv6"),
        ("http://[2002:7f00:1::]/", "its host is an IPv4 address written as IPv6"),
        ("http://[:::1]/", "its host is not an IPv6 address"),
        ("https://xn--a.example/", "its host has a label that is no international domain name"),
        ("https://xn--abc-.example/", "its host is not a domain name"),
        ("https://ab--c.example/", "its host has a label that is no international domain name"),
        ("https://example.com:443/", "it names the default port"),
        ("http://example.com:80/", "it names the default port"),
        ("https://example.com:65536/", "its port is above 65535"),
        ("https://example.com/%41", "`%41` needs no encoding"),
        ("https://example.com/%2E%2E/x", "`%2E` needs no encoding"),
        ("https://example.com/%7Euser", "`%7E` needs no encoding"),
        ("https://example.com/a%3Ab", "`%3A` needs no encoding"),
        ("https://example.com/?m=a%40b", "`%40` needs no encoding"),
        ("https://example.com/%252e%252e/x", "it is percent-encoded twice"),
        ("https://example.com/%C0%AE", "its percent-encoding is not UTF-8"),
        ("https://example.com/%FF", "its percent-encoding is not UTF-8"),
        ("https://example.com/a%00", "it encodes a backslash or an invisible character"),
        ("https://example.com/a%0A", "it encodes a backslash or an invisible character"),
        ("https://example.com/a%5Cb", "it encodes a backslash or an invisible character"),
        ("https://example.com/%E2%80%8B", "it encodes a backslash or an invisible character"),
        ("https://example.com/e%CC%81", "it encodes text that is not in Unicode form NFKC"),
        ("https://example.com/a%EF%BC%8F..%EF%BC%8Fb", "it encodes text that is not in Unicode form NFKC"),
        ("https://example.com/a/../b", "it has a dot segment"),
        ("https://example.com/..", "it has a dot segment"),
        ("https://example.com/./b", "it has a dot segment"),
        ("https://example.com/..;/b", "it has a dot segment"),
        ("https://example.com/..%2Fb", "it has a dot segment"),
        ("https://example.com//b", "it has an empty segment"),
        ("https://example.com/a%2F%2Fb", "it has an empty segment"),
        ("https://example.com/" + "x" * 2_048, "it is longer than 2048 characters"),
    ],
)
def test_a_url_written_another_way_is_refused(text: str, problem: str) -> None:
    assert url_problem(text) == problem
    with pytest.raises(ArgumentsRefused) as caught:
        canonical("url", text)
    assert caught.value.code == "not_canonical"


def normalised(text: str) -> str:
    """What the standard library makes of a URL: the second opinion."""
    parts = urlsplit(text)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port not in {None, {"http": 80, "https": 443}[parts.scheme]} else ""
    host = f"[{host}]" if ":" in host else host
    path = quote(unquote(parts.path.replace("%2F", "%252F")).replace("%2F", "\x00"), safe="/!$&'()*+,;=:@-._~\x00").replace("%00", "%2F")
    return urlunsplit((parts.scheme, host + port, path or "/", parts.query, ""))


@given(
    st.builds(
        lambda scheme, host, port, path, query: f"{scheme}://{host}{port}{path}{query}",
        st.sampled_from(["http", "https", "HTTP"]),
        st.sampled_from(["example.com", "Example.com", "a.b", "127.0.0.1", "[::1]", "xn--bcher-kva.example", "u@h.com", "h.com."]),
        st.sampled_from(["", ":80", ":443", ":8080", ":08080", ":"]),
        st.lists(st.sampled_from(["", "a", ".", "..", "%41", "%C3%A9", "a%20b", "%2F", "a;b", "~", "%7E", "%25"]), max_size=4).map(
            lambda parts: "".join("/" + part for part in parts)
        ),
        st.sampled_from(["", "?", "?a=1", "?a=%20", "?a=%41", "#x", "?a=1#x"]),
    ),
)
def test_an_accepted_url_is_what_the_standard_library_makes_of_it(text: str) -> None:
    if url_problem(text) is None:
        assert normalised(text) == text


@given(st.text(st.sampled_from("htps:/a.b%2EF\\@?#&=\u00e9 \n"), max_size=24).map(lambda text: "http://a.b/" + text))
def test_an_accepted_url_survives_parsing_unchanged(text: str) -> None:
    if url_problem(text) is None:
        assert urlsplit(text).geturl() == text
        assert urlsplit(text).username is None
        assert urlsplit(text).hostname == "a.b"
        assert ".." not in unquote(urlsplit(text).path).split("/")

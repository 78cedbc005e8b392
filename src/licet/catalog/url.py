"""The one canonical form of a URL: RFC 3986 (section 6) with every choice made once.

Rules:

1. `scheme://host[:port]/path[?query]`, printable ASCII, at most 2,048 characters. Scheme and host in lower case; no userinfo,
   no fragment, no default port, no empty port, a path of at least `/`.
2. The host is a name of LDH labels (IDNA A-labels must decode), an IPv4 address in dotted decimal, or an IPv6 address as RFC 5952 writes
   it. Other spellings of addresses (`127.1`, `0x7f.1`, IPv4 inside IPv6, zones) are refused.
3. No empty, `.` or `..` segment, encoded or with `;parameters` included; one trailing slash is a part of the name.
4. Percent-encoding is upper case, decodes to visible UTF-8, and stands only where the character itself could not: `%41`, `%7E`, `%3A` are
   refused. Encoded percent signs before two hex digits (double encoding) and encoded backslashes are refused. In a query a space is `%20`
   and a plus is `%2B`, since servers disagree on `+`.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import unquote_to_bytes

URL_LIMIT = 2_048
"""What servers and proxies take everywhere."""

_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21", "ssh": "22", "sftp": "22"}
_UNRESERVED = "-A-Za-z0-9._~"
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?"
    rf"(?P<path>/(?:[{_UNRESERVED}!$&'()*+,;=:@/]|%[0-9A-F]{{2}})*)(?:\?(?P<query>(?:[{_UNRESERVED}!$&'()*,;=:@/?]|%[0-9A-F]{{2}})+))?",
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ENCODED = re.compile(r"%[0-9A-F]{2}")
_NEEDLESS_IN_PATH = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@")
_NEEDLESS_IN_QUERY = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$'()*,:@/?")
_DOUBLE = re.compile(r"%25[0-9A-Fa-f]{2}")
_IPV4_INSIDE = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "2002::/16")))
"""Compatible, mapped, translated (RFC 2765), NAT64 (RFC 6052) and 6to4 (RFC 3056) addresses."""
_HOST_LIMIT = 253
_PORT_LIMIT = 65_535


def url_problem(text: str) -> str | None:
    """What keeps `text` from being a canonical URL, in words; None if it is one."""
    if len(text) > URL_LIMIT:
        return f"it is longer than {URL_LIMIT} characters"
    match = _URL.fullmatch(text)
    if match is None:
        return "it must be `scheme://host/path`, lower-case scheme and host, upper-case percent-encoding, no userinfo and no fragment"
    return (
        _host_problem(match["host"])
        or _port_problem(match["scheme"], match["port"])
        or _encoding_problem(match["path"], _NEEDLESS_IN_PATH)
        or _segments_problem(match["path"])
        or _encoding_problem(match["query"] or "", _NEEDLESS_IN_QUERY)
    )


def _host_problem(host: str) -> str | None:
    if host.startswith("["):
        return _ipv6_problem(host[1:-1])
    labels = host.split(".")
    if len(host) > _HOST_LIMIT or not all(_LABEL.fullmatch(label) for label in labels):
        return "its host is not a domain name"
    if _NUMERIC.fullmatch(labels[-1]):
        # inet_aton reads `127.1`, `2130706433` and `0177.0.0.1` as addresses too.
        return None if _is_ipv4(host) else "its host is an address that is not in dotted decimal"
    return next((problem for problem in map(_label_problem, labels) if problem), None)


def _label_problem(label: str) -> str | None:
    if label[2:4] != "--":
        return None
    try:
        name = label[4:].encode().decode("punycode") if label.startswith("xn--") else ""
        is_canonical = not name.isascii() and name.encode("punycode").decode() == label[4:]
    except (UnicodeError, ValueError):
        is_canonical = False
    is_visible = is_canonical and all(unicodedata.category(character)[0] not in "CZ" for character in name)
    if is_visible and unicodedata.normalize("NFKC", name.lower()) == name:
        return None
    return "its host has a label that is no international domain name"


def _is_ipv4(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def _ipv6_problem(host: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return "its host is not an IPv6 address"
    if int(address) > 1 and any(address in network for network in _IPV4_INSIDE):  # `::` and `::1` are no IPv4
        return "its host is an IPv4 address written as IPv6"
    return None if address.compressed == host else "its IPv6 address is not in its shortest form"


def _port_problem(scheme: str, port: str | None) -> str | None:
    if port is None:
        return None
    if int(port) > _PORT_LIMIT:
        return "its port is above 65535"
    return "it names the default port" if _DEFAULT_PORTS.get(scheme) == port else None


def _encoding_problem(component: str, needless: frozenset[int]) -> str | None:
    if "%" not in component:
        return None
    for match in _ENCODED.finditer(component):
        if int(match[0][1:], 16) in needless:
            return f"`{match[0]}` needs no encoding"
    if _DOUBLE.search(component):
        return "it is percent-encoded twice"
    try:
        decoded = unquote_to_bytes(component).decode("utf-8")
    except UnicodeDecodeError:
        return "its percent-encoding is not UTF-8"
    if "\\" in decoded or any(unicodedata.category(character)[0] == "C" for character in decoded):
        return "it encodes a backslash or an invisible character"
    return None if unicodedata.is_normalized("NFKC", decoded) else "it encodes text that is not in Unicode form NFKC"


def _segments_problem(path: str) -> str | None:
    # `%2F` is read as a slash by servers that decode first: the segments must hold up then too.
    segments = unquote_to_bytes(path).decode("utf-8").split("/")[1:]
    for position, segment in enumerate(segments):
        if not segment and position < len(segments) - 1:
            return "it has an empty segment"
        if segment.split(";")[0] in {".", ".."}:
            # Some servers cut `;parameters` off and then walk up.
            return "it has a dot segment"
    return None

"""The well-known shapes of credentials, and where in a text they stand.

Rules:

1. A shape has a trigger and a pattern. No text that the pattern finds anything in passes the trigger unseen: a test holds every sample
   against both. Triggers run first, all in one, on an engine whose time is linear in the text (Rust's `regex`, through the JSON Schema
   validator); most texts end there.
2. Patterns take time that grows with the text and no faster: repetitions are possessive or bounded, and one without bound begins at an
   edge or consumes what it has read, so that nothing is read again from each of its characters.
3. Only the credential is hidden: the host of a URL, the name before `=`, the word `Bearer` stay readable.
4. Where spans overlap, what they cover together is hidden, under the name of the shape that stands first in the table.
5. Lengths are minima: a longer credential of a known shape is hidden whole.

Alphabets and lengths follow what the issuers document, and the public rules of gitleaks, detect-secrets and TruffleHog. Not found: what has
no shape of its own (most passwords) where nothing beside it says what it is; a user name alone in a URL; what is cut, encrypted, encoded
(base64) or spread over several fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import jsonschema_rs
from msgspec import Struct

from licet.ledger.token_checks import (
    LOOK_BACK,
    MARKER,
    is_basic_credentials,
    is_card_number,
    is_no_word,
    is_placeholder,
    is_random,
)

Check = Callable[[re.Match[str], str], bool]
"""Whether a match is a credential indeed; the text is what stands before it."""


class Shape(Struct, frozen=True):
    """One kind of credential. `trigger` is a pattern of Rust's `regex`; the group `s` of `pattern`, or all of it, is what is hidden."""

    name: str
    trigger: str
    pattern: str
    check: Check | None = None


class Found(Struct, frozen=True):
    """A credential of the shape `name` at `start:end` of a text."""

    start: int
    end: int
    name: str


def _edge(prefix: str, within: str = "0-9A-Za-z") -> str:
    """A prefix that does not stand within a word: behind a percent-encoded character or an escape of JSON in JSON it does not."""
    return rf"{prefix}(?:(?<![{within}]{prefix})|(?<=%[0-9A-Fa-f]{{2}}{prefix})|(?<=\\[nrtbf]{prefix}))"


def _plain(name: str, trigger: str, pattern: str) -> Shape:
    return Shape(name, trigger, pattern)


_END = r"(?![0-9A-Za-z])"
_SLASH = r"\\*+/"
_WORDS = (
    r"pass[_-]?(?:word|wd|phrase|code)"
    r"|(?:api|secret|private|account|signing|encryption|storage|master|auth|shared[ _.-]?access|secret[ _.-]?access)[ _.-]?key"
    r"|client[ _.-]?secret|(?:access|auth|refresh|api|bearer|session|security|id)[ _.-]?token"
)
_OPAQUE = r"(?<!page)(?<!page.)(?<!next)(?<!next.)(?<!sync)(?<!sync.)(?<!continuation)(?<!continuation.)token|secret"
"""What may hold a secret or only its name: counts where the value looks drawn at random. Tokens of pages are none."""
_QUOTE = r"\\{0,6}[\"']"
_VALUE = rf"(?:(?P<q>{_QUOTE})(?P<quoted>(?:(?!(?<!\\)(?P=q))[^\r\n])++)|(?P<bare>[^\s\"'\\,;&<>]++))"
_SEPARATOR = r"(?P<sep>[ \t]{0,4}(?::=|=>|=(?![=~>])|:(?![:=]))[ \t]{0,4}|>)"
_ASSIGNMENT = rf"(?:{_QUOTE})?{_SEPARATOR}{_VALUE}"
_ASSIGNED = r"\\{0,6}[\"']?(?:\s|\\+t){0,8}[:=>]"


def _is_assigned(match: re.Match[str], _: str) -> bool:
    quoted = match["quoted"]
    value = quoted if quoted is not None else match["bare"]
    if is_placeholder(value) or MARKER.match(value) or value.startswith("(secret"):
        return False
    if quoted is not None or not match["sep"].strip().startswith(":"):
        return len(value) >= _SHORTEST
    return is_no_word(value)  # `password: required` is prose, `password: hunter2` is none


def _is_assigned_at_random(match: re.Match[str], _: str) -> bool:
    return is_random(match["quoted"] if match["quoted"] is not None else match["bare"])


def _is_option(match: re.Match[str], _: str) -> bool:
    return len(match["s"]) >= _SHORTEST and not is_placeholder(match["s"])


def _is_pwd(match: re.Match[str], before: str) -> bool:
    value = match["quoted"] if match["quoted"] is not None else match["bare"]
    return not value.startswith(("/", "~", ".")) and _is_assigned(match, before)  # the working folder of a shell


def _is_bearer(match: re.Match[str], _: str) -> bool:
    return any(map(str.isdigit, match["s"]))


def _is_basic(match: re.Match[str], _: str) -> bool:
    return is_basic_credentials(match["s"])


def _is_url_password(match: re.Match[str], _: str) -> bool:
    return not is_placeholder(match["s"]) and not MARKER.match(match["s"])


def _is_card(match: re.Match[str], before: str) -> bool:
    return is_card_number(match[0], before)


_SHORTEST = 4
"""Characters of an assigned value: `pin=123` would match too much else."""

SHAPES: tuple[Shape, ...] = (
    Shape(
        "private_key",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?:[^-]|-(?!----))*+-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"|(?:(?:\s|\\++[nr])*+[A-Za-z0-9+/=]{10,}+)++(?:(?:[\r\n]|\\++[nr])++[A-Za-z0-9+/=]{1,9}(?![A-Za-z0-9]))?+)",
    ),
    _plain("age_key", r"AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}+"),
    _plain(
        "aws_access_key_id",
        r"A(?:KIA|SIA|BIA|CCA|3T[A-Z0-9])[A-Z2-7]{16}",
        _edge(r"A(?:KIA|SIA|BIA|CCA|3T.)") + r"[A-Z2-7]{16}" + _END,
    ),
    _plain(
        "aws_secret_key",
        r"A(?:KIA|SIA)[A-Z2-7]{16}",
        r"A(?:KIA|SIA)[A-Z2-7]{16}(?:[\s,:;|\"'/]|\\++[nrt\"']){1,10}+(?P<s>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    ),
    _plain("aws_session_token", r"(?:F[wQ]oGZXIvYXdz|IQoJb3JpZ2luX2)", r"(?:F[wQ]oGZXIvYXdz|IQoJb3JpZ2luX2)[A-Za-z0-9/+=]{50,}+"),
    _plain("aws_signature", r"X-Amz-(?:Signature|Security-Token)=", r"X-Amz-(?:Signature|Security-Token)=(?P<s>[A-Za-z0-9%/+=_-]{20,}+)"),
    _plain("licet_key", r"licet_[a-z2-7]{16}_[0-9A-Za-z]", r"licet_[a-z2-7]{16}_[0-9A-Za-z]{49,}+"),
    _plain("github_token", r"gh[pousr]_[0-9A-Za-z._-]{36}", r"(?:gh[pour]_[0-9A-Za-z]{36,}+|ghs_[0-9A-Za-z._-]{36,}+)"),
    _plain("github_token", r"github_pat_[0-9A-Za-z_]{36}", r"github_pat_[0-9A-Za-z_]{36,}+"),
    _plain(
        "gitlab_token",
        r"gl(?:pat|dt|ptt|rt|rtr|cbt|ft|imt|agent|oas|soat|ffct|wt)-[0-9A-Za-z_-]{16}",
        r"gl(?:pat|dt|ptt|rt|rtr|cbt|ft|imt|agent|oas|soat|ffct|wt)-[0-9A-Za-z_.-]{20,}+",
    ),
    _plain("gitlab_token", r"GR1348941", r"GR1348941[0-9A-Za-z_-]{20,}+"),
    _plain("slack_token", r"xox[abeoprs][.-]", r"xox[abeoprs](?:\.xox[bp])?-[0-9A-Za-z-]{10,}+"),
    _plain("slack_token", r"xapp-[0-9]-", r"xapp-[0-9]-[0-9A-Za-z-]{10,}+"),
    _plain(
        "slack_webhook",
        r"hooks\.slack(?:-gov)?\.com",
        rf"hooks\.slack(?:-gov)?\.com{_SLASH}(?:services|workflows|triggers){_SLASH}(?P<s>[0-9A-Za-z/+_\\-]{{20,}}+)",
    ),
    _plain(
        "discord_webhook",
        r"discord(?:app)?\.com",
        rf"discord(?:app)?\.com{_SLASH}api{_SLASH}webhooks{_SLASH}[0-9]{{10,24}}{_SLASH}(?P<s>[0-9A-Za-z_-]{{40,}}+)",
    ),
    _plain("stripe_key", r"[rs]k_(?:live|test|prod)_[0-9A-Za-z]{10}", r"[rs]k_(?:live|test|prod)_[0-9A-Za-z]{10,}+"),
    _plain("webhook_secret", r"whsec_[0-9A-Za-z+/]{24}", r"whsec_[0-9A-Za-z+/=]{24,}+"),
    _plain("google_api_key", r"AIza[0-9A-Za-z_-]{35}", _edge("AIza") + r"[0-9A-Za-z_-]{35,}+"),
    _plain("google_oauth_token", r"ya29\.[0-9A-Za-z_.-]{20}", r"ya29\.[0-9A-Za-z_.-]{20,}+"),
    _plain("google_oauth_token", r"1//0[0-9A-Za-z_-]{40}", _edge("1//0") + r"[0-9A-Za-z_-]{40,}+"),
    _plain("google_client_secret", r"GOCSPX-", r"GOCSPX-[0-9A-Za-z_-]{20,}+"),
    _plain("anthropic_key", r"sk-ant-[0-9A-Za-z_-]{20}", _edge("sk-ant-") + r"[0-9A-Za-z_-]{20,}+"),
    _plain(
        "openai_key",
        r"sk-(?:proj|svcacct|admin|service|None|or|lf)-[0-9A-Za-z_-]{20}",
        _edge("sk-") + r"(?:proj|svcacct|admin|service|None|or|lf)-[0-9A-Za-z_-]{20,}+",
    ),
    _plain("openai_key", r"sk-[0-9A-Za-z]{32}", _edge("sk-") + r"[0-9A-Za-z]{32,}+"),
    _plain("npm_token", r"npm_[0-9A-Za-z]{36}", r"npm_[0-9A-Za-z]{36,}+"),
    _plain("pypi_token", r"pypi-AgE", r"pypi-AgE[0-9A-Za-z_-]{50,}+"),
    _plain("sendgrid_key", r"SG\.[0-9A-Za-z_-]{16}", r"SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{32,}+"),
    _plain("twilio_key", r"SK[0-9a-f]{32}", _edge("SK") + r"[0-9a-f]{32}" + _END),
    _plain("huggingface_token", r"hf_[0-9A-Za-z]{34}", _edge("hf_") + r"[0-9A-Za-z]{34,}+"),
    _plain("digitalocean_token", r"do[opr]_v1_[0-9a-f]{64}", r"do[opr]_v1_[0-9a-f]{64,}+"),
    _plain("databricks_token", r"dapi[0-9a-f]{32}", _edge("dapi") + r"[0-9a-f]{32,}+(?:-[0-9])?+"),
    _plain("vault_token", r"hv[sbr]\.[0-9A-Za-z_-]{24}", _edge(r"hv[sbr]\.") + r"[0-9A-Za-z_-]{24,}+"),
    _plain("shopify_token", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32,}+"),
    _plain("linear_key", r"lin_(?:api|oauth)_[0-9A-Za-z]{40}", r"lin_(?:api|oauth)_[0-9A-Za-z]{40,}+"),
    _plain("notion_token", r"(?:ntn_|secret_)[0-9A-Za-z]{40}", r"(?:ntn_|(?<![0-9A-Za-z_])secret_)[0-9A-Za-z]{40,}+"),
    _plain("postman_key", r"PMAK-[0-9a-f]{24}", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34,}+"),
    _plain(
        "grafana_token",
        r"gl(?:c_[0-9A-Za-z+/]{32}|sa_[0-9A-Za-z]{32})",
        r"(?:glc_[0-9A-Za-z+/=]{32,}+|glsa_[0-9A-Za-z]{32}_[0-9A-Fa-f]{8,}+)",
    ),
    _plain(
        "doppler_token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[0-9A-Za-z]{40,}+"
    ),
    _plain("atlassian_token", r"ATATT3", r"ATATT3[0-9A-Za-z_=-]{100,}+"),
    _plain("telegram_token", r"[0-9]{8,10}:AA[0-9A-Za-z_-]{32}", r"(?<![0-9A-Za-z])[0-9]{8,10}:(?P<s>AA[0-9A-Za-z_-]{32,}+)"),
    _plain(
        "azure_client_secret",
        r"[0-9]Q~[0-9A-Za-z_~.-]{31}",
        r"(?:(?<![0-9A-Za-z_~.-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf]))[0-9A-Za-z_~.-]{3}[0-9]Q~[0-9A-Za-z_~.-]{31,}+",
    ),
    _plain("azure_sas", r"[?&;]sig=[0-9A-Za-z%/+=_-]{20}", r"[?&;]sig=(?P<s>[0-9A-Za-z%/+=_-]{20,}+)"),
    _plain(
        "jwt",
        r"eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]*\.",
        _edge("eyJ", "0-9A-Za-z_-") + r"[0-9A-Za-z_-]{10,}+(?:(?:\.[0-9A-Za-z_-]*+){4}|\.[0-9A-Za-z_-]{2,}+\.[0-9A-Za-z_-]*+)",
    ),
    Shape("basic_credentials", r"(?i:basic) +[0-9A-Za-z+/]{6}", r"(?i:\bbasic) {1,4}(?P<s>[0-9A-Za-z+/]{6,}+={0,2})", _is_basic),
    Shape("bearer_token", r"(?i:bearer) +[0-9A-Za-z._~+/=-]{16}", r"(?i:\bbearer) {1,4}(?P<s>[0-9A-Za-z._~+/=-]{16,}+)", _is_bearer),
    Shape(
        "authorization",
        rf"(?i:authorization){_ASSIGNED}",
        rf"(?i:authorization)(?:{_QUOTE})?[ \t]{{0,4}}[:=](?![:=])[ \t]{{0,4}}(?:{_QUOTE})?"
        r"(?i:(?:token|apikey|api-key|key|digest|negotiate|ntlm|bot|aws4-hmac-sha256)[ \t]{1,4})?"
        r"(?P<s>[^\s\"'\\,;]{8,}+)",
        lambda match, _: _is_bearer(match, _) and not MARKER.match(match.string, match.start("s")),
    ),
    Shape(
        "url_password",
        r":(?:\\*/){2}[^\s/?#\"'<>]{0,256}:[^\s/?#\"'<>]{1,256}@",
        rf":(?:{_SLASH}){{2}}[^\s/?#@:\"'<>\\]{{0,256}}:(?P<s>[^\s/?#\"'<>\\]{{1,256}})@",
        _is_url_password,
    ),
    Shape("credential", rf"(?i:{_WORDS}){_ASSIGNED}", rf"(?i:{_WORDS}){_ASSIGNMENT}", _is_assigned),
    Shape("credential", rf"(?i:pwd){_ASSIGNED}", rf"(?i:(?<![a-z])pwd){_ASSIGNMENT}", _is_pwd),
    Shape(
        "credential",
        rf"--(?i:{_WORDS}|token) ",
        rf"--(?i:{_WORDS}|token) {{1,4}}(?:{_QUOTE})?(?P<s>[^\s\"'\\-][^\s\"'\\]{{3,}}+)",
        _is_option,
    ),
    Shape(
        "credential",
        rf"(?i:token|secret){_ASSIGNED}",
        rf"(?i:{_OPAQUE}){_ASSIGNMENT}",
        _is_assigned_at_random,
    ),
    Shape(
        "card_number",
        r"(?:^|[^0-9]|%[0-9A-Fa-f][0-9])(?:4[0-9]{15}|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[0-9]{13}|6[0-9]{15}"
        r"|[2-6][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4})",
        r"(?:(?<![0-9A-Za-z_./+%-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrtbf]))"
        r"(?:[0-9]{14,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5})(?![0-9A-Za-z_]|[.-][0-9])",
        _is_card,
    ),
)


class _Trigger:
    """Whether a text matches a pattern of Rust's `regex`: linear in the text, whatever the text."""

    def __init__(self, pattern: str) -> None:
        self._fires = jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions()).is_valid

    def fires(self, text: str) -> bool:
        """True where the pattern is found, and for text that is none (half of a surrogate pair): then somebody has to look."""
        try:
            return self._fires(text)
        except (ValueError, TypeError):
            return True


_PATTERNS = tuple((shape, _Trigger(shape.trigger), re.compile(shape.pattern, re.ASCII)) for shape in SHAPES)
_ANY = _Trigger("|".join(shape.trigger for shape in SHAPES))
_KEY = rf"(?i:{_WORDS}|pwd|authorization|cookie)"
_SECRET_KEY = re.compile(rf"{_KEY}\Z")
_OPAQUE_KEY = re.compile(rf"(?i:{_OPAQUE})\Z")
_ANY_IN_JSON = _Trigger("|".join([*(shape.trigger for shape in SHAPES), rf"{_KEY}\"\s*:", r"\\u00[2-7]"]))


def could_hold_token(text: str) -> bool:
    """False where no shape is in this text. True says only that somebody has to look."""
    return _ANY.fires(text)


def json_could_hold_token(json: str) -> bool:
    """As `could_hold_token`, of a JSON document as it is written: escapes that hide a letter count."""
    return _ANY_IN_JSON.fires(json)


def is_credential_by_key(key: str, value: str) -> bool:
    """Whether the text of a member of an object is a credential by what the member is called: `db_password`, `clientSecret`, `X-Api-Key`.

    What is called a token or a secret may be the name of one, and is a credential where it looks drawn at random.
    """
    if _SECRET_KEY.search(key):
        return len(value) >= _SHORTEST and not is_placeholder(value)
    return _OPAQUE_KEY.search(key) is not None and is_random(value)


def find_tokens(text: str, before: str = "") -> tuple[Found, ...]:
    """The credentials in a text, in order, none overlapping. `before` is what stands in front of the text, such as its key in an object."""
    if not could_hold_token(text):
        return ()
    found = [
        (*match.span(match.lastgroup or 0), rank)
        for rank, (shape, trigger, pattern) in enumerate(_PATTERNS)
        if trigger.fires(text)
        for match in _checked(shape, pattern, text, before)
    ]
    hidden = [match.span() for match in MARKER.finditer(text)] if "(secret " in text else []
    return _merged(item for item in found if not any(start <= item[0] < end for start, end in hidden))


def _checked(shape: Shape, pattern: re.Pattern[str], text: str, before: str) -> Iterable[re.Match[str]]:
    for match in pattern.finditer(text):
        start = match.start()
        if shape.check is None or shape.check(match, (before + text[:start] if start < LOOK_BACK else text[start - LOOK_BACK : start])):
            yield match


def _merged(found: Iterable[tuple[int, int, int]]) -> tuple[Found, ...]:
    merged: list[tuple[int, int, int]] = []
    for start, end, rank in sorted(found):
        if merged and start < merged[-1][1]:
            last = merged[-1]
            merged[-1] = (last[0], max(last[1], end), min(last[2], rank))
        else:
            merged.append((start, end, rank))
    return tuple(Found(start, end, SHAPES[rank].name) for start, end, rank in merged)

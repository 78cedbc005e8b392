from __future__ import annotations

import hmac as hmac_module

from licet.ledger.redact import redact_marked, redact_tokens

PEPPER = bytes(range(32))


def mac(secret: bytes) -> bytes:
    return hmac_module.digest(PEPPER, secret, "sha256")


def test_a_marked_field_is_hidden_and_everything_else_keeps_its_bytes() -> None:
    hidden, redactions = redact_marked(b'{"auth": {"token":"hunter22"}, "n": 1.50}', ["auth.token"], mac)
    stands = f"(secret text of 8 characters, hmac {mac(b'text:hunter22').hex()[:32]})"
    assert hidden == b'{"auth":{"token":"%b"},"n":1.50}' % stands.encode()
    assert redactions == ("secret:arguments.auth.token",)


def test_a_token_hidden_by_json_escapes_is_found() -> None:
    token = "ghp" + "_" + "a1" * 18
    hidden, names = redact_tokens(('{"a": "x \\u0067' + token[1:] + ' y"}').encode(), mac)
    assert hidden == b'{"a": "x (secret github_token, hmac %b) y"}' % mac(b"text:" + token.encode()).hex()[:32].encode()
    assert names == ("github_token",)

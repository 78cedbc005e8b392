"""`sign_in` of an issuer: where its secret comes from, and never the secret; nothing by which a stranger could get in."""

from __future__ import annotations

import pytest

from licet.config import loads
from licet.errors import ConfigInvalid
from tests.identity.people import CONFIG, FILE

WAY = '[identity.issuers.sign_in]\nname = "corp"\nclient_id = "console"\n'


def with_way(lines: str, config: str = CONFIG) -> str:
    """The issuer with `sign_in`; `CONFIG` ends with it or goes on with other tables."""
    head, table, tail = config.partition("[[identity.issuers]]")
    body, separator, rest = tail.partition("\n[")
    return f"{head}{table}{body}\n{lines}{separator}{rest}"


def test_a_way_to_sign_in_is_read_with_its_defaults_and_a_secret_in_a_file_lies_beside_licet_toml() -> None:
    way = loads(with_way(WAY + 'client_secret = "file:oidc.secret"\n'), file=FILE).identity.issuers[0].sign_in
    assert way is not None
    assert (way.name, way.client_id, way.scopes, way.button) == ("corp", "console", ("openid",), None)
    assert way.client_secret == f"file:{FILE.parent / 'oidc.secret'}"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (WAY + 'client_secret = "hunter2-hunter2"\n', "never the secret itself"),
        (WAY + 'secret = "env:A"\n', "is not a known key"),
        (WAY + 'scopes = ["email"]\n', "must hold `openid`"),
        (WAY + 'scopes = ["openid", "a b"]\n', "does not fit"),
        (WAY.replace("corp", "../corp"), "does not fit"),
        (WAY.replace("corp", ""), "does not fit"),
        (WAY.replace('client_id = "console"\n', ""), "is required"),
    ],
)
def test_what_could_not_work_or_would_show_a_secret_does_not_load(lines: str, words: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        loads(with_way(lines), file=FILE)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_id_token_must_not_be_a_credential_of_the_api() -> None:
    config = with_way(
        WAY.replace("console", "licet"), CONFIG.replace('audience = "licet"', 'audience = "licet"\ntypes = ["at+jwt", "JWT"]')
    )
    with pytest.raises(ConfigInvalid, match="would be a credential of the API"):
        loads(config, file=FILE)

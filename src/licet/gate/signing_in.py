"""How people get into the console: links that open a session, and sessions.

Rules:

1. A session is a credential of one person (gate/credentials.py): its issue, with what it was opened, and its end are records; it is refused
   within a second of its end, in every process.
2. A link is good for one session. It ends with the record that opens the session, so that of two who use it at one moment one is refused.
3. A session reaches what its person reaches, no further: the directory and `licet.cedar` are asked at each request.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec.structs import replace

from licet.gate.credentials import Credentials, IssuedKey, Revoked, list_credentials
from licet.gate.scene import Scene
from licet.identity.api_keys import KeyContent, id_made_of
from licet.identity.authenticated import ANY, Authenticated
from licet.model import OPERATOR_LOG
from licet.policy.own import Asker
from licet.store.contract import Store

SESSION_S: Final = 12 * 3_600
LINK_S: Final = 15 * 60
FIRST_LINK_S: Final = 24 * 3_600
"""Of the link that is printed where nobody has ever signed in: whoever starts a server may be some time about it."""


def issue_link(credentials: Credentials, user: str, *, expires_s: int = LINK_S, by: str | None = None) -> IssuedKey:
    """A link that lets this person in, once. Raises `CredentialRefused` (`unknown_user`, `user_disabled`), `StoreError`."""
    content = KeyContent(name="a link to sign in", tenants=(ANY,), user=user, kind="link")
    return credentials.issue(content, expires_s=expires_s, by=by)


def open_by_link(credentials: Credentials, shown: str) -> IssuedKey:
    """The session that a link opens. Raises `CredentialRefused` (`bad_link`, `unknown_user`, `user_disabled`), `StoreError`."""
    return credentials.exchange(shown, lambda user: _session(user, "link"), expires_s=SESSION_S)


def open_for(credentials: Credentials, user: str, signed_in_by: str, *, proof: bytes, tenants: tuple[str, ...] = (ANY,)) -> IssuedKey:
    """The session, of these tenants alone, of somebody whom an identity provider has named. A proof opens one session, in whatever process.

    Raises `CredentialRefused` (`credential_exists` where the proof was used before; `unknown_user`, `user_disabled`), `StoreError`.
    """
    content = replace(_session(user, signed_in_by), tenants=tenants)
    return credentials.register(content, id_=id_made_of(b"licet-provider-1\0" + proof), expires_s=SESSION_S, by=user)


def end_session(credentials: Credentials, who: Authenticated) -> Revoked:
    """The session of whoever asks is over. Raises `CredentialRefused` (`already_ended`), `StoreError`."""
    return credentials.showing(who).revoke(who.credential, reason="signed out", by=who.user)


def has_anybody_signed_in(store: Store, now: datetime) -> bool:
    """Whether there ever was a session, or a link to open one, that has not expired unused."""
    return any(one.kind == "session" or (one.kind == "link" and one.state == "active") for one in list_credentials(store, now))


def who_lets_others_in(scene: Scene) -> str | None:
    """The first person, by name, whom `licet.cedar` lets issue credentials for the installation; None where there is nobody."""
    if scene.own is None:
        return None
    for user, entry in sorted(scene.directory.users.items()):
        groups = tuple(sorted(name for name in scene.directory.groups if scene.directory.is_member(user, name)))
        asker = Asker(type="User", id=user, method="session", roles=entry.roles, groups=groups)
        if not entry.disabled and scene.own.decide(asker, "credentials.issue", OPERATOR_LOG).allowed:
            return user
    return None


def _session(user: str, signed_in_by: str) -> KeyContent:
    return KeyContent(name="console", tenants=(ANY,), user=user, kind="session", signed_in_by=signed_in_by)

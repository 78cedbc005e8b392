"""What an erasure takes from the credentials, in its own transaction: afterwards no row names whoever was erased.

Rules:

1. A key that is theirs, or that speaks for nobody else, is revoked. One that speaks for others as well goes on for those.
2. In the place of their name stands `ERASED`, which nobody can be called. Nothing else would be as narrow: a list that is empty would let
   the agents call for nobody, and one in which a single user is left would put that user into calls that name none.
3. Each key has an `admin` record of its own in the log `operator`, which names the new content by its digest and nobody by name.
4. A row that no record bore out before is cleared as well, and borne out by nothing afterwards.
5. Keys of the erasure's tenant are meant, those of `*` among them; of the log `operator`, every key. In other tenants the same id is
   another subject (ledger/vault.py).

The digests of contents that were recorded before tell nothing: each content has a salt, and the salt of the former one is gone.

Not guaranteed: an erasure that is finished when a ledger is opened finds no key that names somebody in its label alone, since it knows the
pseudonym and guesses names from `user` and `users`; and a rotation under way at the same moment may carry the former content on.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from licet.identity.api_keys import ERASED, KeyContent, decode_content, encode_content
from licet.identity.authenticated import ANY
from licet.ledger.issued import Issues, change_mark, end_mark
from licet.ledger.record import microseconds
from licet.ledger.vault import Subject
from licet.model import OPERATOR_LOG
from licet.store.contract import RewriteCredential

if TYPE_CHECKING:
    from licet.ledger.acts import Operator
    from licet.ledger.erasure_manifest import ErasedTarget
    from licet.ledger.seal import Statement
    from licet.store.contract import Store, StoredCredential

_NAME_LIMIT: Final = 200
_REASON: Final = "somebody whom it named was erased"


class KeysCleared(Struct, frozen=True):
    """Records and changes for the batch of the erasure, and the ids of the keys."""

    statements: tuple[Statement, ...] = ()
    changes: tuple[RewriteCredential, ...] = ()
    credentials: tuple[str, ...] = ()


class NamedIn(Struct, frozen=True):
    """A key whose row names somebody, and what it is to be for without them."""

    row: StoredCredential
    content: KeyContent
    left: KeyContent

    @property
    def ends(self) -> bool:
        """Whether nobody is left whose key it is, or for whom it speaks (rule 1)."""
        mine = self.left.user == ERASED and self.content.user != ERASED
        return mine or (self.left.users != self.content.users and set(self.left.users) == {ERASED})


def salted(content: KeyContent) -> bytes:
    """The content as it is stored, with a salt of its own."""
    return encode_content(replace(content, salt=os.urandom(16).hex()))


def word(name: str) -> re.Pattern[str]:
    """Finds the name as a word of its own, in whatever case."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)


def keys_naming(store: Store, log: str, user: str) -> tuple[NamedIn, ...]:
    """The keys of this tenant (rule 5) that name the user. Raises `StoreError`."""
    found = [_named(row, log, user) for row in store.credentials()]
    return tuple([one for one in found if one is not None])


def clear_keys(operator: Operator, erased: ErasedTarget, user: str | None) -> KeysCleared:
    """What goes into the batch that erases this user; `user` is None where only the pseudonym is known. Raises `StoreError`."""
    if not erased.target.startswith("User::"):
        return KeysCleared()
    user = _find_name(operator.store, erased) if user is None else user
    found = () if user is None else keys_naming(operator.store, erased.log, user)
    if not found:
        return KeysCleared()
    issues = Issues()
    for envelope in operator.store.credential_records().envelopes:
        issues.take(envelope)
    made = [_clear(operator, one, issues, erased) for one in found]
    return KeysCleared(
        tuple([said for said, _ in made]), tuple([change for _, change in made]), tuple([one.row.issued.id for one in found])
    )


def _clear(operator: Operator, found: NamedIn, issues: Issues, erased: ErasedTarget) -> tuple[Statement, RewriteCredential]:
    issued, now = found.row.issued, microseconds(operator.now())
    anew = replace(issued, content=salted(found.left))
    known = issued.id in issues.marks
    ends = found.ends and known and issues.ends.get(issued.id, now + 1) > now
    sound = (change_mark(anew),) if issues.bears_out(issued) else ()  # rule 4
    said = operator.say(
        "admin",
        OPERATOR_LOG,
        {"act": "revoke_credential" if ends else "clear_credential", "credential": issued.id, "reason": _REASON, "erased": erased.target},
        marks=(*sound, *((end_mark(issued.id, now),) if ends else ())),
    )
    return said, RewriteCredential(issued.id, issued.content, anew.content, now if ends else None)


def _named(row: StoredCredential, log: str, user: str) -> NamedIn | None:
    content = _content(row)
    if content is None or not (log == OPERATOR_LOG or {ANY, log}.intersection(content.tenants)):
        return None
    left = replace(
        content,
        name=word(user).sub(ERASED, content.name)[:_NAME_LIMIT],
        user=ERASED if content.user == user else content.user,
        users=tuple(dict.fromkeys([ERASED if name == user else name for name in content.users])),
        passkey=None if content.user == user else content.passkey,
    )
    return None if left == content else NamedIn(row, content, left)


def _find_name(store: Store, erased: ErasedTarget) -> str | None:
    """Who of those that keys name has this pseudonym: a restored backup knows the name, and the manifest does not."""
    contents = [content for row in store.credentials() if (content := _content(row)) is not None]
    names = dict.fromkeys([name for content in contents for name in (content.user, *content.users) if name not in {None, ANY, ERASED}])
    return next((name for name in names if name and store.find_pseudonym(Subject(erased.log, "User", name)) == erased.pseudonym), None)


def _content(row: StoredCredential) -> KeyContent | None:
    try:
        return decode_content(row.issued.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

"""What is recorded with a vote and decides nothing: the voter's comment, and by what they were known."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from licet.errors import VoteRefused
from licet.model import VoteChannel

COMMENT_LIMIT = 4_000
"""A comment is kept with the vote for as long as the record is, and shown beside it."""


class Aside(Struct, frozen=True, kw_only=True):
    """The comment, and the id of the credential that was shown; on a local store, where none is, the operating system's user.

    `channel` is through what the vote came, where its voter did not come themselves.
    """

    comment: str | None
    operating_user: str | None
    credential: str | None
    channel: VoteChannel | UnsetType = UNSET


def aside(comment: str | None, operating_user: str | None, credential: str | None, channel: VoteChannel | None = None) -> Aside:
    """The same as a record can hold it. Raises `VoteRefused` for a comment that is too long."""
    if comment is not None and len(comment) > COMMENT_LIMIT:
        raise VoteRefused("comment_too_long", f"a comment has at most {COMMENT_LIMIT} characters, this one {len(comment)}")
    return Aside(
        comment=_unicode(comment),
        operating_user=_unicode(operating_user),
        credential=credential,
        channel=UNSET if channel is None else channel,
    )


def _unicode(unverified: str | None) -> str | None:
    """Text as a record can hold it: half of a surrogate pair is written out (a command line gives one for each byte that is no text)."""
    return None if unverified is None else unverified.encode("utf-8", "backslashreplace").decode()

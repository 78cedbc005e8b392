"""A server in place of the ledger at hand: the client that this use of the program asks with, and its refusals as they are told locally."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.errors import ConfigInvalid, LicetError, ServerProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from licet.cli.invocation import Invocation
    from licet.client import Client

T = TypeVar("T")

PAGE = 200
"""Entries asked for at once."""


class Page(Protocol):
    """One page of a list. `next` is the cursor of the page behind it, None where this is the last."""

    @property
    def next(self) -> str | None: ...  # noqa: D102  as above


P = TypeVar("P", bound=Page)

OF_THE_SERVER = frozenset(
    {
        "bad_answer",
        "bad_cursor",
        "bad_request",
        "integrity_broken",
        "internal_error",
        "invalid_credential",
        "method_not_allowed",
        "no_credential",
        "not_found",
        "not_json",
        "not_permitted",
        "person_needed",
        "request_timeout",
        "too_large",
        "too_many_requests",
        "unavailable",
        "unknown_login",
        "unsupported_media_type",
    }
)
"""Codes of the door itself. Any other is that of the room behind it, and is told as if it were at hand."""


def client_of(invocation: Invocation) -> Client:
    """The client of the server that was named. Raises `Refusal` where address or credential cannot be used."""
    from licet.client import Client  # noqa: PLC0415 - loaded where a server is asked

    try:
        return Client.connect(invocation.server, credential_file=invocation.api_key_file)
    except ConfigInvalid as error:
        step = "`--server https://licet.example.com`; the key is in `LICET_API_KEY`, or in the file that `--api-key-file` names"
        raise Refusal(Exit.USAGE, "server_unusable", str(error), next_step=step) from error


@contextmanager
def refusals(kind: Callable[[str, str], LicetError]) -> Iterator[None]:
    """What the room behind the door refuses, as the error that this room raises; what the door refuses, as it is."""
    try:
        yield
    except ServerProblem as error:
        if error.code in OF_THE_SERVER:
            raise
        raise kind(error.code, str(error)) from error


@contextmanager
def missing(message: str, step: str) -> Iterator[None]:
    """What is not there, or may not be seen, told as it is told of the ledger at hand."""
    try:
        yield
    except ServerProblem as error:
        if error.code != "not_found":
            raise
        raise Refusal(Exit.ERROR, "not_found", message, next_step=step) from error


def all_pages(read: Callable[[str | None], P], entries: Callable[[P], Sequence[T]]) -> tuple[T, ...]:
    """Everything that a list has, read a page at a time."""
    page = read(None)
    found = list(entries(page))
    while page.next is not None and entries(page):
        page = read(page.next)
        found += entries(page)
    return tuple(found)


def as_type(value: Any, wanted: type[T]) -> T:
    """What the API answered, as the type of the rooms that has the same members."""
    return msgspec.json.decode(msgspec.json.encode(value), type=wanted)


def check_person(client: Client, named: str | None) -> str:
    """The person whose credential is shown: nobody else's name can be given. Raises `Refusal`."""
    who = client.who_am_i()
    if who.user is None:
        message = "the credential is a program's, and this is for a person"
        raise Refusal(Exit.NOT_AUTHENTICATED, "person_needed", message, next_step="show a person's credential: their key, or their token")
    if named is not None and named != who.user:
        message = f"the credential is of `{who.user}`, and not of `{named}`"
        raise Refusal(
            Exit.NOT_AUTHENTICATED, "not_this_person", message, next_step=f"leave `--as` out, or show the credential of `{named}`"
        )
    return who.user

"""OpenID AuthZEN 1.0: `POST /access/v1/search/{subject,resource,action}`, a page at a time.

Rules:

1. Who searches needs `evaluations.search`: for whom the question names, and for each subject that is found.
2. A page token holds a place and the digest of the question, and grants nothing: a page is decided anew, and may be asked for by anybody
   who may ask the question. A token of another question is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from licet.errors import ResolverRefused, SearchRefused
from licet.gate.inquiry import Action, Inquiry, Resource, Subject
from licet.gate.searching import PAGE_LIMIT, Sought
from licet.model import JsonObject
from licet.server.authzen import decoded, inquirer_of, permitted_tenant
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem, bad_request

TOKEN_LIMIT: Final = 200
"""Characters: ours are shorter."""


class SearchPage(Struct, frozen=True):
    """Which part of the results. `token` is the `next_token` of the page before; all else must then be as it was."""

    token: str | None = None
    limit: Annotated[int, Meta(ge=0)] | None = None


class SoughtSubject(Struct, frozen=True):
    """Whom a search looks for: subjects of this type."""

    type: str
    properties: JsonObject = {}


class SoughtResource(Struct, frozen=True):
    """What a search looks for: resources of this type."""

    type: str
    properties: JsonObject = {}


class SubjectSearch(Struct, frozen=True):
    """Which subjects of a type may do this action on this resource?"""

    subject: SoughtSubject
    action: Action
    resource: Resource
    context: JsonObject = {}
    page: SearchPage = SearchPage()


class ResourceSearch(Struct, frozen=True):
    """On which resources of a type may this subject do this action?"""

    subject: Subject
    action: Action
    resource: SoughtResource
    context: JsonObject = {}
    page: SearchPage = SearchPage()


class ActionSearch(Struct, frozen=True):
    """Which actions may this subject do on this resource?"""

    subject: Subject
    resource: Resource
    context: JsonObject = {}
    page: SearchPage = SearchPage()


class FoundEntity(Struct, frozen=True):
    """A subject or a resource."""

    type: str
    id: str


class FoundAction(Struct, frozen=True):
    """An action."""

    name: str


class FoundPage(Struct, frozen=True):
    """`next_token` is empty where there are no more."""

    next_token: str
    count: int


class FoundEntities(Struct, frozen=True):
    """A page of subjects or resources."""

    page: FoundPage
    results: tuple[FoundEntity, ...]


class FoundActions(Struct, frozen=True):
    """A page of actions."""

    page: FoundPage
    results: tuple[FoundAction, ...]


class _Place(Struct, frozen=True, array_like=True):
    """What a token says."""

    question: bytes
    start: Annotated[int, Meta(ge=0)]
    limit: Annotated[int, Meta(ge=0)]


_read_place = msgspec.msgpack.Decoder(_Place).decode
_write_place = msgspec.msgpack.Encoder().encode


def _subjects(asked: Asked) -> Answer:
    search = decoded(asked, SubjectSearch)
    inquiry = Inquiry(Subject(search.subject.type, "", search.subject.properties), search.action, search.resource, search.context)
    names, page, tenant = _find(asked, "subject", inquiry, search.page)
    kind = search.subject.type
    allowed = [name for name in names if asked.decide("evaluations.search", tenant, Subject(kind, name).ref).allowed]
    results = tuple([FoundEntity(kind, name) for name in allowed])
    return Answer(body=FoundEntities(msgspec.structs.replace(page, count=len(results)), results))


def _resources(asked: Asked) -> Answer:
    search = decoded(asked, ResourceSearch)
    inquiry = Inquiry(search.subject, search.action, Resource(search.resource.type, "", search.resource.properties), search.context)
    names, page, _ = _find(asked, "resource", inquiry, search.page)
    return Answer(body=FoundEntities(page, tuple([FoundEntity(search.resource.type, name) for name in names])))


def _actions(asked: Asked) -> Answer:
    search = decoded(asked, ActionSearch)
    inquiry = Inquiry(search.subject, Action(""), search.resource, search.context)
    names, page, _ = _find(asked, "action", inquiry, search.page)
    return Answer(body=FoundActions(page, tuple([FoundAction(name) for name in names])))


def _find(asked: Asked, sought: Sought, inquiry: Inquiry, page: SearchPage) -> tuple[tuple[str, ...], FoundPage, str]:
    """The names of this page, how it goes on, and the tenant. Raises `Problem`."""
    inquirer = inquirer_of(asked.who, asked.directory)
    tenant = permitted_tenant(asked, "evaluations.search", inquiry, inquirer, about_subject=sought != "subject")
    question = _digest(sought, inquiry)
    place = _place(page, question)
    try:
        found = asked.gate.search(sought, inquiry, inquirer=inquirer, start=place.start, limit=place.limit)
    except SearchRefused as refused:
        raise bad_request(str(refused)) from refused
    except ResolverRefused as refused:
        raise Problem("internal_error", str(refused)) from refused
    token = "" if found.next is None else _token(msgspec.structs.replace(place, start=found.next))
    return found.names, FoundPage(token, len(found.names)), tenant


def _place(page: SearchPage, question: bytes) -> _Place:
    """Where this page begins, and how long it is. Raises `Problem` for a token that is none, or of another question."""
    limit = PAGE_LIMIT if page.limit is None else page.limit
    if not page.token:
        return _Place(question, 0, limit)
    try:
        place = _read_place(base64.b64decode(page.token[:TOKEN_LIMIT], altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise bad_request("the page token is none that was given here") from error
    if place.question != question or (page.limit is not None and page.limit != place.limit):
        raise bad_request("the page token is of another question: everything but the token must be as it was")
    return place


def _token(place: _Place) -> str:
    return base64.urlsafe_b64encode(_write_place(place)).decode()


def _digest(sought: Sought, inquiry: Inquiry) -> bytes:
    """16 bytes that tell questions apart."""
    return hashlib.sha256(msgspec.json.encode((sought, inquiry), order="sorted")).digest()[:16]


def _search(sought: Sought, handler: Callable[[Asked], Answer], body: type[Struct], returns: Any) -> Endpoint:
    return Endpoint(
        method="POST",
        path=f"/access/v1/search/{sought}",
        operation=f"search{sought.capitalize()}s",
        summary=f"The {sought}s for which a question would be answered with a permission (AuthZEN 1.0)",
        tag="authzen",
        action="evaluations.search",
        handler=handler,
        body=body,
        returns=returns,
        takes_raw=True,
        plain_errors=True,
    )


ENDPOINTS = (
    _search("subject", _subjects, SubjectSearch, FoundEntities),
    _search("resource", _resources, ResourceSearch, FoundEntities),
    _search("action", _actions, ActionSearch, FoundActions),
)

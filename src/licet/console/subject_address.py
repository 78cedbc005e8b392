"""Where the page of a subject is, and how the log is asked for it.

Rules:

1. A subject is of one tenant: the same type and id in another one is somebody else, and another page.
2. What names it stands in the query, never in the path: browsers change paths that hold `..` or `.`, and an id may be anything.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from msgspec import Meta, Struct

from licet.model import EntityRef
from licet.server.shapes_records import Name, SearchRecords

HERE: Final = "/console/subjects"
PERSON: Final = "User"
"""The type of people of the directory: agents act for them, and no tool has them as a target."""
Type = Annotated[str, Meta(pattern="^[A-Z][A-Za-z0-9_]*$", max_length=100)]


class Subject(Struct, frozen=True):
    """Somebody or something that agents act on, or for, in a tenant."""

    tenant: str
    type: str
    id: str

    @property
    def ref(self) -> EntityRef:
        """As policies and records name it."""
        return EntityRef(self.type, self.id)

    @property
    def query(self) -> str:
        """What names it, as a query."""
        return urlencode({"tenant": self.tenant, "type": self.type, "id": self.id})


class OneSubject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom or what."""

    tenant: Name
    type: Type
    id: Name

    @property
    def subject(self) -> Subject:
        """It."""
        return Subject(self.tenant, self.type, self.id)


def path_of(subject: Subject, act: str = "") -> str:
    """The page of a subject, or of something that is done to it (`erase`, `export`)."""
    return f"{HERE}{f'/{act}' if act else ''}?{subject.query}"


def asking_for(subject: Subject, types: frozenset[str], **more: object) -> SearchRecords:
    """The search that finds its records; `types` are those that the catalog knows."""
    if subject.type == PERSON:
        return SearchRecords(tenant=subject.tenant, user=subject.id, **more)  # type: ignore[arg-type]  # parameters by their names
    # The form with a slash takes any id as it is, but only types that are known.
    target = f"{subject.type}/{subject.id}" if subject.type in types else str(subject.ref)
    return SearchRecords(tenant=subject.tenant, target=target, **more)  # type: ignore[arg-type]  # as above

"""What an endpoint is: one row of a table, typed, with the permission that it needs.

Rules:

1. Whoever is asked to answer is given an `Asked`: a verified credential, and parameters and body that were decoded strictly.
2. Permission is asked for by tenant, with `allow` or `tenants`. An answer that goes out although nobody asked is an error of ours, and does
   not go out (`app.py`).
3. A tenant that this credential may not reach, and one that is not there, answer alike.
4. Unknown parameters and unknown members of a body are refused: a misspelt filter must not show everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from copy import copy
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import fields

from licet.gate.gate import Gate
from licet.identity.authenticated import ANY, Authenticated
from licet.identity.directory import Directory
from licet.model import OPERATOR_LOG, EntityRef
from licet.policy.bundle import OWN_FILE
from licet.policy.own import Asker, OwnAction, OwnDecision
from licet.server.problems import Problem, not_found

Method = Literal["GET", "POST", "PUT", "DELETE"]


class Answer(Struct, frozen=True, kw_only=True):
    """What goes out. `content` is encoded already; `stream` is for what must not lie in memory whole; else `body` is encoded as JSON.

    `etag` stands for the content: a GET whose `If-None-Match` names it is answered with 304 and nothing else.
    """

    body: Any = None
    content: bytes | None = None
    stream: Iterator[bytes] | AsyncIterator[bytes] | None = None
    media_type: str = "application/json"
    status: int | None = None
    etag: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Serving:
    """What all requests share beside the gate."""

    def __init__(self, gate: Gate, *, public_url: str | None = None, version: str = "0") -> None:
        self.gate: Final = gate
        self.public_url: Final = public_url
        self.version: Final = version


class Asked:
    """One request that may be answered: who asks, and for what."""

    __slots__ = ("_asker", "_checked", "body", "headers", "params", "path", "raw_body", "request_id", "serving", "who")

    def __init__(  # one request
        self,
        serving: Serving,
        who: Authenticated,
        *,
        params: Any,
        body: Any,
        raw_body: bytes,
        headers: Mapping[bytes, bytes],
        path: str,
        request_id: str,
    ) -> None:
        self.serving = serving
        self.who = who
        self.params = params
        self.body = body
        self.raw_body = raw_body
        self.headers = headers
        self.path = path
        self.request_id = request_id
        self._checked = [False]  # one for all that `with_input` makes of it
        self._asker: Asker | None = None

    def with_input(self, params: Any, body: Any) -> Asked:
        """The same request of the same one, for other parameters: a page is made of what several endpoints answer."""
        other = copy(self)
        other.params, other.body = params, body
        return other

    @property
    def checked(self) -> bool:
        """Whether permission was asked for."""
        return self._checked[0]

    def note_checked(self) -> None:
        """Who may ask was decided in another way than by `decide`."""
        self._checked[0] = True

    @property
    def gate(self) -> Gate:
        """The one pipeline."""
        return self.serving.gate

    @property
    def directory(self) -> Directory:
        """Who there is, as it is in force now."""
        return self.serving.gate.scene.directory

    @property
    def person(self) -> str:
        """The person who asks. Raises `Problem` where a program does: a program votes on nothing."""
        if self.who.user is None:
            raise Problem("person_needed", "this is for a person: the credential is a program's", status=403)
        return self.who.user

    @property
    def asker(self) -> Asker:
        """Who asks, as `licet.cedar` sees it. Raises `Problem` for a person whom the directory does not have any more."""
        if self._asker is None:
            self._asker = asker_of(self.who, self.directory)
        return self._asker

    def header(self, name: str) -> str | None:
        """A header's value by its lower-case name; of one that is sent twice, the last."""
        value = self.headers.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def decide(self, action: OwnAction, tenant: str, subject: EntityRef | None = None) -> OwnDecision:
        """Whether this one may do that there, the credential's own tenants being a wall before every policy."""
        self._checked[0] = True
        if not self._reaches(action, tenant):
            return OwnDecision(False, (), "the credential does not reach this tenant")
        return self._decide(action, tenant, subject)

    def _decide(self, action: OwnAction, tenant: str, subject: EntityRef | None) -> OwnDecision:
        own = self.gate.scene.own
        if own is None:
            return OwnDecision(False, (), f"there is no `{OWN_FILE}`")
        return own.decide(self.asker, action, tenant, subject)

    def allow(self, action: OwnAction, tenant: str, subject: EntityRef | None = None) -> None:
        """Nothing, where it is permitted. Raises `not_found` where the tenant is out of reach, `not_permitted` where policy says no."""
        self._checked[0] = True
        if not self._reaches(action, tenant):
            raise not_found()
        if not self._decide(action, tenant, subject).allowed:
            raise not_permitted(action)

    def tenants(self, action: OwnAction) -> tuple[str, ...]:
        """The tenants, the installation (`operator`) among them, in which this one may do that, by name."""
        names = (*sorted(self.directory.tenants), OPERATOR_LOG)
        return tuple(name for name in names if self.decide(action, name).allowed)

    def chosen(self, action: OwnAction, tenant: str | None) -> tuple[str, ...]:
        """The one tenant that was asked for, or all in which this one may do that. Raises as `allow`, and where there is none."""
        if tenant is not None:
            self.allow(action, tenant)
            return (tenant,)
        found = self.tenants(action)
        if not found:
            raise not_permitted(action)
        return found

    def _reaches(self, action: OwnAction, tenant: str) -> bool:
        directory = self.directory
        if tenant != OPERATOR_LOG and tenant not in directory.tenants:
            return False
        if action in _OF_APPROVERS and _decides_everywhere(directory, self.who):
            return tenant != OPERATOR_LOG
        if tenant not in self.who.tenants and ANY not in self.who.tenants:
            return False
        # A person who has left the tenant since the credential was verified reaches it no more.
        return self.who.user is None or tenant == OPERATOR_LOG or directory.is_in_tenant(self.who.user, tenant)


_OF_APPROVERS = frozenset({"requests.read", "requests.vote"})
"""Members of a group whose scope is `operator` decide on requests of every tenant."""


def _decides_everywhere(directory: Directory, who: Authenticated) -> bool:
    """A credential that is for less than its person stays a wall: an API key of some tenants, and a token for one."""
    user = directory.users.get(who.user) if who.user is not None else None
    if who.user is None or user is None or (ANY not in who.tenants and (who.method == "api_key" or {*user.tenants} - {*who.tenants})):
        return False
    return any(group.scope == "operator" and directory.is_member(who.user, name) for name, group in directory.groups.items())


def asker_of(who: Authenticated, directory: Directory) -> Asker:
    """Who asks, with the roles and groups that the directory gives now beside the roles of the credential."""
    if who.user is None:
        return Asker(type="Client", id=who.credential, method=who.method, roles=who.roles)
    entry = directory.users.get(who.user)
    if entry is None or entry.disabled:
        raise Problem("not_permitted", "the directory does not have this person any more")
    groups = tuple(sorted(name for name in directory.groups if directory.is_member(who.user, name)))
    return Asker(type="User", id=who.user, method=who.method, roles=tuple(dict.fromkeys((*entry.roles, *who.roles))), groups=groups)


def not_permitted(action: str) -> Problem:
    """Policy says no. Which policies there are is not for whoever asks."""
    return Problem("not_permitted", f"`{action}` is not permitted to this credential")


Handler: TypeAlias = Callable[[Asked], Answer] | Callable[[Asked], Awaitable[Answer]]


class Endpoint(Struct, frozen=True, kw_only=True):
    """One row of the API.

    `params` holds the parameters of path and query, `body` what is sent and `returns` what is answered, as JSON. A plain function runs in a
    worker thread, a coroutine function on the event loop; one that `waits` (long polls) is cancelled when its peer goes away. `action` is
    what the handler asks permission for; None where every credential may ask. `public` needs no credential at all. `other_media` are what
    it may answer in besides `media_type`, `statuses` further statuses of problems that this endpoint may answer with. With `plain_errors` a
    problem is its sentence, as text: AuthZEN wants it so.
    """

    method: Method
    path: str
    operation: str
    summary: str
    tag: str
    action: OwnAction | None
    handler: Handler
    params: type[Struct] | None = None
    body: type[Any] | None = None
    returns: Any = None
    status: int = 200
    media_type: str = "application/json"
    other_media: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    takes_raw: bool = False
    waits: bool = False
    public: bool = False
    body_optional: bool = False
    plain_errors: bool = False

    def __post_init__(self) -> None:
        if self.params is not None and not self.params.__struct_config__.forbid_unknown_fields:
            raise TypeError(f"`{self.params.__name__}` must refuse unknown fields")
        known = () if self.params is None else tuple(field.encode_name for field in fields(self.params))
        missing = [name for name in self.path_names if name not in known]
        if missing:
            raise TypeError(f"`{self.path}` has no parameter `{missing[0]}`")

    @property
    def path_names(self) -> tuple[str, ...]:
        """The parameters that stand in the path."""
        return tuple(part[1:-1].partition(":")[0] for part in self.path.split("/") if part.startswith("{"))

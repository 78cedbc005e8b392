"""licet.toml to typed settings.

Rules:

1. The file that was named is the file that is read. It is never searched for in parent folders, where somebody else may have put one.
2. Every key is known. An unknown one is an error that names the key, the file and the nearest known key: a misspelt `acts_for` that was
   skipped in silence would widen what an agent may do.
3. `environment`, `policies`, `store` and `witness` take no override from the process environment, since they say what is governed and
   where it is written down. A variable that looks like one is an error: skipped in silence it would leave its author believing in it.
   The keys of `[limits]` and `[approvals]` may be overridden (`LICET_LIMITS_ARGUMENTS_BYTES`, `LICET_APPROVALS_EXPIRES`).
4. Relative paths start at the file's folder, never at the working directory.
5. A file is used whole or not at all.

What the tables of people and programs mean is checked where they become a directory (`identity/content.py`), what tools and resources
mean where they become a catalog (`catalog/declared.py`).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from licet.catalog.declared import ResourceSettings, ToolSettings
from licet.errors import ConfigInvalid
from licet.model import JsonObject
from licet.names import name_problem, quoted

FILE_LIMIT_BYTES = 4 * 1024 * 1024
"""A directory of ten thousand users takes about 1 MiB; a file past this is not a configuration."""
LONGEST_EXPIRY_S = 30 * 86_400
"""An approval that can be used after a month was given for another world."""

_NO_OVERRIDE = ("environment", "keys", "policies", "store", "witness")
_OVERRIDABLE = ("limits", "approvals")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Timeout = Annotated[float, Meta(gt=0, le=3_600)]


class TenantSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[tenants.X]`: that it exists is all there is to say."""


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[agents.X]`. `tenants` may be `["*"]`; `owner` is the user who answers for it."""

    tenants: Annotated[tuple[str, ...], Meta(min_length=1)]
    roles: tuple[str, ...] = ()
    acts_for: Literal["user", "self", "both"] = "user"
    owner: str | None = None


class ServiceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[services.X]`. `tenants` may be `["*"]`."""

    tenants: Annotated[tuple[str, ...], Meta(min_length=1)]
    roles: tuple[str, ...] = ()


class UserSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[users.X]`. Ids that share a `person` are one person, who votes once; by default every id is its own person."""

    tenants: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    person: str | None = None
    disabled: bool = False


class GroupSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `[groups]`. With scope `operator`, members vote on the requests of every tenant, else on those of their own."""

    members: tuple[str, ...]
    scope: Literal["tenant", "operator"] = "tenant"


class MeterSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `[meters]`: the sum of one whole-number argument of one tool over a session."""

    tool: str
    argument: str


class ApprovalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[approvals]`. `expires_s` (written `expires = "15m"`) is how long a request, and an approval given to it, can be used."""

    expires_s: int = 900


class LimitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: bytes of arguments, deadlines in seconds, and after how many equal denials a minute they are counted in one record."""

    arguments_bytes: Annotated[int, Meta(ge=1_024, le=64 * 1024 * 1024)] = 1024 * 1024
    resolver_timeout_s: Timeout = 5.0
    tool_timeout_s: Timeout | None = None
    store_timeout_s: Timeout = 30.0
    denials_per_minute: Annotated[int, Meta(ge=1)] = 20


class WitnessServer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `[[witness.servers]]`: a C2SP tlog-witness, the key it cosigns with, and where it shows what it has seen."""

    url: str
    vkey: str
    monitoring_url: str | None = None


class WitnessSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[witness]`: who outside the store holds its newest checkpoint.

    `anchors` are files, best on another disk; `log` is the vkey of one of the ledger's own signing keys, from which the others must be
    reached. When none of them and of the servers has taken one for `max_age_s`, calls are refused.
    """

    anchors: tuple[Path, ...] = ()
    servers: tuple[WitnessServer, ...] = ()
    log: str | None = None
    max_age_s: int = 3_600


class SearchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[search]`: whether the search index is kept while calls go on, and whether it holds the words of (redacted) payloads."""

    index: bool = True
    text: bool = True


class RetentionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[retention]`. `payloads_s` (written `payloads = "400d"`) is the age past which `licet audit prune` drops payloads."""

    payloads_s: int | None = None


class Settings(Struct, frozen=True, kw_only=True):
    """A whole licet.toml, or the same written in Python. Paths are absolute if they come from a file; mappings are read-only.

    `store` is `sqlite:PATH`; `keys` says where its key comes from (`ledger/keys.py`). `cross_tenant` holds pairs (tenant of the caller,
    tenant of the target) that may meet.
    """

    environment: str
    store: str = "sqlite:licet.db"
    keys: str = "file:licet.key"
    policies: Path = Path("policies")
    roles: tuple[str, ...] = ()
    cross_tenant: tuple[tuple[str, str], ...] = ()
    tenants: Mapping[str, TenantSettings] = MappingProxyType({})
    agents: Mapping[str, AgentSettings] = MappingProxyType({})
    services: Mapping[str, ServiceSettings] = MappingProxyType({})
    users: Mapping[str, UserSettings] = MappingProxyType({})
    groups: Mapping[str, GroupSettings] = MappingProxyType({})
    tools: Mapping[str, ToolSettings] = MappingProxyType({})
    resources: Mapping[str, ResourceSettings] = MappingProxyType({})
    meters: Mapping[str, MeterSettings] = MappingProxyType({})
    approvals: ApprovalSettings = ApprovalSettings()
    limits: LimitSettings = LimitSettings()
    witness: WitnessSettings = WitnessSettings()
    search: SearchSettings = SearchSettings()
    retention: RetentionSettings = RetentionSettings()
    file: Path | None = None

    @property
    def store_path(self) -> Path:
        """The SQLite file of `store`."""
        return Path(self.store.removeprefix("sqlite:"))


class _Document(Struct, kw_only=True):
    """The top level of the file; each table is decoded by itself, so that an error can name its key."""

    environment: str
    store: str = "sqlite:licet.db"
    keys: str = "file:licet.key"
    policies: str = "policies"
    roles: tuple[str, ...] = ()
    cross_tenant: tuple[tuple[str, str], ...] = ()
    tenants: dict[str, Any] = {}
    agents: dict[str, Any] = {}
    services: dict[str, Any] = {}
    users: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    tools: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    meters: dict[str, Any] = {}
    approvals: Any = {}
    limits: Any = {}
    witness: Any = {}
    retention: Any = {}
    search: Any = {}


class _Witness(Struct):
    """`[witness]` as written; `anchor` is one path or several."""

    anchor: str | tuple[str, ...] = ()
    servers: tuple[WitnessServer, ...] = ()
    log: str | None = None
    max_age: str = "1h"


class _Retention(Struct):
    """`[retention]` as written."""

    payloads: str | None = None


class _Expiry(Struct):
    """`[approvals]` as written."""

    expires: str = "15m"


_T = TypeVar("_T", bound=Struct)


def load(path: str | os.PathLike[str] = "licet.toml", *, environ: Mapping[str, str] | None = None) -> Settings:
    """Read this very file. `environ` is the process environment, `os.environ` by default.

    Raises `ConfigInvalid` with the file, and the key where one is at fault.
    """
    file = Path(path)
    try:
        # One byte more than allowed tells a file at the limit from one past it, whatever its size is by then.
        with file.open("rb") as stream:
            content = stream.read(FILE_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigInvalid(f"there is no file `{file}`; `licet init` writes one", file=str(file)) from error
    except OSError as error:
        raise ConfigInvalid(f"`{file}` cannot be read: {(error.strerror or 'unknown error').lower()}", file=str(file)) from error
    return loads(content, file=file.absolute(), environ=os.environ if environ is None else environ)


def loads(content: bytes | str, *, file: Path, environ: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Settings from the content of a licet.toml that lies, or would lie, at `file` (absolute). Raises `ConfigInvalid`."""
    return _Reader(str(file)).settings(content, file, environ)


def parse_duration_s(text: str) -> int | None:
    """Seconds of a duration such as `90s`, `15m`, `2h` or `1d`; None if it is not one."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    return int(match[1]) * _UNIT_S[match[2]] if match else None


class _Reader:
    """Decodes one file; knows its name, so that every error can say it."""

    def __init__(self, file: str) -> None:
        self._file = file

    def settings(self, content: bytes | str, file: Path, environ: Mapping[str, str]) -> Settings:
        """The whole file, with the overrides of `environ`."""
        overrides = self._overrides(environ)
        top = self._struct(self._parse(content), _Document, "")
        if problem := name_problem(top.environment):
            raise self._invalid("environment", f"is not a usable name: {problem}")
        return Settings(
            environment=top.environment,
            store=self._store(top.store, file.parent),
            keys=self._keys(top.keys, file.parent),
            policies=file.parent / self._path(top.policies, "policies"),
            roles=top.roles,
            cross_tenant=top.cross_tenant,
            tenants=self._table(top.tenants, TenantSettings, "tenants"),
            agents=self._table(top.agents, AgentSettings, "agents"),
            services=self._table(top.services, ServiceSettings, "services"),
            users=self._table(top.users, UserSettings, "users"),
            groups=self._table({name: _long_form(group) for name, group in top.groups.items()}, GroupSettings, "groups"),
            tools=self._table(top.tools, ToolSettings, "tools"),
            resources=self._table(top.resources, ResourceSettings, "resources"),
            meters=self._table(top.meters, MeterSettings, "meters"),
            approvals=self._approvals(top.approvals, overrides["approvals"]),
            limits=self._limits(top.limits, overrides["limits"]),
            witness=self._witness(top.witness, file.parent),
            retention=self._retention(top.retention),
            search=self._struct(top.search, SearchSettings, "search"),
            file=file,
        )

    def _parse(self, content: bytes | str) -> JsonObject:
        if len(content) > FILE_LIMIT_BYTES:
            raise self._invalid(None, f"is larger than {FILE_LIMIT_BYTES} bytes")
        try:
            return tomllib.loads(content if isinstance(content, str) else content.decode())
        except UnicodeDecodeError as error:
            raise self._invalid(None, f"is not UTF-8 at byte {error.start}") from error
        except tomllib.TOMLDecodeError as error:
            detail = str(error)
            raise self._invalid(None, f"is not TOML: {detail[:1].lower()}{detail[1:]}") from error
        except RecursionError as error:
            raise self._invalid(None, "is nested too deeply") from error

    def _overrides(self, environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The overrides in the process environment, by section; a variable that tries to override anything else is refused."""
        found: dict[str, dict[str, str]] = {section: {} for section in _OVERRIDABLE}
        fixed = {*_NO_OVERRIDE, *_Document.__struct_fields__}
        for variable, value in environ.items():
            if not variable.startswith("LICET_"):
                continue
            name = variable.removeprefix("LICET_").lower()
            section, _, key = name.partition("_")
            if section in _OVERRIDABLE:
                found[section][key] = value
            elif name in fixed or get_close_matches(section, _OVERRIDABLE, n=1, cutoff=0.8):
                raise self._invalid(name, f"cannot be set by the environment variable `{variable}`: unset it and write it in the file")
        return found

    def _table(self, table: dict[str, Any], kind: type[_T], where: str) -> Mapping[str, _T]:
        return MappingProxyType({name: self._struct(entry, kind, f"{where}.{name}") for name, entry in table.items()})

    def _struct(self, unverified: object, kind: type[_T], where: str, *, strict: bool = True) -> _T:
        """One table as a value. Unknown keys are found here, where the nearest known one can be named."""
        known = kind.__struct_fields__
        for key in unverified if isinstance(unverified, dict) else ():
            if key not in known:
                near = get_close_matches(str(key), known, n=1)
                hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(sorted(known))}" if known else ""
                raise self._invalid(_join(where, key), f"is not a known key{hint}")
        try:
            return msgspec.convert(unverified, kind, strict=strict)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            missing = re.fullmatch(r"Object missing required field `(.+)`", message)
            if missing:
                raise self._invalid(_join(where, missing[1]), "is required") from error
            raise self._invalid(_join(where, path.rstrip("`").removeprefix(".")), _spoken(message)) from error

    def _limits(self, table: object, overrides: dict[str, str]) -> LimitSettings:
        limits = self._struct(table, LimitSettings, "limits")
        if not overrides:
            return limits
        return self._struct(msgspec.to_builtins(limits) | overrides, LimitSettings, "limits (from LICET_LIMITS_*)", strict=False)

    def _approvals(self, table: object, overrides: dict[str, str]) -> ApprovalSettings:
        written = self._struct(table, _Expiry, "approvals")
        where = "approvals"
        if overrides:
            where = "approvals (from LICET_APPROVALS_*)"
            written = self._struct(msgspec.to_builtins(written) | overrides, _Expiry, where)
        expires_s = parse_duration_s(written.expires)
        if expires_s is None:
            raise self._invalid(f"{where}.expires", f"is `{written.expires}`, which is not a duration such as `90s`, `15m`, `2h` or `1d`")
        if expires_s > LONGEST_EXPIRY_S:
            raise self._invalid(f"{where}.expires", f"is `{written.expires}`, longer than {LONGEST_EXPIRY_S // 86_400} days")
        return ApprovalSettings(expires_s=expires_s)

    def _retention(self, table: object) -> RetentionSettings:
        written = self._struct(table, _Retention, "retention").payloads
        payloads_s = None if written is None else parse_duration_s(written)
        if written is not None and payloads_s is None:
            raise self._invalid("retention.payloads", f"is `{written}`, which is not a duration such as `90d`")
        return RetentionSettings(payloads_s=payloads_s)

    def _witness(self, table: object, folder: Path) -> WitnessSettings:
        written = self._struct(table, _Witness, "witness")
        paths = (written.anchor,) if isinstance(written.anchor, str) else written.anchor
        max_age_s = parse_duration_s(written.max_age)
        if max_age_s is None:
            raise self._invalid("witness.max_age", f"is `{written.max_age}`, which is not a duration such as `90s`, `15m`, `2h` or `1d`")
        anchors = tuple(folder / self._path(path, "witness.anchor") for path in paths)
        return WitnessSettings(anchors=anchors, servers=written.servers, log=written.log, max_age_s=max_age_s)

    def _store(self, text: str, folder: Path) -> str:
        scheme, colon, path = text.partition(":")
        if scheme != "sqlite" or not colon:
            raise self._invalid("store", f"is `{text}`; expected `sqlite:PATH`")
        if path == ":memory:":
            raise self._invalid("store", "is `sqlite::memory:`, an audit log that ends with the process; tests have `licet.testing`")
        return f"sqlite:{folder / self._path(path, 'store')}"

    def _keys(self, text: str, folder: Path) -> str:
        scheme, colon, rest = text.partition(":")
        if not colon or scheme not in {"file", "env", "command"} or not rest:
            raise self._invalid(
                "keys", f"is `{scheme}...`; expected `file:PATH`, `env:NAME` or `command:COMMAND LINE`, and never a key itself"
            )
        return f"file:{folder / self._path(rest, 'keys')}" if scheme == "file" else text

    def _path(self, text: str, key: str) -> str:
        if not text or "\0" in text:
            raise self._invalid(key, "is not a path")
        return text

    def _invalid(self, key: str | None, what: str) -> ConfigInvalid:
        subject = f"{quoted(key)} in `{self._file}`" if key else f"`{self._file}`"
        return ConfigInvalid(f"{subject} {what}", file=self._file, key=key)


def _long_form(group: object) -> object:
    """`name = ["user"]` is short for `name = {members = ["user"]}`."""
    return {"members": group} if isinstance(group, list) else group


def _join(where: str, key: object) -> str:
    """A dotted key; a part of it may be missing."""
    separator = "" if not where or not key or str(key).startswith("[") else "."
    return f"{where}{separator}{key}"


_WORDS = {"array": "a list", "object": "a table", "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def _spoken(message: str) -> str:
    """A message of the decoder, in the words of somebody who writes TOML."""
    words = re.sub(r"`(\w+)( \| null)?`", lambda match: _WORDS.get(match[1], match[1]), message)
    return f"does not fit: {words[:1].lower()}{words[1:]}"

"""What a licet.toml says, typed: what the other rooms are given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from msgspec import Meta, Struct

from licet.catalog.declared import ResourceSettings, ToolSettings
from licet.config.authzen import AuthzenSettings
from licet.config.identity import IdentitySettings
from licet.config.notify import NotifySettings
from licet.config.postgres import PostgresSettings, is_postgres
from licet.config.server import ServerSettings
from licet.config.upstreams import GatewaySettings, UpstreamSettings, WrapSettings
from licet.errors import ConfigInvalid
from licet.model import Access, Touch

Timeout = Annotated[float, Meta(gt=0, le=3_600)]
RiskClass = Literal[Touch, Access]
"""What a tool touches, or its access."""
RequireReason = Literal["never", "writes", "always"]


class TenantSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[tenants.X]`: that it exists is all there is to say."""


class AgentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[agents.X]`. `tenants` may be `["*"]`; `owner` is the user who answers for it, `logins` what it proves itself by."""

    tenants: Annotated[tuple[str, ...], Meta(min_length=1)]
    roles: tuple[str, ...] = ()
    acts_for: Literal["user", "self", "both"] = "user"
    owner: str | None = None
    logins: tuple[str, ...] = ()


class ServiceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[services.X]`. `tenants` may be `["*"]`; `logins` is what it proves itself by."""

    tenants: Annotated[tuple[str, ...], Meta(min_length=1)]
    roles: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()


class UserSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[users.X]`. Ids that share a `person` are one person, who votes once; by default every id is its own person.

    `logins` (`ISSUER|SUBJECT`) are the tokens that are this user's.
    """

    tenants: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    person: str | None = None
    disabled: bool = False
    logins: tuple[str, ...] = ()


class GroupSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `[groups]`. With scope `operator`, members vote on the requests of every tenant, else on those of their own."""

    members: tuple[str, ...]
    scope: Literal["tenant", "operator"] = "tenant"


class MeterSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of `[meters]`: the sum of one whole-number argument of one tool over a session."""

    tool: str
    argument: str


class ApprovalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[approvals]`. `expires_s` (written `expires = "15m"`) is how long a request, and an approval given to it, can be used.

    `open_per_caller` is how many requests of one caller (agent or service, for one user) may wait for people at a time. Approvals of tools
    that touch, or are of an access class, in `passkey_for` are signed with a passkey.
    """

    expires_s: int = 900
    open_per_caller: int = 100
    passkey_for: tuple[RiskClass, ...] = ()


class LimitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: size of arguments, deadlines in seconds, and after how many equal denials a minute they are counted in one record.

    `outcome_timeout_s` is how long the end of a call that somebody else executes can be reported, unless its tool says otherwise.
    """

    arguments_bytes: Annotated[int, Meta(ge=1_024, le=64 * 1024 * 1024)] = 1024 * 1024
    arguments_values: Annotated[int, Meta(ge=100, le=50_000)] = 10_000
    resolver_timeout_s: Timeout = 5.0
    tool_timeout_s: Timeout | None = None
    store_timeout_s: Timeout = 30.0
    outcome_timeout_s: Annotated[float, Meta(gt=0, le=604_800)] = 600.0
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


class FreezeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[freeze]`: the group of whose members one lifts a freeze, and whether that must be another person than who froze."""

    lifters: str | None = None
    two_persons: bool = False


class SearchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[search]`: whether the search index is kept while calls go on, whether it holds the words of (redacted) payloads, and where it lies.

    Without a `path` it lies beside the ledger, or beside licet.toml where the ledger is in PostgreSQL.
    """

    index: bool = True
    text: bool = True
    path: Path | None = None


class RetentionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[retention]`. `payloads_s` (written `payloads = "400d"`) is the age past which `licet audit prune` drops payloads."""

    payloads_s: int | None = None


class ProductionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[production]`: which reasons of `licet doctor --production` somebody answers for, by name. They are shown all the same."""

    accept: tuple[str, ...] = ()


class Settings(Struct, frozen=True, kw_only=True):
    """A whole licet.toml, or the same written in Python. Paths are absolute if they come from a file; mappings are read-only.

    `timezone` is that of `context.local`, by its name in the tz database. `store` is `sqlite:PATH`, or the URL of a PostgreSQL database;
    `keys` says where its key comes from (`ledger/keys.py`). `cross_tenant` holds pairs (tenant of the caller, tenant of the target) that
    may meet. `require_reason` says which calls must come with one.
    """

    environment: str
    timezone: str = "UTC"
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
    freeze: FreezeSettings = FreezeSettings()
    retention: RetentionSettings = RetentionSettings()
    notify: NotifySettings = NotifySettings()
    production: ProductionSettings = ProductionSettings()
    authzen: AuthzenSettings = AuthzenSettings()
    server: ServerSettings = ServerSettings()
    identity: IdentitySettings = IdentitySettings()
    postgres: PostgresSettings = PostgresSettings()
    upstreams: Mapping[str, UpstreamSettings] = MappingProxyType({})
    gateway: GatewaySettings = GatewaySettings()
    wrap: WrapSettings = WrapSettings()
    require_reason: RequireReason = "never"
    file: Path | None = None

    @property
    def in_postgres(self) -> bool:
        """Whether `store` names a PostgreSQL database."""
        return is_postgres(self.store)

    @property
    def store_path(self) -> Path:
        """The SQLite file of `store`. Raises `ConfigInvalid` where the ledger is in no file."""
        if self.in_postgres:
            raise ConfigInvalid("this is for a ledger in a SQLite file; `store` names a PostgreSQL database")
        return Path(self.store.removeprefix("sqlite:"))

    @property
    def beside(self) -> Path:
        """What belongs to the ledger and lies in files of its own (manifest, search index) is named after this path."""
        if self.in_postgres:
            return (self.file.parent if self.file is not None else Path()) / "licet"
        return self.store_path

"""A whole licet.toml, table by table."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from licet.catalog.declared import ResourceSettings, ToolSettings
from licet.config.authzen import read_authzen
from licet.config.decoding import Decoder
from licet.config.durations import LONGEST_EXPIRY_S, parse_duration_s
from licet.config.identity import check_logins, read_identity
from licet.config.notify import Known, read_notify
from licet.config.postgres import is_postgres, read_postgres, read_url
from licet.config.server import read_server
from licet.config.settings import (
    AgentSettings,
    ApprovalSettings,
    FreezeSettings,
    GroupSettings,
    LimitSettings,
    MeterSettings,
    ProductionSettings,
    RetentionSettings,
    SearchSettings,
    ServiceSettings,
    Settings,
    TenantSettings,
    UserSettings,
    WitnessSettings,
)
from licet.config.upstreams import GatewaySettings, WrapSettings, read_upstreams
from licet.config.written import Document, WrittenApprovals, WrittenRetention, WrittenWitness
from licet.config.zones import zone_problem
from licet.names import name_problem, quoted

_NO_OVERRIDE = ("environment", "keys", "policies", "store", "witness")
_PEOPLE = ("roles", "cross_tenant", "tenants", "agents", "services", "users", "groups")
_OVERRIDABLE = ("limits", "approvals", "server")


class Reader:
    """Reads one file."""

    def __init__(self, file: str) -> None:
        self._decoder = Decoder(file)

    def settings(self, content: bytes | str, file: Path, environ: Mapping[str, str]) -> Settings:
        """The whole file, with the overrides of `environ`."""
        overrides = self._overrides(environ)
        top = self._decoder.struct(self._decoder.parse(content), Document, "")
        if problem := name_problem(top.environment):
            raise self._decoder.invalid("environment", f"is not a usable name: {problem}")
        if problem := zone_problem(top.timezone):
            raise self._decoder.invalid("timezone", problem)
        resources = self._decoder.table(top.resources, ResourceSettings, "resources")
        read = Settings(
            environment=top.environment,
            timezone=top.timezone,
            store=self._store(top.store, file.parent),
            keys=self._keys(top.keys, file.parent),
            policies=file.parent / self._decoder.path(top.policies, "policies"),
            roles=top.roles,
            cross_tenant=top.cross_tenant,
            tenants=self._decoder.table(top.tenants, TenantSettings, "tenants"),
            agents=self._decoder.table(top.agents, AgentSettings, "agents"),
            services=self._decoder.table(top.services, ServiceSettings, "services"),
            users=self._decoder.table(top.users, UserSettings, "users"),
            groups=self._groups(top.groups),
            tools=self._decoder.table(top.tools, ToolSettings, "tools"),
            resources=resources,
            meters=self._decoder.table(top.meters, MeterSettings, "meters"),
            approvals=self._approvals(top.approvals, overrides["approvals"]),
            limits=self._limits(top.limits, overrides["limits"]),
            witness=self._witness(top.witness, file.parent),
            retention=self._retention(top.retention),
            search=self._search(top.search, file.parent),
            freeze=self._freeze(top.freeze, top.groups),
            notify=read_notify(self._decoder, top.notify, file.parent, Known(top.tenants, top.groups, top.users)),
            production=self._decoder.struct(top.production, ProductionSettings, "production"),
            authzen=read_authzen(self._decoder, top.authzen, resources),
            server=read_server(self._decoder, top.server, overrides["server"], file.parent),
            identity=read_identity(self._decoder, top.identity, file.parent, top.tenants),
            postgres=read_postgres(self._decoder, top.postgres, top.store, file.parent),
            upstreams=read_upstreams(self._decoder, top.upstreams, file.parent, top.tenants),
            gateway=self._decoder.struct(top.gateway, GatewaySettings, "gateway"),
            wrap=self._decoder.struct(top.wrap, WrapSettings, "wrap"),
            require_reason=top.require_reason,
            file=file,
        )
        check_logins(self._decoder, {"agents": read.agents, "services": read.services, "users": read.users}, read.identity.issuers)
        return read

    def people(self, content: bytes | str, file: Path, environment: str) -> Settings:
        """The tables of people and programs alone, whatever else is wrong. `environment` is what the file must name."""
        parsed = self._decoder.parse(content)
        top = self._decoder.struct({name: parsed[name] for name in ("environment", *_PEOPLE) if name in parsed}, Document, "")
        if top.environment != environment:
            raise self._decoder.invalid("environment", f"is not `{environment}`")
        return Settings(
            environment=top.environment,
            roles=top.roles,
            cross_tenant=top.cross_tenant,
            tenants=self._decoder.table(top.tenants, TenantSettings, "tenants"),
            agents=self._decoder.table(top.agents, AgentSettings, "agents"),
            services=self._decoder.table(top.services, ServiceSettings, "services"),
            users=self._decoder.table(top.users, UserSettings, "users"),
            groups=self._groups(top.groups),
            file=file,
        )

    def _groups(self, groups: dict[str, Any]) -> Mapping[str, GroupSettings]:
        return self._decoder.table({name: _long_form(group) for name, group in groups.items()}, GroupSettings, "groups")

    def _overrides(self, environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The overrides in the process environment, by section; a variable that tries to override anything else is refused."""
        found: dict[str, dict[str, str]] = {section: {} for section in _OVERRIDABLE}
        fixed = {*_NO_OVERRIDE, *Document.__struct_fields__}
        for variable, value in environ.items():
            if not variable.startswith("LICET_"):
                continue
            name = variable.removeprefix("LICET_").lower()
            section, _, key = name.partition("_")
            if name == "server":
                continue  # the server that the CLI asks: no setting of this file
            if section in _OVERRIDABLE:
                found[section][key] = value
            elif name in fixed or get_close_matches(section, _OVERRIDABLE, n=1, cutoff=0.8):
                raise self._decoder.invalid(
                    name, f"cannot be set by the environment variable `{variable}`: unset it and write it in the file"
                )
        return found

    def _limits(self, table: object, overrides: dict[str, str]) -> LimitSettings:
        limits = self._decoder.struct(table, LimitSettings, "limits")
        if not overrides:
            return limits
        return self._decoder.struct(msgspec.to_builtins(limits) | overrides, LimitSettings, "limits (from LICET_LIMITS_*)", strict=False)

    def _approvals(self, table: object, overrides: dict[str, str]) -> ApprovalSettings:
        written = self._decoder.struct(table, WrittenApprovals, "approvals")
        where = "approvals"
        if overrides:
            where = "approvals (from LICET_APPROVALS_*)"
            written = self._decoder.struct(msgspec.to_builtins(written) | overrides, WrittenApprovals, where, strict=False)
        expires_s = self._decoder.duration_s(written.expires, f"{where}.expires")
        if expires_s > LONGEST_EXPIRY_S:
            raise self._decoder.invalid(f"{where}.expires", f"is `{written.expires}`, longer than {LONGEST_EXPIRY_S // 86_400} days")
        return ApprovalSettings(
            expires_s=expires_s, open_per_caller=written.open_per_caller, passkey_for=tuple(sorted(set(written.passkey_for)))
        )

    def _freeze(self, table: object, groups: Mapping[str, object]) -> FreezeSettings:
        freeze = self._decoder.struct(table, FreezeSettings, "freeze")
        if freeze.lifters is not None and freeze.lifters not in groups:
            raise self._decoder.invalid("freeze.lifters", f"names {quoted(freeze.lifters)}, which is not a group")
        return freeze

    def _retention(self, table: object) -> RetentionSettings:
        written = self._decoder.struct(table, WrittenRetention, "retention").payloads
        payloads_s = None if written is None else parse_duration_s(written)
        if written is not None and payloads_s is None:
            raise self._decoder.invalid("retention.payloads", f"is `{written}`, which is not a duration such as `90d`")
        return RetentionSettings(payloads_s=payloads_s)

    def _witness(self, table: object, folder: Path) -> WitnessSettings:
        written = self._decoder.struct(table, WrittenWitness, "witness")
        paths = (written.anchor,) if isinstance(written.anchor, str) else written.anchor
        max_age_s = self._decoder.duration_s(written.max_age, "witness.max_age")
        anchors = tuple(folder / self._decoder.path(path, "witness.anchor") for path in paths)
        return WitnessSettings(anchors=anchors, servers=written.servers, log=written.log, max_age_s=max_age_s)

    def _search(self, table: object, folder: Path) -> SearchSettings:
        search = self._decoder.struct(table, SearchSettings, "search")
        if search.path is None:
            return search
        return msgspec.structs.replace(search, path=folder / self._decoder.path(str(search.path), "search.path"))

    def _store(self, text: str, folder: Path) -> str:
        if is_postgres(text):
            return read_url(self._decoder, text, folder)
        scheme, colon, path = text.partition(":")
        if scheme != "sqlite" or not colon:
            raise self._decoder.invalid("store", f"is `{scheme}...`; expected `sqlite:PATH` or `postgresql://USER@HOST:PORT/DATABASE`")
        if path == ":memory:":
            raise self._decoder.invalid(
                "store", "is `sqlite::memory:`, an audit log that ends with the process; tests have `licet.testing`"
            )
        return f"sqlite:{folder / self._decoder.path(path, 'store')}"

    def _keys(self, text: str, folder: Path) -> str:
        scheme, colon, rest = text.partition(":")
        if not colon or scheme not in {"file", "env", "command"} or not rest:
            raise self._decoder.invalid(
                "keys", f"is `{scheme}...`; expected `file:PATH`, `env:NAME` or `command:COMMAND LINE`, and never a key itself"
            )
        return f"file:{folder / self._decoder.path(rest, 'keys')}" if scheme == "file" else text


def _long_form(group: object) -> object:
    """`name = ["user"]` is short for `name = {members = ["user"]}`."""
    return {"members": group} if isinstance(group, list) else group

"""licet.toml to typed settings.

Rules:

1. The file that was named is the file that is read. It is never searched for in parent folders, where somebody else may have put one.
2. Every key is known. An unknown one is an error that names the key, the file and the nearest known key: a misspelt `acts_for` that was
   skipped in silence would widen what an agent may do.
3. `environment`, `policies`, `store` and `witness` take no override from the process environment, since they say what is governed and
   where it is written down. A variable that looks like one is an error: skipped in silence it would leave its author believing in it.
   The keys of `[limits]`, `[approvals]` and `[server]` may be overridden (`LICET_LIMITS_ARGUMENTS_BYTES`, `LICET_APPROVALS_EXPIRES`).
4. Relative paths start at the file's folder, never at the working directory.
5. A file is used whole or not at all.

What the tables of people and programs mean is checked where they become a directory (`identity/content.py`), what tools and resources
mean where they become a catalog (`catalog/declared.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from licet.config.authzen import AuthzenSettings
from licet.config.decoding import FILE_LIMIT_BYTES
from licet.config.durations import LONGEST_EXPIRY_S, parse_duration_s
from licet.config.identity import IdentitySettings, IssuerSettings
from licet.config.postgres import PostgresSettings
from licet.config.reading import Reader
from licet.config.server import ServerSettings
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
    WitnessServer,
    WitnessSettings,
)
from licet.config.upstreams import GatewaySettings, UpstreamSettings, WrapSettings
from licet.errors import ConfigInvalid

__all__ = [
    "FILE_LIMIT_BYTES",
    "LONGEST_EXPIRY_S",
    "AgentSettings",
    "ApprovalSettings",
    "AuthzenSettings",
    "FreezeSettings",
    "GatewaySettings",
    "GroupSettings",
    "IdentitySettings",
    "IssuerSettings",
    "LimitSettings",
    "MeterSettings",
    "PostgresSettings",
    "ProductionSettings",
    "RetentionSettings",
    "SearchSettings",
    "ServerSettings",
    "ServiceSettings",
    "Settings",
    "TenantSettings",
    "UpstreamSettings",
    "UserSettings",
    "WitnessServer",
    "WitnessSettings",
    "WrapSettings",
    "load",
    "load_people",
    "loads",
    "parse_duration_s",
]


def load(path: str | os.PathLike[str] = "licet.toml", *, environ: Mapping[str, str] | None = None) -> Settings:
    """Read this very file. `environ` is the process environment, `os.environ` by default.

    Raises `ConfigInvalid` with the file, and the key where one is at fault.
    """
    file = Path(path)
    content = _read(file)
    return loads(content, file=file.absolute(), environ=os.environ if environ is None else environ)


def load_people(path: str | os.PathLike[str], environment: str) -> Settings:
    """Who there is according to this file, even where the rest of it cannot be used; every other setting is a default.

    For taking away what somebody may do, never for granting: `Directory.with_removals_of`. Raises `ConfigInvalid` where the file cannot
    be read that far, or names another environment.
    """
    file = Path(path)
    return Reader(str(file.absolute())).people(_read(file), file.absolute(), environment)


def _read(file: Path) -> bytes:
    try:
        # One byte more than allowed tells a file at the limit from one past it, whatever its size is by then.
        with file.open("rb") as stream:
            return stream.read(FILE_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigInvalid(f"there is no file `{file}`; `licet init` writes one", file=str(file)) from error
    except OSError as error:
        raise ConfigInvalid(f"`{file}` cannot be read: {(error.strerror or 'unknown error').lower()}", file=str(file)) from error


def loads(content: bytes | str, *, file: Path, environ: Mapping[str, str] = MappingProxyType({})) -> Settings:
    """Settings from the content of a licet.toml that lies, or would lie, at `file` (absolute). Raises `ConfigInvalid`."""
    return Reader(str(file)).settings(content, file, environ)

"""What is in force: catalog, directory, policies and implementations, as one value that is swapped whole.

A call takes the scene once and keeps it to its end, so that no call is decided half under the old policies and half under the new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from licet.catalog.arguments import ArgumentReader, Arguments
from licet.catalog.live import LiveDefinitions
from licet.catalog.python import ResourceFacts
from licet.catalog.spec import Catalog, ResourceSpec, ToolSpec
from licet.catalog.upstream import Offered
from licet.config import Settings
from licet.identity.directory import Directory
from licet.ledger.record import ToolEntry
from licet.model import Caller
from licet.policy.engine import Engine
from licet.policy.own import OwnPolicies


class Implementation(Protocol):
    """A tool that this process can run: how its arguments are read, and how they become the function's values."""

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether calling it gives an awaitable."""
        ...

    @property
    def is_method(self) -> bool:
        """Whether it needs the instance that it is called on."""
        ...

    @property
    def keeps_time(self) -> bool:
        """Whether it ends in time by itself."""
        ...

    def kwargs(self, arguments: Arguments) -> Mapping[str, Any]:
        """Fresh values for the function, built from the canonical bytes."""
        ...


class PreviewTool(Implementation, Protocol):
    """A tool that says what another one would change: `NAME.preview` in the catalog."""

    @property
    def spec(self) -> ToolSpec:
        """What the catalog knows of it."""
        ...


class ResourceImplementation(Protocol):
    """A resolver that this process can run."""

    @property
    def spec(self) -> ResourceSpec:
        """What the catalog knows of the type."""
        ...

    @property
    def function(self) -> Callable[[str], Any]:
        """The function itself, from an id to a description or None."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether calling it gives an awaitable."""
        ...

    def facts(self, returned: Any) -> ResourceFacts | None:
        """Tenant, environment and declared attributes, checked; None where there is no such thing."""
        ...


class Resolver(Struct, frozen=True):
    """A resolver and whether it may block: one that does not is called where the call runs, without a thread of its own."""

    resource: ResourceImplementation
    blocking: bool

    @property
    def answers_at_once(self) -> bool:
        """Whether it is called where the call runs."""
        return not self.blocking and not self.resource.is_async


class Scene(Struct, frozen=True, kw_only=True):
    """Everything that decisions rest on. `digest` (SHA-256, hex) names the four parts that make a decision reproducible.

    `admitted` remembers for which tools and callers some permit could match; it starts empty with each scene. `entries` is what records
    say of each tool; `zone` is where the clocks of `context.local` hang. `settings` are those that it was built from; the people and
    programs of `directory` may be fewer than theirs. `own` says who may do what with Licet itself, where there is a file for that.
    `offered` is what its upstreams offer, and `live` what they have listed since: the one part that other scenes share, and that moves.
    `adopted` are the tools that agents' frameworks bring with their calls; `unclassified` those of upstreams and frameworks of which nobody
    has said what they can do, and `awaited` those of which nobody has said what they take.
    """

    environment: str
    zone: tzinfo
    catalog: Catalog
    directory: Directory
    engine: Engine
    readers: Mapping[str, ArgumentReader]
    implementations: Mapping[str, Implementation]
    previews: Mapping[str, PreviewTool]
    probes: Mapping[str, Implementation]
    resolvers: Mapping[str, Resolver]
    metered: Mapping[str, tuple[tuple[str, str], ...]]
    digest: str
    manifest: bytes
    admitted: set[tuple[str, Caller]]
    entries: Mapping[str, ToolEntry]
    settings: Settings
    own: OwnPolicies | None
    offered: Offered
    live: LiveDefinitions
    adopted: frozenset[str]
    unclassified: frozenset[str]
    awaited: frozenset[str]


def scene_manifest(engine: Engine, catalog: Catalog, directory: Directory) -> tuple[str, bytes]:
    """The digest of what is in force and the bytes it is the digest of: the digests of policies, schema, catalog and directory."""
    content = msgspec.json.encode(
        {"bundle": engine.bundle.digest, "schema": engine.schema_digest, "catalog": catalog.digest, "directory": directory.version}
    )
    return hashlib.sha256(content).hexdigest(), content

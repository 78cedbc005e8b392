"""From settings and registry to a scene: catalog, directory and policies, read and validated together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from licet.catalog.arguments import ArgumentReader
from licet.catalog.spec import Catalog
from licet.config import Settings
from licet.config.zones import find_zone, zone_problem
from licet.errors import CatalogInvalid, ConfigInvalid, PolicyInvalid
from licet.gate.registry import Registry
from licet.gate.scene import Resolver, Scene, scene_manifest
from licet.identity.directory import Directory
from licet.ledger.record import ToolEntry
from licet.names import quoted
from licet.policy.bundle import OWN_FILE, Bundle
from licet.policy.engine import Engine
from licet.policy.own import OwnPolicies
from licet.policy.shape import Scalar
from licet.policy.views import view_of

_log = logging.getLogger("licet.gate")


def build_scene(
    settings: Settings,
    registry: Registry,
    snapshots: Iterable[bytes] = (),
    resolvers: Mapping[str, Resolver] | None = None,
    *,
    directory: Directory | None = None,
) -> Scene:
    """What is in force. `snapshots` are catalogs of other processes, newest first; `resolvers` replace those that were registered.

    `directory` stands in for that of the settings, where somebody was removed from it while the rest did not load.
    Raises `OperatorError`: `PolicyInvalid`, `DirectoryInvalid` or `CatalogInvalid`, with everything that is wrong; `ConfigInvalid`.
    """
    zone = find_zone(settings.timezone)
    if zone is None:
        file = str(settings.file) if settings.file is not None else None
        raise ConfigInvalid(f"`timezone` {zone_problem(settings.timezone)}", file=file, key="timezone")
    catalog = known_catalog(registry, snapshots)
    directory = directory or Directory.from_settings(settings)
    try:
        engine = Engine.load(Bundle.read(settings.policies), catalog, directory, meters=tuple(settings.meters))
    except PolicyInvalid as invalid:
        raise PolicyInvalid(registry.adoptions.explained(invalid.problems, catalog)) from invalid
    digest, manifest = scene_manifest(engine, catalog, directory)
    return Scene(
        environment=settings.environment,
        zone=zone,
        catalog=catalog,
        directory=directory,
        engine=engine,
        readers=registry.readers(catalog),
        implementations=MappingProxyType(dict(registry.implementations())),
        previews=MappingProxyType(dict(registry.previewing())),
        probes=MappingProxyType(dict(registry.probes)),
        resolvers=MappingProxyType(dict(registry.resolvers) if resolvers is None else dict(resolvers)),
        metered=metered_tools(settings, catalog),
        digest=digest,
        manifest=manifest,
        admitted=set(),
        entries={name: ToolEntry(name, spec.access, spec.definition) for name, spec in catalog.tools.items()},
        settings=settings,
        own=OwnPolicies.read(settings.policies, directory) if (settings.policies / OWN_FILE).exists() else None,
        offered=registry.offered,
        live=registry.live,
        adopted=registry.adoptions.names,
        awaited=registry.adoptions.awaited - catalog.tools.keys(),
        unclassified=registry.offered.unclassified | registry.adoptions.unclassified,
    )


def metered_tools(settings: Settings, catalog: Catalog) -> dict[str, tuple[tuple[str, str], ...]]:
    """The meters of each tool with the arguments that they sum.

    Raises `ConfigInvalid` for a meter that could never move: misspelt, it would stay 0, and the forbid that rests on it would never fire.
    """
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for name, meter in settings.meters.items():
        spec = catalog.find_tool(meter.tool)
        if spec is None:
            raise _bad_meter(settings, f"meters.{name}.tool", f"the catalog has no tool {quoted(meter.tool)}")
        field = view_of(spec.input_schema, defaults_filled=True).shape.fields.get(meter.argument)
        if field is None or field.shape != Scalar("Long"):
            problem = f"{quoted(meter.argument)} is no whole-number argument of {quoted(meter.tool)}"
            raise _bad_meter(settings, f"meters.{name}.argument", problem)
        found[meter.tool] = (*found.get(meter.tool, ()), (name, meter.argument))
    return found


def _bad_meter(settings: Settings, key: str, problem: str) -> ConfigInvalid:
    file = str(settings.file) if settings.file is not None else None
    return ConfigInvalid(f"{quoted(key)} cannot be summed: {problem}", file=file, key=key)


def known_catalog(registry: Registry, snapshots: Iterable[bytes]) -> Catalog:
    """This process's tools, and those of other processes. A snapshot of another version says nothing to this one."""
    catalog = registry.catalog.merge(Catalog())  # a copy: what is registered later must not enter a scene that stands
    for content in snapshots:
        try:
            theirs = Catalog.from_snapshot(content)
            for spec in theirs.tools.values():
                ArgumentReader(spec)  # a tool whose arguments cannot be read must not keep ours from being governed
            catalog = catalog.merge(registry.adoptions.seen_elsewhere(catalog, theirs), prefer="mine")
        except CatalogInvalid as error:
            _log.warning("licet: a catalog snapshot on the store is left out: %s", error)
    return catalog

"""What a gate has been given so far: tools, previews, probes and resolvers, from Python and from licet.toml."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from licet.catalog.adopted import AdoptedTool, says_too_little
from licet.catalog.arguments import ArgumentReader, Limits
from licet.catalog.declared import ResourceSettings, ToolSettings, resource_from_settings, tool_from_settings
from licet.catalog.live import LiveDefinitions
from licet.catalog.pins import LOCK_FILE, NOTHING_PINNED, read_lock
from licet.catalog.python import PythonTool, tool_from_function
from licet.catalog.spec import Catalog, ResourceSpec, ToolSpec
from licet.catalog.upstream import is_of_upstream, offered
from licet.config import Settings
from licet.errors import CatalogInvalid
from licet.gate.adoptions import Adoptions
from licet.gate.carried import Carried, CarriedPreview, Carrier
from licet.gate.scene import Implementation, PreviewTool, Resolver
from licet.gate.undoing import is_undo, undo_tool, undoing
from licet.names import quoted

_UNDECLARED = ResourceSettings()


def _names(spec: ToolSpec) -> set[str]:
    return set(spec.input_schema.get("properties", {}))


def _asked_over_http(spec: ResourceSpec, declared: ResourceSettings, settings: Settings, folder: Path) -> Resolver:
    from licet.gate.http_resolver import HttpResource  # noqa: PLC0415  TLS and HTTP: only where somebody is asked over them

    found = HttpResource(spec, declared, folder=folder, timeout_s=settings.limits.resolver_timeout_s)
    return Resolver(found, blocking=True)


class Registry:
    """Collects definitions. `revision` moves with each; nothing is validated against policy here. Guarded by its gate's lock."""

    def __init__(self, settings: Settings) -> None:
        self.revision = 0
        self.catalog = Catalog()
        self.tools: dict[str, PythonTool] = {}
        self.previews: dict[str, PythonTool] = {}
        self.probes: dict[str, PythonTool] = {}
        self.resolvers: dict[str, Resolver] = {}
        self.listers: dict[str, Callable[[str], Iterable[str]]] = {}
        self._settings = settings
        folder = settings.file.parent if settings.file is not None else Path.cwd()
        self.offered = offered(
            {name: upstream.timeout_s for name, upstream in settings.upstreams.items()},
            read_lock(folder / LOCK_FILE) if settings.upstreams else NOTHING_PINNED,
            settings.tools,
            folder=folder,
        )
        own = {name: table for name, table in settings.tools.items() if not any(is_of_upstream(name, one) for one in settings.upstreams)}
        self.adoptions = Adoptions(settings, folder, self.catalog, own, functions=self.tools, fits=self._check_beside)
        self.carrier: Carrier | None = None
        self.live = LiveDefinitions()
        for upstream_tool in self.offered.tools.values():
            self.catalog.add_tool(upstream_tool.spec)
        for preview in self.offered.previews.values():
            self.catalog.add_tool(preview.tool.spec)
        for name, tool in settings.tools.items():
            if name not in self.offered.tools and not says_too_little(tool):
                self.catalog.add_tool(tool_from_settings(name, tool, folder=folder))
        for name, resource in settings.resources.items():
            spec = resource_from_settings(name, resource, folder=folder)
            self.catalog.add_resource(spec)
            if resource.url is not None:
                self.resolvers[name] = _asked_over_http(spec, resource, settings, folder)

    def under(self, settings: Settings) -> Registry:
        """A registry of the same functions under other settings. Raises `CatalogInvalid` where they do not go together."""
        other = Registry(settings)
        previews = {name: preview for name, preview in self.previews.items() if name not in self.tools}
        for tool in self.tools.values():
            if all(tool is not preview for preview in previews.values()):
                other.add_tool(tool)
        self.adoptions.under(other.adoptions)
        self._beside_under(other, previews)
        for resolver in self.resolvers.values():
            if self._settings.resources.get(resolver.resource.spec.type, _UNDECLARED).url is None:  # else the other settings have it
                other.add_resolver(resolver)
        other.carrier = self.carrier
        other.live = self.live
        other.revision = self.revision
        return other

    def _beside_under(self, other: Registry, previews: Mapping[str, PythonTool]) -> None:
        """What stands beside tools of the settings is made anew, of the same functions: targets and secrets are those of its tool."""
        for name, preview in previews.items():
            other.add_preview(name, preview.function)
        other.previews.update({name: preview for name, preview in self.previews.items() if name in self.tools})
        for name, probe in self.probes.items():
            if name in self.tools:
                other.probes[name] = probe
            else:
                other.add_probe(name, probe.function)
        for name in other.adoptions.names:
            other._complete(name)

    def supersede(self, former: Registry) -> None:
        """This one is in force in place of another: what was seen of upstreams whose pins have changed is seen anew."""
        for upstream in self._settings.upstreams:
            if former.offered.pins_of(upstream) != self.offered.pins_of(upstream):
                self.live.forget(upstream)

    def add_tool(self, tool: PythonTool) -> None:
        """Make a function known as a tool. Raises `CatalogInvalid` if the name is taken."""
        self._refuse_taken(tool.spec)
        self.catalog.add_tool(tool.spec)
        self.tools[tool.spec.name] = tool
        self.revision += 1

    def classify(self, name: str, table: ToolSettings) -> None:
        """Say what a framework's tool can do. Raises `CatalogInvalid`."""
        self._refuse_upstream(name, beside=False)
        if self.adoptions.classify(name, table):
            self._complete(name)

    def adopt(self, tools: Iterable[AdoptedTool]) -> None:
        """Make a framework's tools known. Raises `CatalogInvalid`; those before the one that is refused stay known."""
        for tool in tools:
            self._refuse_upstream(tool.name, beside=False)
            if self.adoptions.take(tool):
                self._complete(tool.name)

    def _complete(self, name: str) -> None:
        """What has waited for a tool enters with it."""
        self.revision += 1
        for kind, function in self.adoptions.companions_of(name) if self.catalog.find_tool(name) is not None else ():
            (self.add_preview if kind == "preview" else self.add_probe)(name, function)

    def _check_beside(self, spec: ToolSpec) -> None:
        """What waits for a framework's tool, or stands beside it already, takes what the framework says. Raises `CatalogInvalid`."""
        for kind, function in self.adoptions.waiting_for(spec.name):
            found = self._companion(kind, spec.name, spec, function, by_name=True)
            if kind == "preview":  # a tool of the catalog, which a probe is not
                self._refuse_taken(found.spec)
        for kind, companions in (("preview", self.previews), ("probe", self.probes)):
            if spec.name in companions:
                self._check_companion(kind, spec.name, spec, companions[spec.name], by_name=True)

    def _refuse_taken(self, spec: ToolSpec) -> None:
        """Raise `CatalogInvalid` where a function under this name would be a second tool of it."""
        name = spec.name
        if name in self.tools:
            raise CatalogInvalid(f"the tool `{name}` is already registered with another function")
        if self.adoptions.find(name) is not None:
            raise CatalogInvalid(f"an agent's framework has brought another tool {quoted(name)}: give one of them another name")
        self._refuse_upstream(name)
        if (self.catalog.find_tool(name) or spec) != spec:
            raise CatalogInvalid(f"the tool `{name}` is already in the catalog with another definition")

    def _refuse_upstream(self, name: str, *, beside: bool = True) -> None:
        """`beside` says that it may be a function beside a tool of an upstream. Raises `CatalogInvalid`."""
        for upstream in self._settings.upstreams:
            if is_of_upstream(name, upstream) and not (beside and self._is_companion(name)):
                raise CatalogInvalid(f"the tool `{name}` would be taken for one of the upstream `{upstream}`: give it another name")

    def _is_companion(self, name: str) -> bool:
        """Whether a function of this name is beside a tool of an upstream."""
        of, _, kind = name.rpartition(".")
        return kind in {"preview", "probe", "undo"} and of in self.offered.tools

    def carry(self, carrier: Carrier) -> None:
        """From now on this process executes the tools of its upstreams, by this."""
        self.carrier = carrier
        self.revision += 1

    def implementations(self) -> Mapping[str, Implementation]:
        """What this process can run, by the name of the tool."""
        carrier = self.carrier
        carried = {} if carrier is None else {name: Carried(tool, carrier) for name, tool in self.offered.tools.items()}
        return {**carried, **self.tools}

    def previewing(self) -> Mapping[str, PreviewTool]:
        """What this process can ask what a call would change, by the name of the tool."""
        carrier = self.carrier
        carried = {} if carrier is None else {name: CarriedPreview(one, carrier) for name, one in self.offered.previews.items()}
        return {**carried, **self.previews}

    def add_preview(self, name: str, function: Callable[..., Any]) -> None:
        """Make a tool's preview known. Raises `CatalogInvalid` if there is no such tool, or the preview takes other arguments.

        The preview of a tool that a framework is still to bring is taken in with it.
        """
        if self._waits("preview", name, function):
            return
        preview = self._companion("preview", name, self.catalog.find_tool(name), function)
        self.add_tool(preview)
        self.previews[name] = preview

    def add_undo(self, name: str, function: Callable[..., Any]) -> PythonTool:
        """Make a tool's undo known, as a tool of its own. Raises `CatalogInvalid` as `add_preview`."""
        spec = self.catalog.find_tool(name)
        if spec is None:
            raise CatalogInvalid(f"an undo is for a tool that is registered before it, and there is no `{name}`")
        tool = undo_tool(spec, function, by_name=self.adoptions.find(name) is not None)
        self.add_tool(tool)
        return tool

    def add_probe(self, name: str, function: Callable[..., Any]) -> None:
        """Make a tool's probe known. Raises `CatalogInvalid` as `add_preview`, and for a method, which would have no object."""
        if self._waits("probe", name, function):
            return
        probe = self._companion("probe", name, self.catalog.find_tool(name), function)
        self.probes[name] = probe
        self.revision += 1

    def add_resolver(self, resolver: Resolver) -> None:
        """Make a resolver known. Raises `CatalogInvalid` if its type has one."""
        spec = resolver.resource.spec
        if spec.type in self.resolvers:
            raise CatalogInvalid(f"the resource `{spec.type}` already has a resolver")
        self.catalog.add_resource(spec)
        self.resolvers[spec.type] = resolver
        self.revision += 1

    def add_lister(self, name: str, function: Callable[[str], Iterable[str]]) -> None:
        """Make known what lists the resources of a type. Raises `CatalogInvalid` if the type has one."""
        if name in self.listers:
            raise CatalogInvalid(f"the resource `{name}` already has a lister")
        self.listers[name] = function

    def _waits(self, kind: str, name: str, function: Callable[..., Any]) -> bool:
        """Whether the tool of this name is still to be brought, or to be classified; then its companion is kept for it."""
        takes_nothing = not inspect.signature(function).parameters  # then it fits what the table says now
        is_awaited = self.adoptions.is_awaited(name) or name in self.adoptions.unclassified
        if not is_awaited or (takes_nothing and self.catalog.find_tool(name) is not None):
            return False
        self.adoptions.wait_for(name, (kind, function))
        return True

    def _companion(self, kind: str, name: str, spec: ToolSpec | None, function: Callable[..., Any], *, by_name: bool = False) -> PythonTool:
        """A function of the same arguments as the tool of this name."""
        if spec is None:
            raise CatalogInvalid(f"a {kind} is for a tool that is registered before it, and there is no `{name}`")
        if name in self.tools and is_undo(self.tools[name].function):
            function = undoing(function)
        found = tool_from_function(
            function,
            name=f"{name}.{kind}",
            access="read",
            targets=spec.targets,
            description=f"What `{name}` would change." if kind == "preview" else None,
            timeout_s=spec.timeout_s,
            keep_result=True,
            secrets=spec.secrets,
        )
        if kind == "probe" and found.is_method:
            raise CatalogInvalid(f"the probe of `{name}` is asked when no object is at hand: make it a function")
        self._check_companion(kind, name, spec, found, by_name=by_name)
        return found

    def _check_companion(self, kind: str, name: str, spec: ToolSpec | None, companion: PythonTool, *, by_name: bool = False) -> None:
        """A preview or probe takes the arguments of its tool. Raises `CatalogInvalid`.

        `by_name` where a framework has written the tool's schema, with titles and descriptions of its own; what takes nothing has none.
        """
        takes = _names(companion.spec)
        by_name = by_name or self.adoptions.find(name) is not None or not takes
        if spec is not None and by_name and takes == _names(spec):
            return
        if spec is None or companion.spec.input_schema != spec.input_schema:
            raise CatalogInvalid(f"the {kind} of `{name}` must take the arguments of its tool, with the same types and defaults")

    def readers(self, catalog: Catalog) -> Mapping[str, ArgumentReader]:
        """A reader for each tool of `catalog`, with the limits of licet.toml."""
        set_limits = self._settings.limits
        limits = Limits(set_limits.arguments_bytes, set_limits.arguments_values)
        return {
            name: self.tools[name].reader.within(limits) if name in self.tools else ArgumentReader(spec, limits=limits)
            for name, spec in catalog.tools.items()
        }

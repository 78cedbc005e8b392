"""What `licet doctor` looks at beside the store: versions, licet.toml, policies, and who may change them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from licet.cli.finding import Finding
from licet.cli.loading import Loaded
from licet.cli.problems import Problem, bundle_problems, directory_problems, policy_problems
from licet.cli.version import installed
from licet.cli.wording import counted, listed
from licet.config import Settings
from licet.gate.writable import OperatingUser, exposed
from licet.policy.bundle import Bundle

LIBRARIES = ("cedarpy", "apsw", "msgspec", "jsonschema-rs", "pydantic")
"""What decides, stores and reads."""


def runtime_findings() -> Iterator[Finding]:
    """Python, and the libraries that decide, store and read."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("ok", "python", version)
    versions = {name: installed(name) for name in ("licet", *LIBRARIES)}
    missing = [name for name, found in versions.items() if found == "not installed"]
    if missing:
        yield Finding("fail", "libraries", f"{listed(missing)} cannot be found", "install `licet` again, in an environment of its own")
    else:
        yield Finding("ok", "libraries", ", ".join(f"{name} {found}" for name, found in versions.items()))


def config_findings(loaded: Loaded) -> Iterator[Finding]:
    """licet.toml, the directory and the catalog."""
    settings = loaded.settings
    yield Finding("ok", "config", f"`{settings.file or 'made in Python'}`, environment `{settings.environment}`")
    yield from _as_findings("directory", directory_problems(settings))
    catalog = loaded.catalog
    yield Finding("ok", "catalog", f"{counted(len(catalog.tools), 'tool')}, {counted(len(catalog.resources), 'resource type')}")
    yield from _resolver_findings(loaded)


def policy_findings(loaded: Loaded) -> Iterator[Finding]:
    """The policies, as they load with this catalog and directory."""
    settings = loaded.settings
    problems = bundle_problems(settings)
    is_directory_sound = not directory_problems(settings)
    if not problems and is_directory_sound:
        problems = policy_problems(settings, loaded.catalog, loaded.registry.adoptions)
    yield from _as_findings("policies", problems)
    if problems or not is_directory_sound:
        return
    bundle = Bundle.read(settings.policies)
    yield Finding("ok", "policies", f"{counted(len(bundle.policies), 'policy', 'policies')} in `{settings.policies}`")


def safety_findings(settings: Settings, user: OperatingUser) -> Iterator[Finding]:
    """Whether the user who runs the tools could give them what nobody gave."""
    step = "run the tools as another operating user, who may not write this, and look again with `--tools-user NAME`"
    scheme, _, key = settings.keys.partition(":")
    things = (
        ("config", "change the config", [settings.file] if settings.file is not None else []),
        ("policies", "change the policies", [settings.policies, *sorted(settings.policies.glob("*.cedar"))]),
        ("store", "change the store", [] if settings.in_postgres else [settings.store_path]),
        ("key", "read the ledger and sign for it", [Path(key)] if scheme == "file" else []),
        ("anchor", "set the anchor back together with the ledger", list(settings.witness.anchors)),
    )
    for about, harm, paths in things:
        there = [path for path in paths if path.exists()]
        if not there:
            continue
        path = there[0]
        how = exposed(there, user)
        if how is None:
            yield Finding("ok", f"{about} safety", f"`{user.name}`, who runs the tools, cannot change `{path}`")
        else:
            message = f"`{user.name}`, who runs the tools, {how}: an agent with a shell could {harm}"
            yield Finding("fail", f"{about} safety", message, step)


def _as_findings(about: str, problems: tuple[Problem, ...]) -> Iterator[Finding]:
    for problem in problems:
        yield Finding("fail", about, str(problem), "mend it, then `licet check`")


def _resolver_findings(loaded: Loaded) -> Iterator[Finding]:
    """Target types that this process cannot resolve."""
    catalog, known = loaded.catalog, loaded.registry.resolvers
    for name, tools in catalog.undeclared_types().items():
        message = f"nobody says what `{name}` is, so {listed([f'`{tool}`' for tool in tools])} cannot be called"
        yield Finding("fail", "resolvers", message, f"declare `[resources.{name}]`, or register a resolver with `@gate.resource`")
    missing = sorted(name for name, spec in catalog.resources.items() if spec.tenant_from == "resolver" and name not in known)
    if not missing:
        return
    types = listed([f"`{name}`" for name in missing])
    if loaded.app is None:
        yield Finding("warn", "resolvers", f"it is for an application to resolve {types}", "look again with `--app MODULE:GATE`")
    else:
        yield Finding("fail", "resolvers", f"`{loaded.app}` has no resolver for {types}", "register one with `@gate.resource`")

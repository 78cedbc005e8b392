"""`licet init`: something small that works, to be changed from there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import click
from msgspec import UNSET, Struct, UnsetType

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.cli.init_framework import frameworks_of
from licet.cli.invocation import Invocation
from licet.cli.output import Output
from licet.policy.bundle import OWN_FILE
from licet.policy.own import default_text

OWN_POLICIES = f"policies/{OWN_FILE}"
FILES = {
    "licet.toml": "tenants, agents, users, groups; two tools that need no Python",
    "policies/base.cedar": "the tenant wall, and what support may read",
    "policies/billing.cedar": "who may adjust how much, and when a lead must agree",
    "policies/billing.test.yaml": "calls, and the decision that each must have",
    OWN_POLICIES: "who may do what with the server: ask, approve, look, operate",
    ".gitignore": "keeps the audit log and its key out of version control",
}
"""What is written, in this order, and what each is for."""
FROM_UPSTREAM = {
    "licet.toml": "who there is, the server, and its tools as comments: say what each can do",
    "policies/base.cedar": "the tenant wall; reads are allowed, and a person decides on each write",
    "licet.lock": "the definitions of its tools as they are now: what agents are shown, and what it is held against",
    ".gitignore": "keeps the audit log and its key out of version control",
}
"""The same with `--from-upstream`."""
IGNORED = ".gitignore"
"""A project has one of its own: then it is left as it is, and what belongs into it is said."""
_STARTER = {IGNORED: "gitignore"}
"""Files whose names would mean something to the tools that build and publish Licet itself."""


class Line(Struct, frozen=True):
    """The one line by which the agents of a framework are governed, and what is to be installed with it."""

    framework: str
    line: str
    install: str


class Written(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`. `tools` are how many an upstream offers, `problems` what of them should be looked at.

    `frameworks` are those of agents that the project uses, where it uses any.
    """

    folder: str
    files: tuple[str, ...]
    tools: int | UnsetType = UNSET
    problems: tuple[str, ...] | UnsetType = UNSET
    frameworks: tuple[Line, ...] | UnsetType = UNSET


@click.command()
@click.argument("words", nargs=-1, metavar="[FOLDER | -- COMMAND | URL]")
@click.option("--own-policies", is_flag=True, help=f"Write {OWN_POLICIES} alone, into a folder that has the rest.")
@click.option("--from-upstream", metavar="NAME", help="Start from the tools of an MCP server, which is asked for them, under this name.")
@click.option(
    "--source", "sources", metavar="NAME=SOURCE", multiple=True, help="A variable of COMMAND, or a header for URL: `TOKEN=env:CRM_TOKEN`."
)
@click.pass_obj
def init(
    invocation: Invocation, /, words: tuple[str, ...], from_upstream: str | None, sources: tuple[str, ...], *, own_policies: bool
) -> int:
    """Write a licet.toml, policies and policy tests to start from.

    They go into FOLDER, by default this one. A file that is there is never overwritten: then nothing is written at all. Only a .gitignore
    that is there is left as it is, and what belongs into it is said. Where the project in FOLDER uses a framework for agents, the line
    that governs its tools is printed.

    With --from-upstream they go into this folder, and begin with the tools of an MCP server: those that it offers now are pinned in
    licet.lock, and stand in licet.toml as comments, with what the server says of them. None can be called until you say what it can do.
    """
    if from_upstream is not None:
        if own_policies:
            raise Refusal(
                Exit.USAGE, "usage", "`--from-upstream` writes no policies of the server's own", next_step="leave one of them out"
            )
        return _write_from_upstream(invocation, from_upstream, words, sources)
    if len(words) > 1 or sources:
        raise Refusal(Exit.USAGE, "usage", "a command is asked with `--from-upstream NAME`", next_step="`licet init --help` shows how")
    folder = Path(words[0] if words else ".")
    if own_policies:
        return _write_own_policies(invocation, folder)
    there = _there(folder, FILES, "give another folder: `licet init FOLDER`")
    files = tuple([name for name in FILES if name not in there])
    for name in files:
        _write(folder / name, _content(name))
    used = frameworks_of(folder)
    lines = tuple(Line(one.name, one.line, f"licet[{one.extra}]") for one in used)
    written = Written(folder=str(folder.absolute()), files=files, frameworks=lines or UNSET)
    enter = "" if folder.absolute() == Path.cwd() else f"cd {folder} && "
    step = f"`{enter}licet check`, then `licet test`; `licet can --help` shows how to ask for one call"
    _hint_ignored(invocation, folder, there)

    def show(output: Output) -> None:
        _show(output, files)
        for framework, line in zip(used, lines, strict=True):
            output.mark("ok", "found", framework.title, below=f"{line.line}  # pip install '{line.install}'; docs/integrations.md")

    return invocation.answer(written, show, next_step=step)


def _write_from_upstream(invocation: Invocation, upstream: str, words: tuple[str, ...], sources: tuple[str, ...]) -> int:
    from licet.cli.init_upstream import start_from, write_lock  # noqa: PLC0415  only where a server is asked

    given = dict(source.split("=", 1) for source in sources if "=" in source)
    if len(given) != len(sources):
        raise Refusal(
            Exit.USAGE, "usage", "a source is `NAME=SOURCE`, each name once", next_step="for example `--source TOKEN=env:CRM_TOKEN`"
        )
    folder = Path()
    there = _there(folder, FROM_UPSTREAM, "go into another folder")
    started = start_from(upstream, words, given, folder)
    for name, content in started.files.items():
        _write(folder / name, content.encode())
    if IGNORED not in there:
        _write(folder / IGNORED, _content(IGNORED))
    write_lock(started, folder)
    _hint_ignored(invocation, folder, there)
    files = tuple([name for name in FROM_UPSTREAM if name not in there])
    written = Written(folder=str(folder.absolute()), files=files, tools=started.tools, problems=started.problems)

    def show(output: Output) -> None:
        for name in files:
            output.mark("ok", "wrote", name, below=FROM_UPSTREAM[name])
        for problem in started.problems:
            output.mark("warn", "look", problem)

    serve = "for `licet serve`, `licet init --own-policies` first"
    step = f"say in licet.toml what each of {started.tools} tools can do; then `licet check`, and `licet wrap` ({serve})"
    return invocation.answer(written, show, next_step=step)


def _there(folder: Path, files: Mapping[str, str], step: str) -> list[str]:
    """Those of these files that are there. Raises `Refusal` if that is more than what is left as it is."""
    there = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    taken = [name for name in there if name != IGNORED]
    if taken:
        message = f"`{folder / taken[0]}` is there already, and nothing is overwritten"
        raise Refusal(Exit.ERROR, "exists", message, next_step=step, files=taken)
    return there


def _hint_ignored(invocation: Invocation, folder: Path, there: list[str]) -> None:
    if IGNORED in there:
        invocation.hint(f"`{folder / IGNORED}` is left as it is: see that it has `licet.key` and `licet.db*`")


def _write_own_policies(invocation: Invocation, folder: Path) -> int:
    path = folder / OWN_POLICIES
    if path.exists() or path.is_symlink():
        raise Refusal(Exit.ERROR, "exists", f"`{path}` is there already, and nothing is overwritten", next_step="`licet check` reads it")
    _write(path, _content(OWN_POLICIES))
    written = Written(folder=str(folder.absolute()), files=(OWN_POLICIES,))
    return invocation.answer(written, lambda output: _show(output, written.files), next_step="`licet check`, then `licet serve`")


def _content(name: str) -> bytes:
    if name == OWN_POLICIES:
        return default_text().encode()
    return resources.files("licet.cli").joinpath("starter", _STARTER.get(name, name)).read_bytes()


def _write(path: Path, content: bytes) -> None:
    """A new file; one that somebody made meanwhile is not overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)


def _show(output: Output, files: tuple[str, ...]) -> None:
    for name in files:
        output.mark("ok", "wrote", name, below=FILES[name])

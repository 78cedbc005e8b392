"""`licet init`: something small that works, to be changed from there."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click
from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.faults import Refusal
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
IGNORED = ".gitignore"
"""A project has one of its own: then it is left as it is, and what belongs into it is said."""
_STARTER = {IGNORED: "gitignore"}
"""Files whose names would mean something to the tools that build and publish Licet itself."""


class Written(Struct, frozen=True, kw_only=True):
    """What is printed with `--json`."""

    folder: str
    files: tuple[str, ...]


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--own-policies", is_flag=True, help=f"Write {OWN_POLICIES} alone, into a folder that has the rest.")
@click.pass_obj
def init(invocation: Invocation, /, folder: Path, *, own_policies: bool) -> int:
    """Write a licet.toml, policies and policy tests to start from.

    They go into FOLDER, by default this one. A file that is there is never overwritten: then nothing is written at all. Only a .gitignore
    that is there is left as it is, and what belongs into it is said.
    """
    if own_policies:
        return _write_own_policies(invocation, folder)
    there = [name for name in FILES if (folder / name).exists() or (folder / name).is_symlink()]
    taken = [name for name in there if name != IGNORED]
    if taken:
        message = f"`{folder / taken[0]}` is there already, and nothing is overwritten"
        raise Refusal(Exit.ERROR, "exists", message, next_step="give another folder: `licet init FOLDER`", files=taken)
    files = tuple([name for name in FILES if name not in there])
    for name in files:
        _write(folder / name, _content(name))
    written = Written(folder=str(folder.absolute()), files=files)
    enter = "" if folder.absolute() == Path.cwd() else f"cd {folder} && "
    step = f"`{enter}licet check`, then `licet test`; `licet can --help` shows how to ask for one call"
    if IGNORED in there:
        invocation.hint(f"`{folder / IGNORED}` is left as it is: see that it has `licet.key` and `licet.db*`")
    return invocation.answer(written, lambda output: _show(output, files), next_step=step)


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

"""`licet version`: loads nothing but itself."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from licet.cli.invocation import Invocation
from licet.cli.output import Output


@click.command()
@click.pass_obj
def version(invocation: Invocation, /) -> int:
    """Print the version."""
    versions = {"licet": installed("licet"), "python": platform.python_version()}
    return invocation.answer(versions, lambda output: _show(output, versions))


def _show(output: Output, versions: dict[str, str]) -> None:
    output.line(f"licet {versions['licet']} (python {versions['python']})")


def installed(package: str) -> str:
    """The version of an installed package, or `not installed`."""
    try:
        return version_of(package)
    except PackageNotFoundError:
        return "not installed"

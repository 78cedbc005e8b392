from __future__ import annotations

import subprocess
import sys

import pytest

import licet


@pytest.mark.parametrize("name", licet.__all__)
def test_a_public_name_is_there_and_names_itself(name: str) -> None:
    found = getattr(licet, name)
    assert name in {getattr(found, "__name__", name), "Result"}


def test_the_public_names_are_sorted() -> None:
    assert licet.__all__ == sorted(licet.__all__)


def test_another_name_is_none_of_the_package() -> None:
    with pytest.raises(AttributeError, match="module `licet` has no attribute `Gaet`"):
        licet.__getattr__("Gaet")


def test_importing_the_package_loads_no_room() -> None:
    code = "import sys, licet; print([name for name in sys.modules if name.startswith('licet.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

"""An environment for each framework, in which its tests run: `python -m tests.integrations.environments [--oldest | --lock] [NAME ...]`.

Frameworks do not go together: each wants other versions of what it shares with others. So each has an environment of its own, made from its
extra of pyproject.toml and nothing else; that a second framework came with it is an error. The versions are those of `locks/NAME.txt`, the
newest when `--lock` last wrote it; `--oldest` takes the oldest that the extra admits. Without names all are run, one after the other.

What was seen is written to `results/NAME.json`, of which `table.py` makes the table of docs/integrations.md. That it is another than was
kept there is a failure: whoever changes what an integration can do says so in the docs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from licet.integrations.frameworks import FRAMEWORKS, Framework

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HOMES = ROOT / ".frameworks"


def is_there(framework: Framework) -> bool:
    """Whether there is an adapter of this framework."""
    return (ROOT / f"src/licet/integrations/{framework.name}.py").exists()


def lock_of(framework: Framework) -> Path:
    """The versions that a framework is tested with."""
    return HERE / f"locks/{framework.name}.txt"


def results_of(framework: Framework) -> Path:
    """What was seen of a framework."""
    return HERE / f"results/{framework.name}.json"


def lock(framework: Framework) -> None:
    """Write the newest versions that go together."""
    out = str(lock_of(framework))
    how = (
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--upgrade",
    )
    uv("pip", "compile", "--quiet", *how, "--extra", framework.extra, "--output-file", out, "pyproject.toml", str(HERE / "tools.in"))


def make(framework: Framework, *, oldest: bool) -> Path:
    """Make the environment of a framework; its Python."""
    home = HOMES / (f"{framework.name}-oldest" if oldest else framework.name)
    python = home / "bin/python"
    if not python.exists():
        uv("venv", "--quiet", "--python", sys.executable, str(home))
    install = ("pip", "install", "--quiet", "--python", str(python))
    if oldest:
        uv(*install, "--resolution", "lowest-direct", "-e", f".[{framework.extra}]", "-r", str(HERE / "tools.in"))
    else:
        uv(*install, "--require-hashes", "-r", str(lock_of(framework)))
        uv(*install, "--no-deps", "-e", ".")
    refuse_others(framework, uv("pip", "freeze", "--python", str(python)))
    return python


def refuse_others(framework: Framework, installed: str) -> None:
    """An extra brings its framework and no other. Raises `SystemExit`."""
    others = {name for one in FRAMEWORKS if one is not framework for name in one.distributions}
    came = sorted({line.partition("==")[0].strip() for line in installed.splitlines()} & others)
    if came:
        raise SystemExit(f"the extra `{framework.extra}` brings another framework: {', '.join(came)}")


def is_conforming(framework: Framework, python: Path, *, oldest: bool) -> bool:
    """Whether the suite and the framework's own tests pass, and what was seen is what the docs say."""
    before = rows(framework)
    environ = {**os.environ, "LICET_FRAMEWORK": framework.name}
    if not oldest:
        environ["LICET_FRAMEWORK_RESULTS"] = str(results_of(framework))
    tests = ["tests/integrations/conformance", *map(str, sorted(HERE.glob(f"frameworks/test_{framework.name}*.py")))]
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-W", "default", *tests]
    passed = subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode == 0
    if not oldest:  # the types that are there: elsewhere they are unknown
        typed = [
            str(python),
            "-m",
            "mypy",
            f"src/licet/integrations/{framework.name}.py",
            f"tests/integrations/drivers/{framework.name}.py",
        ]
        passed &= subprocess.run(typed, cwd=ROOT, check=False).returncode == 0
    if passed and rows(framework) != before:
        print("what was seen is not what docs/integrations.md says: run `python -m tests.integrations.table`", file=sys.stderr)
        return False
    return passed


def rows(framework: Framework) -> Any:
    """What was seen last."""
    file = results_of(framework)
    return json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else None


def uv(*words: str) -> str:
    """Run uv; what it prints. Raises `SystemExit` with what it complains of."""
    done = subprocess.run([sys.executable, "-m", "uv", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv {' '.join(words[:2])}: {done.stderr.strip()}")
    return done.stdout


def main() -> int:
    """Every framework that was asked for. Returns 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--oldest", action="store_true", help="the oldest versions that the extras admit")
    parser.add_argument("--lock", action="store_true", help="write the newest versions into locks/, and run nothing")
    asked = parser.parse_args()
    unknown = set(asked.names) - {one.name for one in FRAMEWORKS}
    if unknown:
        parser.error(f"there is no framework {', '.join(sorted(unknown))}")
    failed = []
    for framework in [one for one in FRAMEWORKS if is_there(one) and (not asked.names or one.name in asked.names)]:
        print(f"==> {framework.title}{', the oldest that is admitted' if asked.oldest else ''}", flush=True)
        if asked.lock:
            lock(framework)
        elif not is_conforming(framework, make(framework, oldest=asked.oldest), oldest=asked.oldest):
            failed.append(framework.name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

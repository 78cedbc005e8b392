"""An environment for each framework, in which its tests run: `python -m tests.integrations.environments [--oldest] [--keep] [NAME ...]`.

Frameworks do not go together: each wants other versions of what it shares with others. So each has an environment of its own, made from its
extra of pyproject.toml and nothing else; that a second framework came with it is an error. Without names all are run, one after the other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOMES = ROOT / ".frameworks"
RESULTS = Path(__file__).parent / "results"
EXTRAS = {
    "langchain": ("langchain",),
    "pydantic_ai": ("pydantic-ai-slim",),
    "openai": ("openai-agents",),
    "fastmcp": ("fastmcp",),
    "claude": ("claude-agent-sdk",),
    "adk": ("google-adk",),
    "crewai": ("crewai",),
    "agent_framework": ("agent-framework-core",),
}
"""The frameworks by the name of their adapter, with the distributions that make them."""
TOOLS = ("pytest>=9", "hypothesis>=6.150")


def extra_of(name: str) -> str:
    """The extra of pyproject.toml."""
    return name.replace("_", "-")


def is_there(name: str) -> bool:
    """Whether there is an adapter of this framework."""
    return (ROOT / f"src/licet/integrations/{name}.py").exists()


def make(name: str, *, oldest: bool) -> Path:
    """Make the environment of a framework; its Python."""
    home = HOMES / (f"{name}-oldest" if oldest else name)
    python = home / "bin/python"
    if not python.exists():
        _uv("venv", "--quiet", "--python", sys.executable, str(home))
    how = ["--resolution", "lowest-direct"] if oldest else ["--upgrade"]
    _uv("pip", "install", "--quiet", "--python", str(python), *how, "-e", f"{ROOT}[{extra_of(name)}]", *TOOLS)
    found = _uv("pip", "freeze", "--python", str(python))
    others = {package for other, packages in EXTRAS.items() if other != name for package in packages}
    came = sorted(line.partition("==")[0] for line in found.splitlines() if line.partition("==")[0] in others)
    if came:
        raise SystemExit(f"the extra `{extra_of(name)}` brings another framework: {', '.join(came)}")
    return python


def test(name: str, python: Path, *, oldest: bool) -> int:
    """Run the suite and the framework's own tests. What was seen is kept for the table of the docs, unless it is of old versions."""
    environ = {**os.environ, "LICET_FRAMEWORK": name}
    if not oldest:
        environ["LICET_FRAMEWORK_RESULTS"] = str(RESULTS / f"{name}.json")
    tests = ["tests/integrations/conformance", *map(str, ROOT.glob(f"tests/integrations/frameworks/test_{name}*.py"))]
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-W", "default", *tests]
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


def _uv(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "uv", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv {' '.join(words[:2])}: {done.stderr.strip()}")
    return done.stdout


def main() -> int:
    """Every framework that was asked for. Returns 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*EXTRAS, []], metavar="NAME")
    parser.add_argument("--oldest", action="store_true", help="the oldest versions that the extras admit")
    asked = parser.parse_args()
    failed = []
    for name in asked.names or [name for name in EXTRAS if is_there(name)]:
        print(f"==> {name}{' (oldest)' if asked.oldest else ''}", flush=True)
        if test(name, make(name, oldest=asked.oldest), oldest=asked.oldest):
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

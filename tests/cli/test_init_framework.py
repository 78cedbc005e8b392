from __future__ import annotations

from pathlib import Path

import pytest

from licet.cli.init_framework import FILES_LIMIT, frameworks_of
from licet.integrations.frameworks import FRAMEWORKS, find_framework_of
from tests.cli.conftest import Licet, envelope


def names(project: Path) -> list[str]:
    return [one.name for one in frameworks_of(project)]


def write(project: Path, name: str, text: str) -> None:
    file = project / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("requirements.txt", "langgraph>=1.0  # agents\n", "langchain"),
        ("requirements-dev.txt", "# nothing\nOpenAI_Agents[voice]==0.24.0 ; python_version > '3'\n", "openai"),
        ("pyproject.toml", "[project]\nname = 'x'\ndependencies = ['google-adk~=2.13']\n", "adk"),
        ("pyproject.toml", "[project.optional-dependencies]\nagents = ['pydantic-ai-slim[openai]>=2']\n", "pydantic_ai"),
        ("pyproject.toml", "[dependency-groups]\ndev = [{include-group = 'x'}, 'fastmcp']\n", "fastmcp"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '^3.11'\nfastmcp = {version = '^4'}\n", "fastmcp"),
        ("pyproject.toml", "[tool.poetry.dev-dependencies]\nlanggraph = '*'\n", "langchain"),
        ("pyproject.toml", "[tool.poetry.group.bots.dependencies]\ncrewai = '*'\n", "crewai"),
        ("main.py", "from langchain.agents import create_agent\n", "langchain"),
        ("main.py", "import google.adk.agents as adk\n", "adk"),
        ("main.py", "from google import adk\n", "adk"),
        ("src/app/bots/main.py", "def go():\n    import claude_agent_sdk\n", "claude"),
        ("main.py", "import agents\n", "openai"),
        ("main.py", "from agent_framework import Agent\n", "agent_framework"),
    ],
)
def test_a_framework_is_found_where_the_project_names_or_imports_it(tmp_path: Path, file: str, text: str, found: str) -> None:
    write(tmp_path, file, text)
    assert names(tmp_path) == [found]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("main.py", "from google.cloud import storage\nimport agentsmith\n# import langchain\n'import langchain'\n"),
        ("main.py", "import langchain_of_somebody_else\nfrom . import agents\n"),
        ("main.py", "this is no Python: import langchain\n"),
        ("pyproject.toml", "this is no TOML"),
        ("pyproject.toml", "[project]\ndescription = 'crewai for cats'\nkeywords = ['langchain', 'fastmcp']\nname = 'google-adk'\n"),
        ("pyproject.toml", "[tool.poetry]\ndescription = 'crewai for cats'\nkeywords = ['langchain']\n"),
        ("requirements.txt", "langchain-community\n-r other.txt\n--index-url https://example.org/langchain\n"),
        ("node_modules/x/main.py", "import langchain\n"),
        (".venv/lib/main.py", "import langchain\n"),
        ("env/main.py", "import langchain\n"),
        ("a/b/c/d/e/main.py", "import langchain\n"),
        ("main.py", "x = " + "(" * 5_000 + "\nimport langchain\n"),
    ],
)
def test_nothing_is_found_where_there_is_nothing(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path, file, text)
    assert names(tmp_path) == []


def test_a_module_of_the_projects_own_is_no_framework(tmp_path: Path) -> None:
    write(tmp_path, "main.py", "from agents import support\n")
    write(tmp_path, "agents/support.py", "x = 1\n")
    assert names(tmp_path) == []


def test_files_that_cannot_be_read_say_nothing_and_what_is_read_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    (tmp_path / "long.py").write_text("import langchain\n" + "# \n" * 1_000_000)
    for number in range(FILES_LIMIT):
        (tmp_path / f"a{number:04}.py").write_text("")
    (tmp_path / "zz.py").write_text("import langchain\n")
    assert names(tmp_path) == []


def test_init_prints_the_line_to_add_and_what_to_install(licet: Licet, tmp_path: Path) -> None:
    write(tmp_path, "requirements.txt", "langchain\n")
    write(tmp_path, "main.py", "import agents\n")
    result = licet("init", str(tmp_path))
    assert "found" in result.stdout
    assert "create_agent(model, tools, middleware=[gate.langchain()])  # pip install 'licet[langchain]'" in result.stdout
    assert "agent = gate.openai(agent)  # pip install 'licet[openai]'" in result.stdout


def test_init_as_json_names_the_frameworks(licet: Licet, tmp_path: Path) -> None:
    write(tmp_path, "requirements.txt", "pydantic-ai\n")
    found = envelope(licet("init", str(tmp_path), "--json"))["data"]["frameworks"]
    line = "Agent(model, tools=tools, capabilities=[gate.pydantic_ai()])"
    assert found == [{"framework": "pydantic_ai", "line": line, "install": "licet[pydantic-ai]"}]


def test_every_framework_is_found_by_its_own_packages_and_no_two_share_one() -> None:
    packages = [package for one in FRAMEWORKS for package in one.packages]
    assert len(set(packages)) == len(packages)
    for one in FRAMEWORKS:
        assert {find_framework_of(f"{package}.x.y") for package in one.packages} == {one}
    assert find_framework_of("google") is None

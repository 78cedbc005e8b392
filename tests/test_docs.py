from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import Document

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run(document: Document, folder: Path) -> None:
    """Run a document as its marks say; raises AssertionError with what went wrong."""
    for block in document.blocks:
        if block.file is not None:
            file = folder / block.file
            assert file.resolve().is_relative_to(folder.resolve()), f"`{block.file}` lies outside the folder"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.code, encoding="utf-8")
    program = folder / f"{document.path.stem}.py"
    program.write_text(document.program(), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LICET_")}
    done = subprocess.run(  # the interpreter of this test, and code of this repository
        [sys.executable, "-W", "error", str(program)], cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{document.path.name}: {done.stderr}"
    rest = done.stdout
    for block in document.blocks:
        if block.mark == "output":
            assert block.code in rest, f"{document.path.name}:{block.line}: not printed; what was: {done.stdout}"
            rest = rest.partition(block.code)[2]


def test_there_are_documents() -> None:
    assert ROOT / "README.md" in DOCUMENTS


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert Document.read(path).broken_links(ROOT) == []


def test_decisions_are_numbered_without_a_gap_and_by_their_titles() -> None:
    files = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [path.name[:4] for path in files] == [f"{number:04}" for number in range(len(files))]
    assert [path.name for path in files[1:] if not path.read_text().startswith(f"# {path.name[:4]}. ")] == []


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if Document.read(path).program() or path.name == "README.md"], ids=named)
def test_the_code_runs_and_prints_what_is_shown(path: Path, tmp_path: Path) -> None:
    run(Document.read(path), tmp_path)


LINKS = """\
# A title, with `code`

[here](#a-title-with-code) [twice](#again-1) [test](../tests/test_x.py#test_one) [web](https://example.invalid) [file](other.md#part "title")
`tests/test_x.py::test_one` `tests/test_x.py::TestTwo::test_three[case-1]` `[not](a-link.md)`

```text
[not](a-link.md)
```

## Again
## Again

[reference]: other.md
"""

BROKEN = {
    "[x](no.md)": "there is no such file",
    "[x](tests/test_x.py#test_one)": "there is no such file",
    "[x](#nowhere)": "there is no such heading",
    "[x](other.md#nowhere)": "there is no such heading",
    "[x](../tests/test_x.py#test_gone)": "there is no such test",
    "`tests/test_x.py::test_gone`": "there is no such test",
    "`tests/test_gone.py::test_one`": "there is no such file",
    "`tests/test_x.py::TestTwo::test_gone`": "there is no such test",
    "[x]: no.md": "there is no such file",
    "[x](/docs/other.md)": "a link starts at the file it stands in",
    "[x](../../outside.md)": "leads out of the repository",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A small repository, with something outside it."""
    root = tmp_path / "repository"
    for folder in ("docs", "tests"):
        (root / folder).mkdir(parents=True)
    (tmp_path / "outside.md").write_text("")
    (root / "docs/other.md").write_text("# Part\n")
    (root / "tests/test_x.py").write_text("def test_one(): ...\nclass TestTwo:\n    async def test_three(self): ...\n")
    return root


def test_links_that_lead_somewhere_are_found_right(place: Path) -> None:
    document = Document(place / "docs/page.md", LINKS)
    (place / "docs/page.md").write_text(LINKS)
    assert document.broken_links(place) == []
    assert len(list(document.links)) == 8


@pytest.mark.parametrize(("text", "why"), BROKEN.items())
def test_a_broken_link_is_found(place: Path, text: str, why: str) -> None:
    (place / "docs/page.md").write_text(f"# Title\n{text}\n")
    (line,) = Document.read(place / "docs/page.md").broken_links(place)
    assert line.startswith("page.md:2: ")
    assert line.endswith(why)


PROGRAM = """\
<!-- file: data/words.txt -->
```text
hello
```

```python
from pathlib import Path
word = Path("data/words.txt").read_text().strip()
```

<!-- not run -->
```python
raise SystemExit(1)
```

```python
print(word)
print(word.upper())
```

<!-- output -->
```text
hello
HELLO
```
"""


def test_a_document_runs_as_its_marks_say(tmp_path: Path) -> None:
    run(Document(Path("page.md"), PROGRAM), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HELLO", "HALLO", "page.md:23: not printed"),
        ("<!-- not run -->\n", "", "page.md: "),
        ("print(word)", "print(wort)", 'page.py", line 17'),
        ("data/words.txt -->", "../words.txt -->", "`../words.txt` lies outside the folder"),
    ],
)
def test_a_document_that_says_something_else_is_found(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        run(Document(Path("page.md"), PROGRAM.replace(old, new)), tmp_path)
    assert message in str(caught.value)

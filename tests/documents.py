"""Markdown as the tests of the documentation read it: links, headings, code blocks and their marks.

A fenced block may have a mark on the line above it:

    <!-- not run -->         python that is only shown
    <!-- file: NAME -->      written to NAME before anything runs (any language)
    <!-- output -->          what the python blocks of this document print; several blocks must occur in this order

All other python blocks of a document run together, in order, in one process, in a folder of their own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FENCE = re.compile(r"^(?P<fence>```+|~~~+)[ ]*(?P<language>[\w.+-]*)[^\n]*\n(?P<code>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- *(?P<mark>not run|output|file: *(?P<name>[^ ]+)) *-->[ ]*\n\Z")
_LINK = re.compile(r"\]\(\s*<?(?P<target>[^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]^]+\]:\s*(?P<reference>\S+)", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")
_TEST = re.compile(r"`(?P<target>tests/[\w/.-]+\.py(?:::[\w:\[\]-]+)?)`")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *#* *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its code, the line of its first code line, and its mark."""

    language: str
    code: str
    line: int
    mark: str | None
    file: str | None


@dataclass(frozen=True)
class Link:
    """A link, which starts at the folder of its document, or a test named in backticks, which starts at the root; and its line."""

    target: str
    line: int
    from_root: bool


@dataclass(frozen=True)
class Document:
    """One Markdown file."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Document:
        return cls(path, path.read_text(encoding="utf-8"))

    @property
    def blocks(self) -> list[Block]:
        found = []
        for match in _FENCE.finditer(self.text):
            mark = _MARK.search(self.text, 0, match.start())
            kind, name = (mark["mark"].partition(":")[0], mark["name"]) if mark else (None, None)
            found.append(Block(match["language"], match["code"], self._line(match.start("code")), kind, name))
        return found

    @property
    def steps(self) -> Iterator[tuple[str, int, list[str]]]:
        """Each command of the consoles, what it ends with (`# ends with 8` behind it; else 0), and the lines that it must print."""
        for block in self.blocks:
            if block.language == "console":
                for step in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
                    command, *printed = step.splitlines()
                    command, _, ends = command.partition("  # ends with ")
                    yield command, int(ends or 0), printed

    @property
    def links(self) -> Iterator[Link]:
        """Links outside code, and tests that are named in backticks."""
        prose = _FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), self.text)
        for match in _TEST.finditer(prose):
            yield Link(match["target"], self._line(match.start()), from_root=True)
        for match in _LINK.finditer(_CODE.sub(lambda code: " " * len(code[0]), prose)):
            yield Link(match["target"] or match["reference"], self._line(match.start()), from_root=False)

    @property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as GitHub makes them."""
        prose = _FENCE.sub("", self.text)
        plain = (re.sub(r"[^\w\- ]", "", match["text"].lower()).replace(" ", "-") for match in _HEADING.finditer(prose))
        seen: dict[str, int] = {}
        anchors = set()
        for anchor in plain:
            seen[anchor] = seen.get(anchor, -1) + 1
            anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        return anchors

    def broken_links(self, root: Path) -> list[str]:
        """One line for each link that leads nowhere."""
        return [f"{self.path.name}:{link.line}: {link.target}: {why}" for link in self.links if (why := self._why_broken(link, root))]

    def program(self) -> str:
        """The python blocks that run, each at the line where it stands in the document."""
        lines: list[str] = []
        for block in self.blocks:
            if block.language == "python" and block.mark is None:
                lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
        return "\n".join(lines)

    def _line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def _why_broken(self, link: Link, root: Path) -> str | None:
        if re.match(r"[a-z][a-z0-9+.-]*:", link.target):
            return None  # of the web; whether it answers is not for a test to ask
        path, _, anchor = link.target.replace("::", "#", 1).partition("#")
        if path.startswith("/"):
            return "a link starts at the file it stands in"
        place = ((root if link.from_root else self.path.parent) / path).resolve() if path else self.path
        if not place.is_relative_to(root.resolve()):
            return "leads out of the repository"
        if not place.exists():
            return "there is no such file"
        return _why_no_anchor(place, anchor) if anchor else None


def _why_no_anchor(place: Path, anchor: str) -> str | None:
    if place.suffix == ".py":
        return None if anchor.partition("[")[0] in _definitions(place) else "there is no such test"
    return None if place.suffix == ".md" and anchor in Document.read(place).anchors else "there is no such heading"


@cache
def _definitions(file: Path) -> frozenset[str]:
    """The functions and classes of a Python file; methods as `Class::method`."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{method.name}" for method in node.body if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(found)

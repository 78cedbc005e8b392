"""Reading `policies/*.cedar`: every policy with its id, place, exact text and obligation.

Rules:

1. A file is cut at each `;` that stands outside strings and comments, and each piece is parsed by itself. What is shown, hashed, voted on
   and evaluated is therefore the same text. Cutting drops nothing: what is left after the last `;` must be blank or comments.
2. `@id` is required and unique over the whole bundle. It is the policy's only name: in records, decisions, tests and votes.
3. The annotations are `id`, `reason`, `description`, `require_approval`, `require_confirmation` and `preview_only`, and `expires` and
   `separation`, which say more about an obligation. Any other does not load, so that a misspelt obligation cannot pass for a comment.
   An obligation softens a `forbid` and cannot stand on a `permit`; a policy has at most one.
4. Templates (`?principal`, `?resource`) do not load: nothing would ever link them.
5. A bundle without policies does not load: it would deny everything, and is nearly always a misspelt folder.
6. Every problem is reported at once, with file and line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from cedarpy import pst
from cedarpy._internal import PolicySet
from msgspec import Struct

from licet.errors import PolicyInvalid
from licet.model import EntityRef
from licet.names import name_problem, quoted
from licet.policy.obligations import ANNOTATIONS as OBLIGATIONS
from licet.policy.obligations import BESIDE, ObligationRule, RuleInvalid, read_rule
from licet.policy.slices import walk

OWN_FILE = "licet.cedar"
"""In the same folder, who may do what with Licet itself (`own.py`). It is no part of any bundle."""
ANNOTATIONS = frozenset({"id", "reason", "description", *OBLIGATIONS, *BESIDE})
STRING, COMMENT = r'"(?:[^"\\]|\\.)*+"?', r"//[^\r\n]*"
_TOKEN = re.compile(rf'(?P<string>{STRING})|(?P<comment>{COMMENT})|(?P<end>;)|(?P<blank>\s+)|(?P<code>[^\s"/;]+|/)', re.DOTALL)
"""As Cedar's lexer cuts: strings with backslash escapes, comments to the end of the line, a lone carriage return included: a forbid behind
one must not pass for a comment. A string that never ends runs to the end."""


class Policy(Struct, frozen=True, kw_only=True):
    """One policy. `line` (from 1) is where its first annotation or keyword stands, `text` runs from there through its `;`.

    `digest` is the SHA-256 (hex) of `text`; comments before the policy do not enter it. `tree` is what Cedar parsed, without annotations;
    `entities` are those that it names.
    """

    id: str
    effect: pst.Effect
    file: str
    line: int
    text: str
    digest: str
    annotations: dict[str, str]
    reason: str | None
    obligation: ObligationRule | None
    tree: pst.Template
    entities: tuple[EntityRef, ...]

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


class Bundle:
    """Every policy of a folder, in order of file name and line. Build it with `read`, `from_texts` or `from_content`.

    `content` is the canonical JSON of {file: text}, `digest` its SHA-256 (hex).
    """

    def __init__(self, policies: tuple[Policy, ...], texts: Mapping[str, str]) -> None:
        self.policies: Final = policies
        self.content: Final = msgspec.json.encode(dict(texts), order="sorted")
        self.digest: Final = hashlib.sha256(self.content).hexdigest()
        self._by_id: Final = {policy.id: policy for policy in policies}

    @classmethod
    def read(cls, directory: Path) -> Bundle:
        """The bundle of all `*.cedar` files in a folder, not in its subfolders. Raises `PolicyInvalid` with every problem."""
        texts: dict[str, str] = {}
        problems: list[str] = []
        if not directory.is_dir():
            raise PolicyInvalid((f"`{directory}` is not a folder; policies are read from its `*.cedar` files",))
        for path in sorted(directory.glob("*.cedar")):
            if path.name == OWN_FILE:
                continue
            name = f"{directory.name}/{path.name}"
            try:
                texts[name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{name}: cannot be read: {error}")
        if problems:
            raise PolicyInvalid(tuple(problems))
        if not texts:
            raise PolicyInvalid((f"`{directory}` has no `*.cedar` file: nothing would ever be permitted",))
        return cls.from_texts(texts)

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Bundle:
        """The bundle of these files. Raises `PolicyInvalid` with every problem."""
        problems: list[str] = []
        policies: dict[str, Policy] = {}
        for file, text in sorted(texts.items()):
            for policy in _read_file(file, text, problems):
                first = policies.setdefault(policy.id, policy)
                if first is not policy:
                    problems.append(f"{policy.place}: the id `{policy.id}` is taken by {first.place}")
        if not policies and not problems:
            problems.append("there are no policies: nothing would ever be permitted")
        if problems:
            raise PolicyInvalid(tuple(problems))
        return cls(tuple(policies.values()), texts)

    @classmethod
    def from_content(cls, content: bytes) -> Bundle:
        """The bundle whose `content` was stored. Raises `PolicyInvalid`."""
        try:
            texts = msgspec.json.decode(content, type=dict[str, str])
        except msgspec.DecodeError as error:
            raise PolicyInvalid((f"the stored bundle cannot be read: {error}",)) from error
        return cls.from_texts(texts)

    def get_policy(self, policy_id: str) -> Policy:
        """One policy by its `@id`. Raises `KeyError` when there is none."""
        return self._by_id[policy_id]


def _read_file(file: str, text: str, problems: list[str]) -> Iterator[Policy]:
    for line, piece in _pieces(text):
        try:
            yield _policy(file, line, piece)
        except _PieceInvalidError as error:
            problems.extend(f"{file}:{error.line or line}: {problem}" for problem in error.problems)


class _PieceInvalidError(Exception):
    def __init__(self, *problems: str, line: int | None = None) -> None:
        super().__init__(*problems)
        self.problems = problems
        self.line = line


def _policy(file: str, line: int, text: str) -> Policy:
    tree = _parse(text, line)
    annotations = dict(tree.annotations)
    problems = [f"unknown annotation `@{name}`" for name in annotations if name not in ANNOTATIONS]
    policy_id = annotations.get("id", "")
    if not policy_id:
        problems.append("a policy needs an `@id`")
    elif problem := name_problem(policy_id):
        problems.append(f"the id {quoted(policy_id)} cannot be used: {problem}")
    rule = None
    try:
        rule = read_rule(tree.effect, annotations)
    except RuleInvalid as error:
        problems.append(str(error))
    if problems:
        name = f"policy {quoted(policy_id)}: " if policy_id else ""
        raise _PieceInvalidError(*(name + problem for problem in problems))
    return Policy(
        entities=_entities(tree),
        id=policy_id,
        effect=tree.effect,
        file=file,
        line=line,
        text=text,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        annotations=annotations,
        reason=annotations.get("reason") or None,
        obligation=rule,
        tree=pst.Template(policy_id, tree.effect, tree.principal, tree.action, tree.resource, tree.clauses, pst.FrozenMap()),
    )


def _entities(tree: pst.Template) -> tuple[EntityRef, ...]:
    found = {EntityRef(str(node.type), node.id) for node in walk(tree) if isinstance(node, pst.EntityUid)}
    return tuple(sorted(found))


def _parse(text: str, line: int) -> pst.Template:
    try:
        parsed = PolicySet.from_str(text).to_pst()
    except ValueError as error:
        raise _PieceInvalidError(f"cannot be read: {error}", line=_line_of_error(text, line)) from error
    if parsed.templates:
        raise _PieceInvalidError("templates (`?principal`, `?resource`) cannot be used: nothing would ever link them")
    # A piece ends at its only `;`, so it can hold one policy at most, and a piece without one does not parse.
    (tree,) = parsed.static_policies.values()
    return tree


def _line_of_error(text: str, first_line: int) -> int:
    """The line of the first token that cannot go on: the engine tells what is wrong and not where.

    A text that is merely cut off ends unexpectedly; the first line after which something else is wrong is the culprit's.
    """
    for cut, line in _line_ends(text, first_line):
        try:
            PolicySet.from_str(text[:cut])
        except ValueError as error:
            if "unexpected end of input" not in str(error):
                return line
    return first_line


def _line_ends(text: str, first_line: int) -> Iterator[tuple[int, int]]:
    """(offset, line) of each line end outside strings: a cut inside a string would be another error."""
    line = first_line
    for token in _TOKEN.finditer(text):
        for offset in (found.start() for found in re.finditer("\n", token[0])):
            if token.lastgroup != "string":
                yield token.start() + offset, line
            line += 1
    yield len(text), line


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each policy: from its first token through its `;`, or to the end of the file where that is missing."""
    start: int | None = None
    line, counted = 1, 0
    for token in _TOKEN.finditer(text):
        if token.lastgroup in {"blank", "comment"}:
            continue
        if start is None:
            start = token.start()
            line, counted = line + text.count("\n", counted, start), start
        if token.lastgroup == "end":
            yield line, text[start : token.end()]
            start = None
    if start is not None:
        yield line, text[start:].rstrip()

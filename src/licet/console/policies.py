"""Policies: what is in force, its text, its tests, drafts that are only looked at, and how it came to be.

Rules:

1. Files are the one source of truth: nothing here is written. A draft is validated and forgotten.
2. Their texts name every tenant's people and targets, so they are for whoever may read those of the installation.
3. History is what the log says was put into force, and each version is told only if its bytes are those that were hashed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from licet.console.frame import page
from licet.console.records import read_all, record_path
from licet.errors import OperatorError
from licet.gate.house import SNAPSHOTS_MERGED
from licet.gate.reading import wanted_of
from licet.gate.suites import run_suites
from licet.model import OPERATOR_LOG
from licet.policy.bundle import OWN_FILE, Bundle
from licet.policy.suite import read_cases
from licet.server import policies
from licet.server.endpoint import Answer, Asked, Endpoint
from licet.server.problems import Problem, not_found
from licet.server.records import note_reading
from licet.server.shapes_records import Name

HERE: Final = "/console/policies"
VERSIONS: Final = 50
ANNOTATED: Final = frozenset({"require_approval", "require_confirmation", "preview_only"})
_PLACE: Final = re.compile(r"(?P<file>[^:\s]+\.cedar):(?P<line>\d+)(?::\d+)?: ?(?P<message>.*)", re.DOTALL)
_texts = msgspec.json.Decoder(dict[str, str]).decode
Text = Annotated[str, Meta(max_length=1_000_000)]


class OneFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the bundle, by its name."""

    file: Name


class Draft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file would say."""

    file: Name
    text: Text = ""


class TwoVersions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The digest of a bundle, and of the one before it."""

    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    before: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")] = ""


def show(asked: Asked) -> Answer:
    """Every file with its policies."""
    listed: policies.Policies = policies.list_policies(asked).body
    softened = {one.id for one in listed.policies if not ANNOTATED.isdisjoint(one.annotations)}
    files: dict[str, list[policies.PolicyShape]] = {name: [] for name in _files(asked)}
    for one in listed.policies:
        files.setdefault(one.file, []).append(one)
    return page(
        asked,
        "policies.html",
        listed=listed,
        softened=softened,
        files=files,
        own=OWN_FILE,
        own_name=_own_name(asked),
        address=address_of,
        may_validate=asked.decide("policies.validate", OPERATOR_LOG).allowed,
        may_reload=asked.decide("policies.reload", OPERATOR_LOG).allowed,
        cases=_cases(asked),
    )


def show_file(asked: Asked) -> Answer:
    """One file, its lines numbered."""
    asked.allow("policies.read", OPERATOR_LOG)
    text = _text(asked, asked.params.file)
    found = [one for one in policies.list_policies(asked).body.policies if one.file == asked.params.file]
    return page(
        asked,
        "policy_file.html",
        file=asked.params.file,
        lines=text.splitlines(),
        ids={one.line: one.id for one in found},
        may_validate=asked.decide("policies.validate", OPERATOR_LOG).allowed,
        address=address_of,
    )


def show_draft(asked: Asked) -> Answer:
    """The form for a draft, with the text that is in force."""
    asked.allow("policies.validate", OPERATOR_LOG)
    asked.allow("policies.read", OPERATOR_LOG)
    return _draft_page(asked, asked.params.file, _text(asked, asked.params.file), None)


def validate(asked: Asked) -> Answer:
    """Whether the bundle would load with this text in the place of that file. Nothing is put into force."""
    body: Draft = asked.body
    asked.allow("policies.read", OPERATOR_LOG)
    before = _text(asked, body.file)
    text = body.text.replace("\r\n", "\n")  # which is how browsers send lines
    files = {**_files(asked), body.file: text}
    found: policies.Validated = policies.validate(asked.with_input(None, policies.ProposedBundle(files=files))).body
    changes = list(difflib.unified_diff(before.splitlines(), text.splitlines(), "in force", "draft", lineterm=""))
    return _draft_page(asked, body.file, text, {"found": found, "problems": [_placed(one) for one in found.problems], "changes": changes})


def _draft_page(asked: Asked, file: str, text: str, result: dict[str, Any] | None) -> Answer:
    status = 200 if result is None or result["found"].loads else 422
    marked = {} if result is None else {one["line"]: one["message"] for one in result["problems"] if one["file"] == file}
    return page(
        asked,
        "policy_draft.html",
        status=status,
        file=file,
        text=text,
        lines=text.splitlines(),
        result=result,
        marked=marked,
        address=address_of,
    )


def test(asked: Asked) -> Answer:
    """Run the policies' own tests, as `licet test` does."""
    asked.allow("policies.validate", OPERATOR_LOG)
    asked.allow("policies.read", OPERATOR_LOG)
    try:
        gate = asked.gate
        snapshots = [content for _, content in reversed(gate.store.blobs("catalog")[-SNAPSHOTS_MERGED:])]
        results = run_suites(read_cases(gate.settings.policies), gate.settings, gate.registry, snapshots)
    except OperatorError as error:
        raise Problem("policy_invalid", f"the policies as they lie there do not load: {error}", status=422) from error
    return page(asked, "policy_tests.html", results=results, passed=sum(one.passed for one in results))


def reload(asked: Asked) -> Answer:
    """Put into force what the files say now."""
    policies.reload(asked)
    return Answer(status=303, media_type="text/plain", headers=(("Location", HERE),))


def history(asked: Asked) -> Answer:
    """When which bundle was put into force."""
    asked.allow("policies.read", OPERATOR_LOG)
    asked.allow("records.read", OPERATOR_LOG)
    wanted = wanted_of({"kinds": ("policy",), "tenant": OPERATOR_LOG}, (), since_us=None, until_us=None)
    found = asked.gate.ledger.search().finder.find(wanted, limit=1_000, logs=(OPERATOR_LOG,))
    entries = read_all(found.records)
    every = [one for one in entries if one.detail.get("part") == "bundle"]
    bundles, digests = every[:VERSIONS], [str(one.detail.get("sha256", "")) for one in every]
    note_reading(asked, "search", {"kinds": ["policy"]}, (OPERATOR_LOG,), shown=len(bundles))
    versions = [
        {
            "digest": digest,
            "before": digests[number + 1] if number + 1 < len(digests) else "",
            "at": one.envelope.at,
            "path": record_path(one.log, one.index),
            "is_in_force": digest == asked.gate.scene.engine.bundle.digest,
        }
        for number, (one, digest) in enumerate(zip(bundles, digests, strict=False))
    ]
    return page(asked, "policy_history.html", versions=versions)


def compare(asked: Asked) -> Answer:
    """What one version says that the one before did not."""
    asked.allow("policies.read", OPERATOR_LOG)
    params: TwoVersions = asked.params
    after = _version(asked, params.digest)
    before = _version(asked, params.before) if params.before else {}
    files = []
    for name in sorted({*before, *after}):
        lines = list(
            difflib.unified_diff(before.get(name, "").splitlines(), after.get(name, "").splitlines(), "before", "after", lineterm="")
        )
        if lines:
            files.append({"name": name, "lines": lines[2:]})
    return page(asked, "policy_compare.html", query=params, files=files)


def address_of(file: str, line: int | None = None) -> str:
    """Where a line of a file is shown."""
    return f"{HERE}/file?{urlencode({'file': file})}{'' if line is None else f'#L{line}'}"


def _files(asked: Asked) -> Mapping[str, str]:
    """Every file that is in force, that of Licet's own permissions among them."""
    scene = asked.gate.scene
    found = _texts(scene.engine.bundle.content)
    if scene.own is not None:
        found |= _texts(scene.own.bundle.content)
    return found


def _own_name(asked: Asked) -> str:
    own = asked.gate.scene.own
    return "" if own is None else next(iter(_texts(own.bundle.content)), "")


def _text(asked: Asked, file: str) -> str:
    found = _files(asked).get(file)
    if found is None:
        raise not_found()
    return found


def _version(asked: Asked, digest: str) -> Mapping[str, str]:
    content = asked.gate.store.find_blob(digest)
    try:
        found = None if content is None else _texts(content)
    except msgspec.MsgspecError:
        found = None
    if found is None or Bundle.from_texts(found).digest != digest:
        raise not_found()
    return found


def _placed(problem: str) -> dict[str, Any]:
    """A problem, with the file and line that it begins with."""
    found = _PLACE.fullmatch(problem)
    if found is None:
        return {"file": "", "line": 0, "message": problem}
    return {"file": found["file"], "line": int(found["line"]), "message": found["message"]}


def _cases(asked: Asked) -> dict[str, Any]:
    """How many tests there are, by file; or why they cannot be read."""
    try:
        found = read_cases(asked.gate.settings.policies)
    except OperatorError as error:
        return {"files": {}, "problem": str(error)}
    files: dict[str, int] = {}
    for one in found:
        files[one.file] = files.get(one.file, 0) + 1
    return {"files": files, "problem": ""}


PAGES: Final = (
    Endpoint(
        method="GET",
        path=HERE,
        operation="consolePolicies",
        summary="The policies that are in force",
        tag="console",
        action="policies.read",
        handler=show,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/file",
        operation="consolePolicyFile",
        summary="The text of one file of policies",
        tag="console",
        action="policies.read",
        handler=show_file,
        params=OneFile,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/draft",
        operation="consolePolicyDraft",
        summary="A form for a draft",
        tag="console",
        action="policies.validate",
        handler=show_draft,
        params=OneFile,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/draft",
        operation="consoleValidatePolicy",
        summary="Whether a draft would load",
        tag="console",
        action="policies.validate",
        handler=validate,
        body=Draft,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/test",
        operation="consoleTestPolicies",
        summary="Run the policies' own tests",
        tag="console",
        action="policies.validate",
        handler=test,
    ),
    Endpoint(
        method="POST",
        path=f"{HERE}/reload",
        operation="consoleReloadPolicies",
        summary="Put into force what the files say",
        tag="console",
        action="policies.reload",
        handler=reload,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/history",
        operation="consolePolicyHistory",
        summary="Which policies were put into force, and when",
        tag="console",
        action="policies.read",
        handler=history,
    ),
    Endpoint(
        method="GET",
        path=f"{HERE}/compare",
        operation="consoleComparePolicies",
        summary="What one version says that the one before did not",
        tag="console",
        action="policies.read",
        handler=compare,
        params=TwoVersions,
    ),
)

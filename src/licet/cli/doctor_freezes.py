"""What `licet doctor` looks at in the freezes that stand, and in who could lift them."""

from __future__ import annotations

from collections.abc import Iterator

from licet.cli.finding import Finding
from licet.cli.loading import reading
from licet.config import Settings
from licet.errors import OperatorError, StoreUnavailable
from licet.gate.freeze_view import standing_freezes
from licet.gate.opening import has_ledger
from licet.identity.directory import Directory


def freeze_findings(settings: Settings) -> Iterator[Finding]:
    """What is frozen, each as a warning; and whether enough people could lift a freeze."""
    yield from _lifters(settings)
    if not has_ledger(settings):
        return
    try:
        with reading(settings) as store:
            found = standing_freezes(store)
            rows = {row.id for row in store.freezes().rows}
    except StoreUnavailable:
        return  # said where the ledger is opened
    except OperatorError as error:
        yield Finding("fail", "freezes", str(error), "keep the file as it is, and run `licet audit verify`")
        return
    for freeze in found:
        yield Finding("warn", "freezes", freeze.sentence, f"`licet freeze lift {freeze.id} --reason TEXT` ends it")
        if freeze.id not in rows:
            message = f"somebody has deleted or edited the row of freeze {freeze.id}"
            yield Finding("fail", "freezes", message, "keep the file as it is, and run `licet audit verify`")
    if not found:
        yield Finding("ok", "freezes", "nothing is frozen")


def _lifters(settings: Settings) -> Iterator[Finding]:
    """A freeze that nobody may lift ends with a change of licet.toml."""
    rules = settings.freeze
    if rules.lifters is None:
        return
    try:
        directory = Directory.from_settings(settings)
    except OperatorError:
        return  # told where the configuration is looked at
    needed = 2 if rules.two_persons else 1
    for tenant in sorted(directory.tenants):
        people = len(directory.people(rules.lifters, tenant))
        if people < needed:
            message = f"a freeze of tenant `{tenant}` may need {needed} of `{rules.lifters}` to lift it, and there are {people}"
            yield Finding("warn", "freezes", message, f"put people into `{rules.lifters}` in licet.toml")
    everywhere = frozenset.intersection(*[directory.people(rules.lifters, tenant) for tenant in directory.tenants])
    if len(directory.tenants) > 1 and len(everywhere) < needed:
        message = (
            f"a freeze of every tenant may need {needed} of `{rules.lifters}` to lift it, and {len(everywhere)} may decide for all of them"
        )
        step = f'`scope = "operator"` lets `{rules.lifters}` decide for all tenants; `--tenant NAME` freezes in one alone'
        yield Finding("warn", "freezes", message, step)

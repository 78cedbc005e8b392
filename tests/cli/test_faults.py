"""What a refusal says to do next fits what was refused."""

from __future__ import annotations

import pytest

from licet.cli.exits import Exit
from licet.cli.faults import fault_of
from licet.errors import CallerRefused, FreezeRefused, KeyUnavailable, NotAStore, UndoRefused, VoteRefused


@pytest.mark.parametrize(
    ("error", "ends", "step"),
    [
        (VoteRefused("not_in_group", "x"), Exit.DENIED, "`licet approvals show ID` says who may vote"),
        (VoteRefused("requester", "x"), Exit.DENIED, "`licet approvals show ID` says who may vote"),
        (VoteRefused("unknown_user", "x"), Exit.NOT_AUTHENTICATED, "`[users]` in licet.toml names them"),
        (VoteRefused("not_open", "x"), Exit.DENIED, "`licet approvals show ID` says how it ended"),
        (VoteRefused("request_moved", "x"), Exit.DENIED, "`licet approvals show ID` says how it ended"),
        (VoteRefused("no_vote", "x"), Exit.DENIED, "`licet approvals show ID` shows whose votes stand"),
        (VoteRefused("no_such_step", "x"), Exit.DENIED, "`licet approvals show PLAN` shows its steps"),
        (FreezeRefused("unknown_user", "x"), Exit.NOT_AUTHENTICATED, "`[users]` in licet.toml names them"),
        (FreezeRefused("unknown_tenant", "x"), Exit.USAGE, "`[tenants]` in licet.toml names them"),
        (UndoRefused("already_undone", "x"), Exit.ERROR, "`licet audit show CALL` says what is known of it"),
        (UndoRefused("no_such_call", "x"), Exit.ERROR, "`licet audit search --verdict allow` finds calls"),
    ],
    ids=lambda value: f"{type(value).__name__} {value.code}" if isinstance(value, VoteRefused | FreezeRefused | UndoRefused) else None,
)
def test_a_refusal_names_the_next_step(error: Exception, ends: Exit, step: str) -> None:
    fault = fault_of(error)
    assert (fault.exit, fault.next) == (ends, step)


def test_an_undo_in_the_name_of_somebody_unknown_leads_to_licet_toml() -> None:
    refused = UndoRefused("unknown_agent", "`bot` is not an agent")
    refused.__cause__ = CallerRefused("unknown_agent", "`bot` is not an agent")
    assert fault_of(refused).next == "`[agents]`, `[services]` and `[users]` in licet.toml say who there is"


@pytest.mark.parametrize(("error", "code"), [(NotAStore("x"), "not_a_store"), (KeyUnavailable("x"), "key_unavailable")], ids=["a", "key"])
def test_an_error_without_a_code_has_the_name_of_its_class_word_by_word(error: Exception, code: str) -> None:
    assert (fault_of(error).code, fault_of(error).next is not None) == (code, True)

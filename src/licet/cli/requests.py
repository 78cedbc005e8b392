"""Requests as the command line sees them. How they are shown is in `approvals_facts.py`."""

from __future__ import annotations

from licet.approvals import viewed
from licet.approvals.viewed import PAST, Viewed, has_voted, is_same, stand
from licet.cli.exits import Exit
from licet.cli.faults import Refusal
from licet.model import Request, Vote
from licet.store.contract import Store

__all__ = ["PAST", "Viewed", "get_request", "has_voted", "is_same", "stand"]


def get_request(store: Store, request: str) -> tuple[Request, tuple[Vote, ...]]:
    """One request and its votes. Raises `Refusal` where there is none, `IntegrityBroken` where it is not what its records say."""
    try:
        return viewed.get_request(store, request)
    except KeyError as error:
        message = f"there is no request `{request}`"
        raise Refusal(Exit.ERROR, "not_found", message, next_step="`licet approvals list --all` lists them") from error

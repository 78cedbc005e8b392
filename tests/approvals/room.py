"""A directory and requests for tests of who counts, without a store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Raw

from licet.approvals.standing import binding_of
from licet.config import loads
from licet.identity.directory import Directory
from licet.model import CallId, Obligation, Request, RequestId, RequestState, Vote

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
PEOPLE = """
environment = "test"
[tenants.acme]
[tenants.globex]
[agents.bot]
tenants = ["acme"]
[users.alice]
tenants = ["acme"]
person = "alice-p"
[users.alice-two]
tenants = ["acme"]
person = "alice-p"
[users.bea]
tenants = ["acme"]
[users.carl]
tenants = ["acme"]
[users.dana]
tenants = ["acme"]
[users.dana-two]
tenants = ["acme"]
person = "dana"
[users.gina]
tenants = ["globex"]
[users.olga]
tenants = ["globex"]
[users.zoe]
tenants = ["acme"]
disabled = true
[groups]
leads = ["alice", "alice-two", "bea", "carl", "gina", "zoe"]
security = ["bea", "dana", "dana-two"]
[groups.operators]
members = ["olga"]
scope = "operator"
"""


def directory(text: str = PEOPLE) -> Directory:
    return Directory.from_settings(loads(text, file=Path("/nowhere/licet.toml")))


def without(user: str, group: str, text: str = PEOPLE) -> Directory:
    """The directory after this user has left this group."""
    lines = [
        line.replace(f'"{user}", ', "").replace(f', "{user}"', "") if line.startswith(f"{group} =") else line for line in text.splitlines()
    ]
    changed = "\n".join(lines)
    assert changed != text.strip("\n"), (user, group)
    return directory(changed)


def approval(
    group: str = "leads", count: int = 1, policy: str | None = None, principal: str = 'User::"alice"', digest: str = "d"
) -> Obligation:
    return Obligation(
        kind="approval",
        policy=policy or f"{group}-needed",
        policy_digest=digest,
        principal=principal,
        count=count,
        group=group,
        reason="why",
    )


def confirmation(policy: str = "sure") -> Obligation:
    return Obligation(kind="confirmation", policy=policy, policy_digest="d", principal='User::"alice"')


def preview_only() -> Obligation:
    return Obligation(kind="preview_only", policy="look", policy_digest="d", principal='User::"alice"')


def request(*obligations: Obligation, user: str | None = "alice", tenant: str = "acme", preview_digest: str | None = "p") -> Request:
    return Request(
        id=RequestId("r-1"),
        key="key",
        tenant=tenant,
        tool="t",
        agent="bot",
        service=None,
        user=user,
        call=CallId("c-1"),
        state=RequestState.OPEN,
        opened_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        obligations=obligations or (approval(),),
        preview_digest=preview_digest,
        summary=Raw(b"{}"),
    )


def votes(on: Request, *voters: str, reject: tuple[str, ...] = ()) -> tuple[Vote, ...]:
    """Votes cast on exactly this request, in this order."""
    known = directory()
    bound = binding_of(on.key, on.preview_digest, on.obligations)
    return tuple(
        Vote(
            request=on.id,
            voter=voter,
            person=known.person_of(voter),
            verdict="reject" if voter in reject else "approve",
            at=NOW,
            binding=bound,
        )
        for voter in voters
    )

from __future__ import annotations

import pytest

from licet.cli.toml_place import find_line

TEXT = """\
environment = "production"
# [agents.commented]
[agents.support-bot]
tenants = ["acme"]
[agents."night bot"] # quoted
roles = []
[users]
alice = { tenants = [] }
bob.person = "alice"
[tools."account.suspend"]
access = "write"
[groups]
leads = ["alice"]
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("environment",), 1),
        (("agents", "support-bot"), 3),
        (("agents", "support-bot", "tenants"), 4),
        (("agents", "night bot", "roles"), 6),
        (("agents", "commented"), None),
        (("users", "alice", "tenants"), 8),
        (("users", "bob", "person"), 9),
        (("tools", "account.suspend", "access"), 11),
        (("groups", "leads"), 13),
        (("groups", "missing"), 12),
        (("nowhere",), None),
    ],
)
def test_a_key_is_found_where_people_wrote_it(key: tuple[str, ...], line: int | None) -> None:
    assert find_line(TEXT, *key) == line

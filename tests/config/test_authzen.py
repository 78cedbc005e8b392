"""`[authzen]` of licet.toml: names are translated one to one, and a client is believed only where nobody here knows more."""

from __future__ import annotations

from pathlib import Path

import pytest

from licet.config import loads
from licet.errors import ConfigInvalid

BASE = """
environment = "test"
[resources.Todo]
attributes = {ownerID = "string?"}
tenant = "caller"
[resources.Customer]
attributes = {vip = "boolean"}
"""


def read(table: str) -> object:
    return loads(BASE + table, file=Path("/srv/licet.toml")).authzen


def test_nothing_is_translated_and_nobody_is_believed_unless_it_is_said() -> None:
    settings = loads(BASE, file=Path("/srv/licet.toml")).authzen
    assert dict(settings.types) == {}
    assert dict(settings.actions) == {}
    assert settings.attributes_from_request == ()


def test_names_are_translated_and_a_type_can_be_opted_in() -> None:
    table = '[authzen]\nattributes_from_request = ["Todo"]\n[authzen.types]\ntodo = "Todo"\n[authzen.actions]\ncan_read = "crm.lookup"\n'
    settings = loads(BASE + table, file=Path("/srv/licet.toml")).authzen
    assert (dict(settings.types), dict(settings.actions)) == ({"todo": "Todo"}, {"can_read": "crm.lookup"})
    assert settings.attributes_from_request == ("Todo",)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[authzen]\nattributes_from_request = ["Customer"]', '`[resources]` with `tenant = "caller"`'),
        ('[authzen]\nattributes_from_request = ["Nothing"]', "names `Nothing`"),
        ('[authzen.types]\ntodo = "Todo"\nTODO = "Todo"', "has two names for `Todo`: `todo` and `TODO`"),
        ('[authzen.actions]\na = "x"\nb = "x"', "has two names for `x`: `a` and `b`"),
        ("[authzen]\ntype = {}", "did you mean `types`?"),
    ],
    ids=["resolved", "unknown", "type twice", "action twice", "misspelt"],
)
def test_what_would_be_believed_by_mistake_does_not_load(table: str, says: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read(table)
    assert says in str(caught.value)

"""One row of a table of attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.attacks.forger import Forger
from tests.attacks.stored import Stored


class Attack(NamedTuple):
    """What is done, by whom (`Forger`: writes the file and knows our code; `Owner`: has the key too), and what of it verification shows.

    `shown` is a part of a problem that is found with the key, `shown_without_key` of one that is found without; empty where none is.
    """

    act: Callable[[Any], None]
    by: type[Forger]
    shown: str
    shown_without_key: str

    def carry_out(self, stored: Stored) -> None:
        """It is done, and nobody has the file open."""
        with self.by(stored) as attacker:
            self.act(attacker)


def name_of(attack: object) -> str:
    """What it is called in the list of tests."""
    if isinstance(attack, set):
        return "+".join(sorted(attack)) or "nobody"  # the order of a set is another one in each process
    named = attack.act if isinstance(attack, Attack) else attack
    return str(getattr(named, "__name__", named))

from __future__ import annotations

import pytest

from licet.errors import ConfigInvalid
from tests.world import CONFIG, world


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        (
            'tool = "billing.refund"',
            'tool = "billing.refnud"',
            "meters.refunded.tool",
            "`meters.refunded.tool` cannot be summed: the catalog has no tool `billing.refnud`",
        ),
        (
            'argument = "amount_cents"',
            'argument = "amount"',
            "meters.refunded.argument",
            "`meters.refunded.argument` cannot be summed: `amount` is no whole-number argument of `billing.refund`",
        ),
        (
            'argument = "amount_cents"',
            'argument = "customer_id"',
            "meters.refunded.argument",
            "`meters.refunded.argument` cannot be summed: `customer_id` is no whole-number argument of `billing.refund`",
        ),
    ],
)
def test_a_meter_that_could_never_move_does_not_load(old: str, new: str, key: str, message: str) -> None:
    with world(CONFIG.replace(old, new)) as w, w.alice(), pytest.raises(ConfigInvalid) as caught:
        w.gate.call("billing.refund", {"customer_id": "C-1", "amount_cents": 1})
    assert caught.value.key == key
    assert str(caught.value) == message
    assert w.ran == []

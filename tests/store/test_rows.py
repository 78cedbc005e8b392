from __future__ import annotations

import pytest

from licet.errors import IntegrityBroken
from licet.store.sqlite_rows import request_of, vote_of


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\xff", b"[1]", None, 5])
def test_a_damaged_row_is_broken_integrity_and_nothing_else(body: bytes) -> None:
    with pytest.raises(IntegrityBroken, match="a stored request cannot be read"):
        request_of("open", body)
    with pytest.raises(IntegrityBroken, match="a stored vote cannot be read"):
        vote_of(body)

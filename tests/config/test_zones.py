"""The time zone of licet.toml: by its name in the tz database, or an error that says what to write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from licet.config import loads
from licet.config import zones as zones_module
from licet.config.zones import find_zone, zone_problem
from licet.errors import ConfigInvalid

FILE = Path("/srv/licet.toml")


def timezone_of(text: str) -> str:
    return loads(f'environment = "test"\n{text}', file=FILE).timezone


def test_it_is_utc_unless_it_is_named() -> None:
    assert timezone_of("") == "UTC"
    assert timezone_of('timezone = "Europe/Berlin"') == "Europe/Berlin"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Europe/Berln", "is `Europe/Berln`, which is no time zone; did you mean `Europe/Berlin`?"),
        ("europe/berlin", "is `europe/berlin`, which is no time zone; did you mean `Europe/Berlin`?"),
        ("Berlin", "is `Berlin`, which is no time zone; did you mean `Europe/Berlin`?"),
        ("America/New York", "is `America/New York`, which is no time zone; did you mean `America/New_York`?"),
        ("utc", "is `utc`, which is no time zone; did you mean `UTC`?"),
        ("+01:00", "is `+01:00`, which is no time zone; expected a name such as `Europe/Berlin`"),
        ("", "is ``, which is no time zone; expected a name such as `Europe/Berlin`"),
        ("Europe", "is `Europe`, which is no time zone"),
        ("../../../etc/localtime", "which is no time zone; expected a name such as `Europe/Berlin`"),
        ("/etc/localtime", "which is no time zone; expected a name such as `Europe/Berlin`"),
        ("localtime", "which is no time zone"),
        ("right/Europe/Berlin", "which is no time zone"),
        ("posix/Europe/Berlin", "which is no time zone"),
        ("Factory", "which is no time zone"),
        ("Europe/Berlin\\u0000", "which is no time zone"),
        ("tzdata.zi", "which is no time zone"),
    ],
)
def test_a_name_that_is_no_zone_is_an_error_that_says_so(name: str, problem: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        timezone_of(f'timezone = "{name}"')
    assert str(caught.value).startswith("`timezone` in `/srv/licet.toml` ")
    assert problem in str(caught.value)
    assert (caught.value.file, caught.value.key) == (str(FILE), "timezone")


def test_anything_but_text_is_an_error() -> None:
    with pytest.raises(ConfigInvalid, match=r"`timezone` in `/srv/licet.toml` does not fit: expected text, got a whole number"):
        timezone_of("timezone = 1")


def test_the_environment_cannot_move_the_clocks() -> None:
    with pytest.raises(ConfigInvalid, match="cannot be set by the environment variable `LICET_TIMEZONE`"):
        loads('environment = "test"', file=FILE, environ={"LICET_TIMEZONE": "Asia/Tokyo"})


def test_a_machine_without_a_database_has_utc_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones_module, "available_timezones", set[str])
    assert zone_problem("UTC") is None
    problem = zone_problem("Nowhere/Atlantis")
    assert problem == (
        "is `Nowhere/Atlantis`, and this machine has no time zones: install `tzdata`, the package of your system or of Python"
    )


def test_a_zone_that_is_found_is_the_database_s() -> None:
    assert find_zone("UTC") is UTC
    assert find_zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert datetime(2026, 7, 1, tzinfo=find_zone("Europe/Berlin")).utcoffset() == timedelta(hours=2)
    assert find_zone("Nowhere/Atlantis") is None

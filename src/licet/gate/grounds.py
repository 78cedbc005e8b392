"""What one examination of a call rests on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from licet.gate.draft import Draft
from licet.gate.recorder import Recorder
from licet.gate.scene import Scene
from licet.gate.session import Sessions


class Grounds(Struct, frozen=True, kw_only=True):
    """The scene in force, the time, the sessions, and how long a request lives.

    `recorder` is None where nothing is recorded: then no preview runs either. `admit` says whether a denial is recorded by itself.
    """

    scene: Scene
    now: datetime
    sessions: Sessions
    expires_after: timedelta
    recorder: Recorder | None = None
    admit: Callable[[Draft], bool] | None = None

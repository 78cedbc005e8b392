"""What one examination of a call rests on."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from licet.gate.recorder import Recorder
from licet.gate.scene import Scene
from licet.gate.session import Sessions


class Grounds(Struct, frozen=True, kw_only=True):
    """The scene in force, the time, the sessions, and how long a request lives.

    `recorder` is None where nothing is recorded: then no preview runs either.
    """

    scene: Scene
    now: datetime
    sessions: Sessions
    expires_after: timedelta
    recorder: Recorder | None = None

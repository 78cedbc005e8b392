"""The log: one event a line, whatever is in it, and no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from licet.server.logs import MESSAGE_LIMIT, AccessLog, Format, set_up
from licet.server.observing import CREDENTIAL, REQUEST_ID, Answered


@pytest.fixture
def log() -> Iterator[Any]:
    """Sets the log up, and puts back what was there."""
    root, licet = logging.getLogger(), logging.getLogger("licet")
    before = (root.handlers[:], root.level, licet.level)

    def begin(kind: Format) -> io.StringIO:
        stream = io.StringIO()
        set_up(kind, stream=stream)
        return stream

    yield begin
    root.handlers[:], level, own = before[0], before[1], before[2]
    root.setLevel(level)
    licet.setLevel(own)


HOSTILE = 'first\nsecond\r\n{"level":"error"}\x1b[31m\u2028\ud800\x00end'


def test_json_is_one_object_a_line_whatever_is_in_it(log: Any) -> None:
    stream = log("json")
    logging.getLogger("licet.server").info("told: %s", HOSTILE)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert {name: event[name] for name in ("level", "logger")} == {"level": "info", "logger": "licet.server"}
    assert event["message"].startswith("told: first\nsecond")
    assert "\\ud800" in event["message"]
    assert event["time"].endswith("Z")


def test_text_is_one_line_whatever_is_in_it(log: Any) -> None:
    stream = log("text")
    token = REQUEST_ID.set("r-1\nforged")
    try:
        logging.getLogger("licet.server").warning("told: %s", HOSTILE)
    finally:
        REQUEST_ID.reset(token)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "\x1b" not in text
    assert "first\\nsecond\\r\\n" in text
    assert "request_id=r-1\\nforged" in text


def test_what_is_being_answered_stands_beside_each_message(log: Any) -> None:
    stream = log("json")
    tokens = (REQUEST_ID.set("r-1"), CREDENTIAL.set("key-1"))
    logging.getLogger("licet.gate").error("gone")
    REQUEST_ID.reset(tokens[0])
    CREDENTIAL.reset(tokens[1])
    logging.getLogger("licet.gate").error("gone again")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["request_id"], first["credential"]) == ("r-1", "key-1")
    assert {"request_id", "credential", "trace_id"}.isdisjoint(second)


def test_an_error_is_told_by_its_kind_and_place_and_not_by_what_it_says(log: Any) -> None:
    stream = log("json")
    try:
        int("the token was eyJhbGciOi.secret")
    except ValueError:
        logging.getLogger("licet.server").exception("failed")
    event = json.loads(stream.getvalue())
    assert (event["message"], event["error"]) == ("failed", "ValueError")
    assert "test_logs.py" in event["traceback"]
    assert "secret" not in stream.getvalue()


def test_a_message_has_an_end(log: Any) -> None:
    stream = log("json")
    logging.getLogger("licet.server").error("x" * 1_000_000)
    assert len(json.loads(stream.getvalue())["message"]) == MESSAGE_LIMIT


def test_a_message_that_does_not_fit_its_arguments_stops_nobody(log: Any) -> None:
    stream = log("json")
    logging.getLogger("licet.server").error("%d of %d", "one")  # noqa: PLE1206  the mistake itself
    assert json.loads(stream.getvalue())["message"] == "%d of %d"


def test_the_access_log_names_the_template_and_never_the_path(log: Any) -> None:
    stream = log("json")
    access = AccessLog()
    access.began()
    access.answered(
        Answered(
            request_id="r-1",
            method="GET",
            route="/api/v1/requests/{id}",
            status=404,
            duration_s=0.01234,
            code="not_found",
            client="192.0.2.1",
        )
    )
    access.not_authenticated("expired")
    answered, refused = map(json.loads, stream.getvalue().splitlines())
    answered.pop("time")
    assert answered == {
        "level": "info",
        "logger": "licet.access",
        "message": "GET /api/v1/requests/{id} 404",
        "request_id": "r-1",
        "method": "GET",
        "route": "/api/v1/requests/{id}",
        "status": 404,
        "duration_ms": 12.34,
        "client": "192.0.2.1",
        "code": "not_found",
    }
    assert (refused["level"], refused["message"]) == ("warning", "a credential was refused: expired")


def test_other_libraries_say_their_warnings_here_and_nothing_less(log: Any) -> None:
    stream = log("text")
    logging.getLogger("uvicorn.error").info("chatter")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("licet.server").info("serving")
    assert [line.split(": ")[1].strip() for line in stream.getvalue().splitlines()] == ["Invalid HTTP request received.", "serving"]

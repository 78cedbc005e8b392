"""Any request at all, made from the OpenAPI document and from what it forbids: no answer is a 5xx, and none that the document does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from licet.config.server import ServerSettings
from licet.gate.results import Held
from licet.server.api import endpoints
from licet.server.endpoint import Endpoint
from licet.server.shapes_approvals import OneWait
from tests.server.world import ServerWorld, server_world

pytestmark = pytest.mark.heavy

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
WHO = ["agent", "free", "auditor", "admin", "lena", "nobody", "stranger"]
MOMENT_S = 0.05
SETTINGS = ServerSettings(requests_per_minute=1_000_000, refusals_per_minute=1_000_000)


class Hostile:
    """A world in which something has happened, and ids by which it can be asked for."""

    def __init__(self, served: ServerWorld) -> None:
        self.served = served
        served.world.adjust(2_500)
        held = served.world.held()
        assert isinstance(held, Held)
        self.schema = schemathesis.openapi.from_asgi("/openapi.json", served.app)
        self.ids = [
            str(held.request),
            held.call,
            "acme",
            "globex",
            "operator",
            "0",
            "1",
            "C-1",
            "support-bot",
            "billing.adjust",
            "key-agent",
        ]

    def operation(self, endpoint: Endpoint) -> Any:
        """The operation of an endpoint, as the document has it."""
        return self.schema.find_operation_by_id(endpoint.operation)


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    with server_world(settings=SETTINGS) as served:
        yield Hostile(served)
        assert served.gate.verify().ok  # whatever was sent, the log bears it


def _send(hostile: Hostile, endpoint: Endpoint, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case = data.draw(hostile.operation(endpoint).as_strategy(generation_mode=mode))
    for name in endpoint.path_names:
        if case.path_parameters and data.draw(st.booleans()):
            case.path_parameters[name] = data.draw(st.sampled_from(hostile.ids))
    if endpoint.waits:
        _be_impatient(case, endpoint)
    who = data.draw(st.sampled_from(WHO))
    response = case.call(headers={"Authorization": f"Bearer {who}"})
    case.validate_response(response, checks=CHECKS)


def _be_impatient(case: Any, endpoint: Endpoint) -> None:
    """Whoever asks to wait for people waits for a moment: nobody decides here. What is no number of seconds stays as it is."""
    if endpoint.params is OneWait:
        case.query = {"timeout_s": MOMENT_S, **(case.query or {})}
        case.query["timeout_s"] = _moment(case.query["timeout_s"])
    if isinstance(case.body, dict) and "wait_s" in case.body:
        case.body["wait_s"] = _moment(case.body["wait_s"])


def _moment(given: Any) -> Any:
    return min(given, MOMENT_S) if isinstance(given, int | float) and not isinstance(given, bool) else given


@pytest.mark.parametrize("endpoint", endpoints(), ids=[endpoint.operation for endpoint in endpoints()])
@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_gets_an_answer_that_is_not_in_the_document(hostile: Hostile, endpoint: Endpoint, data: st.DataObject) -> None:
    _send(hostile, endpoint, data)

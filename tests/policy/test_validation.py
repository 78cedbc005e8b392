"""Validating policies under the schema of the tools they can be about finds what validating them under the whole schema finds."""

from __future__ import annotations

import cedarpy
import msgspec
from hypothesis import HealthCheck, event, given, settings

from licet.policy.bundle import Bundle
from licet.policy.lint import _Admitted, _validate
from licet.policy.schema import cedar_schema
from tests.policy.worlds import VOCABULARY, bundles

WHOLE = cedarpy.Schema.from_json_str(msgspec.json.encode(cedar_schema(VOCABULARY.tools.values(), VOCABULARY.types)).decode())
PROBE = 'when { context["a field that no context has"] }'


def complaints(text: str) -> set[str]:
    return {error.error.removeprefix("for policy `policy0`, ") for error in cedarpy.validate_policies(text, WHOLE).errors}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bundles())
def test_the_tools_that_a_scope_excludes_add_no_complaint_and_no_match(bundle: Bundle) -> None:
    found, endless = _validate(bundle.policies, VOCABULARY, _Admitted(VOCABULARY))
    for policy in bundle.policies:
        whole = complaints(policy.text)
        event("invalid" if whole else "never matches" if policy.id in endless else "valid")
        scopeless = "its scope admits no call: no tool has such an action, principal and target together"
        told = {scopeless if one.startswith("unable to find an applicable action") else one for one in whole}
        assert set(found.get(policy.id, ())) == told
        assert (policy.id in endless) == (not whole and not complaints(f"{policy.text[:-1]} {PROBE};"))

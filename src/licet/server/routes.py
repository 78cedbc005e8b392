"""The endpoints for people and their tools: what waits for approval, the log, and operating."""

from __future__ import annotations

from licet.server.approvals import ENDPOINTS as APPROVALS
from licet.server.credentials import ENDPOINTS as CREDENTIALS
from licet.server.directory import ENDPOINTS as DIRECTORY
from licet.server.endpoint import Endpoint
from licet.server.erasures import ENDPOINTS as ERASURES
from licet.server.exporting import ENDPOINTS as EXPORTING
from licet.server.freezes import ENDPOINTS as FREEZES
from licet.server.gateway_tools import ENDPOINTS as GATEWAY_TOOLS
from licet.server.policies import ENDPOINTS as POLICIES
from licet.server.proofs import ENDPOINTS as PROOFS
from licet.server.records import ENDPOINTS as RECORDS
from licet.server.tiles import ENDPOINTS as TILES
from licet.server.unknown import ENDPOINTS as UNKNOWN

ENDPOINTS: tuple[Endpoint, ...] = (
    *APPROVALS,
    *CREDENTIALS,
    *DIRECTORY,
    *ERASURES,
    *EXPORTING,
    *FREEZES,
    *GATEWAY_TOOLS,
    *POLICIES,
    *PROOFS,
    *RECORDS,
    *TILES,
    *UNKNOWN,
)

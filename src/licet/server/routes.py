"""The endpoints for people and their tools: what waits for approval, the log, and operating."""

from __future__ import annotations

from licet.server.approvals import ENDPOINTS as APPROVALS
from licet.server.endpoint import Endpoint
from licet.server.exporting import ENDPOINTS as EXPORTING
from licet.server.records import ENDPOINTS as RECORDS

ENDPOINTS: tuple[Endpoint, ...] = (*APPROVALS, *RECORDS, *EXPORTING)

"""Every page of the console, one table as for the API (server/routes.py)."""

from __future__ import annotations

from licet.console.audit import PAGES as AUDIT
from licet.console.files import PAGES as FILES
from licet.console.freezes import PAGES as FREEZES
from licet.console.inbox import PAGES as INBOX
from licet.console.inbox_plan import PAGES as INBOX_PLAN
from licet.console.inventory import PAGES as INVENTORY
from licet.console.live import PAGES as LIVE
from licet.console.matrix import PAGES as MATRIX
from licet.console.oidc import PAGES as OIDC
from licet.console.overview import PAGES as OVERVIEW
from licet.console.passkeys import PAGES as PASSKEYS
from licet.console.policies import PAGES as POLICIES
from licet.console.preferences import PAGES as PREFERENCES
from licet.console.record import PAGES as RECORD
from licet.console.sign_in import PAGES as SIGN_IN
from licet.console.subject import PAGES as SUBJECT
from licet.console.subject_erase import PAGES as SUBJECT_ERASE
from licet.console.subject_export import PAGES as SUBJECT_EXPORT
from licet.console.subject_undo import PAGES as SUBJECT_UNDO
from licet.console.trace import PAGES as TRACE
from licet.console.why import PAGES as WHY
from licet.console.why_ask import PAGES as WHY_ASK
from licet.console.you import PAGES as YOU
from licet.server.endpoint import Endpoint

PAGES: tuple[Endpoint, ...] = (
    *AUDIT,
    *FILES,
    *INBOX,
    *INBOX_PLAN,
    *LIVE,
    *OIDC,
    *OVERVIEW,
    *PASSKEYS,
    *FREEZES,
    *INVENTORY,
    *MATRIX,
    *POLICIES,
    *PREFERENCES,
    *RECORD,
    *SIGN_IN,
    *SUBJECT,
    *SUBJECT_ERASE,
    *SUBJECT_EXPORT,
    *SUBJECT_UNDO,
    *TRACE,
    *YOU,
    *WHY,
    *WHY_ASK,
)

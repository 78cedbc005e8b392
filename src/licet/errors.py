"""The whole error tree, split by who must act.

    LicetError
    ├── CallError                the program or agent that called must act
    │   ├── CallDenied           policy or rules said no; retrying the same call will not help
    │   ├── CallHeld             people must decide first; the same call, made again later, resumes
    │   ├── CallFailed           it was allowed and did not end well
    │   ├── ArgumentsRefused     the arguments are not what the tool's schema asks for (ends in a recorded denial)
    │   ├── CallerRefused        the directory does not know the caller, or not so (ends in a recorded denial)
    │   ├── SearchRefused        a search looks through what nobody lists
    │   └── NotAuthenticated     no credential, or one that does not hold
    ├── OperatorError            whoever runs Licet must act
    │   ├── ConfigInvalid        licet.toml
    │   ├── CatalogInvalid       a tool, target template or resource definition
    │   │   └── ResolverRefused  a resolver returned something else than it declares (ends in a recorded denial)
    │   ├── DirectoryInvalid     tenants, agents, users, roles, groups
    │   ├── PolicyInvalid        the policy bundle; it does not load and the old one stays
    │   ├── UngovernedTools      an agent has tools that the gate cannot see
    │   ├── GateClosed           the gate was closed, forked or has lost its lease
    │   ├── AnchorUnusable       the anchor file cannot be read, written or locked
    │   ├── DeliveryFailed       a notification did not get to its channel
    │   │   └── NobodyToTell     this channel has nobody to tell of it
    │   └── StoreError           the ledger's database
    │       ├── StoreUnavailable locked, full, read-only, unreachable: may pass by itself
    │       ├── StorePoisoned    an I/O error whose extent is unknown: restart and verify
    │       ├── KeyUnavailable   the key that payloads are encrypted under is missing, wrong or open to others
    │       │   └── SecretBroken a stored secret is not what was written: an attacker, or a broken disk
    │       ├── LeaseLost        another process has declared this one dead
    │       ├── StoreOutdated    the ledger is of an earlier version: upgrade it
    │       └── NotAStore        the file is something else
    ├── ServerError              a Licet server that was asked over HTTP did not do it
    │   ├── ServerProblem        it says why: a code, a sentence, the id of the request
    │   └── ServerUnreachable    no answer came, or none that can be read
    ├── ConditionLost            somebody else was first: approval used, key taken, request moved on
    ├── TransitionRefused        a move that the table of approvals does not have
    ├── VoteRefused              this person may not vote on this request, or not any more
    ├── SettlementRefused        the end of this call is known, or was settled by somebody else, or this person may not settle it
    ├── ReportRefused            the end of this call cannot be reported, not by this caller, or was before
    ├── FreezeRefused        what was to be frozen is not known, or this person may not lift the freeze, or not alone
    ├── CredentialRefused    a credential is not for what the directory knows, or has ended already
    ├── ErasureRefused           a legal hold stands, or there is nothing to erase, hold or release
    └── IntegrityBroken          stored bytes are not what was written: nobody but an attacker or a broken disk
        └── NoteInvalid          a signed note, checkpoint or key is malformed, or not signed as it must be

Messages start in lower case, take no final period, put input in backticks and never contain secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from licet.model import CallId, Decision, Receipt, RequestId


class LicetError(Exception):
    """The root of every error that Licet raises on purpose."""


class CallError(LicetError):
    """A call that did not give its result; the program that called must act."""


class CallDenied(CallError):
    """The call was denied. Calling again with the same arguments will be denied again."""

    def __init__(self, decision: Decision, call: CallId, receipt: Receipt | None) -> None:
        super().__init__(decision.message)
        self.decision = decision
        self.call = call
        self.receipt = receipt


class CallHeld(CallError):
    """The call waits for people. The same call, made again once they have decided, resumes."""

    def __init__(self, decision: Decision, call: CallId, request: RequestId | None, receipt: Receipt | None) -> None:
        super().__init__(decision.message)
        self.decision = decision
        self.call = call
        self.request = request
        self.receipt = receipt


class CallFailed(CallError):
    """The call was allowed and did not end well. `executed` says whether the tool was started; `retry` whether calling again is safe."""

    def __init__(self, message: str, call: CallId, *, executed: bool, retry: bool) -> None:
        super().__init__(message)
        self.call = call
        self.executed = executed
        self.retry = retry


class ArgumentsRefused(CallError):
    """The arguments are not what the tool's schema asks for. `path` is a JSON Pointer to the culprit, `code` is for programs."""

    def __init__(self, code: str, message: str, path: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.path = path


class CallerRefused(CallError):
    """The directory does not know the caller, or does not let it call so. `code` is for programs (`unknown_user`, `not_in_tenant` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SearchRefused(CallError):
    """A search would have to look through resources that nobody lists, or that are too many."""


class NotAuthenticated(CallError):
    """No credential was shown, or one that does not hold. The message tells a stranger nothing.

    `code` is for programs: `no_credential`, `invalid_credential`, `unknown_login` (the token holds, but licet.toml maps its login to
    nobody) or `unavailable` (it cannot be checked now). `reason` (`expired`, `wrong_audience` ...) and `detail` are for the log only.
    """

    def __init__(self, code: str, reason: str, detail: str = "") -> None:
        super().__init__(_UNPROVED.get(code, _UNPROVED["invalid_credential"]))
        self.code = code
        self.reason = reason
        self.detail = detail


_UNPROVED = {
    "no_credential": "no credential was shown; send `Authorization: Bearer ...`",
    "invalid_credential": "the credential is not accepted",
    "unknown_login": "the login is not known here; ask whoever runs Licet to map it",
    "unavailable": "the credential cannot be checked at the moment; try again later",
}


class OperatorError(LicetError):
    """Whoever runs Licet must act; the message says what to change."""


class ConfigInvalid(OperatorError):
    """licet.toml cannot be used. `file` and `key` say where, as far as known."""

    def __init__(self, message: str, *, file: str | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.file = file
        self.key = key


class CatalogInvalid(OperatorError):
    """A tool, a target template or a resource is defined in a way that cannot be governed."""


class ResolverRefused(CatalogInvalid):
    """A resolver returned something else than it declares, so nobody knows what the target is. The call is denied."""


class DirectoryInvalid(OperatorError):
    """The directory of tenants, agents, services, users, roles and groups contradicts itself."""


class PolicyInvalid(OperatorError):
    """The policy bundle does not load. `problems` holds one readable line each, with file and line where known."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)  # what pickling hands to the constructor again
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(self.problems)


class UngovernedTools(OperatorError):
    """An agent has tools that do not pass through the gate. `tools` are their names."""

    def __init__(self, message: str, tools: tuple[str, ...]) -> None:
        super().__init__(message)
        self.tools = tools


class GateClosed(OperatorError):
    """The gate takes no more calls: it was closed, its process was forked, or its lease is gone."""


class AnchorUnusable(OperatorError):
    """The anchor file cannot be read, written or locked. What it held before is still there."""


class DeliveryFailed(OperatorError):
    """A notification did not get to its channel. `retry` says whether trying again may help. The message is kept: no secrets in it.

    `retry_after_s` is how long the peer asks to be left alone, if it said so.
    """

    def __init__(self, message: str, retry: bool, *, retry_after_s: float | None = None) -> None:  # noqa: FBT001  raised as `DeliveryFailed(message, retry=True)`
        super().__init__(message)
        self.retry = retry
        self.retry_after_s = retry_after_s


class NobodyToTell(DeliveryFailed):
    """The channel has nobody to tell of this notification, and so has sent nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=False)


class StoreError(OperatorError):
    """The ledger's database did not do what was asked. `ambiguous`: it may have been done all the same; reconcile by call id."""

    def __init__(self, message: str, *, ambiguous: bool = False) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


class StoreUnavailable(StoreError):
    """Locked, full, read-only or unreachable. Nothing was written unless `ambiguous`; it may pass by itself."""


class StorePoisoned(StoreError):
    """An I/O error whose extent is unknown. The writer refuses everything until it has been restarted and verified."""


class KeyUnavailable(StoreError):
    """The key-encryption key is missing, wrong, unreadable, or can be read by others; without it no payload is read or written."""


class SecretBroken(KeyUnavailable):
    """A stored secret does not unwrap, or belongs to another subject than it stands for: it was edited, moved or damaged."""


class LeaseLost(StoreError):
    """Another process has declared this one dead and recovered its open calls."""


class StoreOutdated(StoreError):
    """The ledger is of an earlier version than this program writes. Nothing was changed; `licet db upgrade` brings it up."""


class NotAStore(StoreError):
    """The file is not a ledger of Licet, or one of a later version that this program cannot use."""


class ServerError(LicetError):
    """A Licet server that was asked over HTTP did not do it, as far as can be told."""


class ServerProblem(ServerError):
    """What a server says is wrong (RFC 9457). `status` is that of HTTP, `code` is for programs; `errors` name places in what was sent.

    `request_id` finds the request in the server's log; `retry_after_s` is how long the server asks to wait. An answer that no Licet
    server gives (of a proxy, say) is the code `bad_answer`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        request_id: str = "",
        errors: tuple[str, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.errors = errors
        self.retry_after_s = retry_after_s


class ServerUnreachable(ServerError):
    """No answer came from a server. `sent`: the request may have arrived and been carried out all the same; nobody knows."""

    def __init__(self, server: str, message: str, *, sent: bool) -> None:
        super().__init__(f"the server `{server}` does not answer: {message}")
        self.sent = sent


class ConditionLost(LicetError):
    """Somebody else was first. `condition` names what was lost (`approval_consumed`, `key_taken`, `request_exists` ...)."""

    def __init__(self, condition: str, message: str) -> None:
        super().__init__(message)
        self.condition = condition


class TransitionRefused(LicetError):
    """The table of approvals has no such move; nothing was changed."""


class VoteRefused(LicetError):
    """This person may not vote on this request. `code` is for programs (`requester`, `not_in_group`, `not_open` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SettlementRefused(LicetError):
    """The call is not settled by this. `code` is for programs (`not_unknown`, `already_settled`, `no_reason` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EffectRefused(LicetError):
    """This change is not reported. `code` is for programs (`no_call`, `call_ended`, `not_json` ...); the tool may go on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class UndoRefused(LicetError):
    """The reverse of this call cannot be proposed. `code` is for programs (`no_such_call`, `no_effects`, `already_undone` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ReportRefused(LicetError):
    """The end of this call is not recorded by this. `code` is for programs (`no_such_call`, `already_reported`, `bad_report` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FreezeRefused(LicetError):
    """Nothing was frozen, or lifted. `code` is for programs (`unknown_name`, `same_person`, `no_such_freeze` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class CredentialRefused(LicetError):
    """No credential was issued, replaced or revoked. `code` is for programs (`unknown_agent`, `no_such_credential` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ErasureRefused(LicetError):
    """Nothing was erased, dropped, held or released. `code` is for programs (`held`, `nothing_recorded`, `no_such_hold` ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class IntegrityBroken(LicetError):
    """Stored bytes are not what was written."""


class NoteInvalid(IntegrityBroken):
    """A signed note, checkpoint, endorsement or verifier key is malformed, or is not signed by whom it must be."""

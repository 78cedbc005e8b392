"""What went wrong, for people and for programs: an exit code, a stable code, a sentence, and the next step.

An error that is expected never shows a traceback. One that is not says so, and how to see it.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from licet.cli.exits import Exit
from licet.cli.wording import counted
from licet.model import JsonObject

if TYPE_CHECKING:
    from licet.errors import OperatorError, ServerError


class Fault(Struct, frozen=True, kw_only=True):
    """An error as it is shown. `lines` are problems of one line each, shown below the sentence; `details` are for programs only."""

    exit: Exit
    code: str
    message: str
    next: str | None = None
    lines: tuple[str, ...] = ()
    details: JsonObject = {}
    unexpected: bool = False

    def as_json(self) -> JsonObject:
        """The `error` of an envelope."""
        found: JsonObject = {"code": self.code, "message": self.message, "exit": int(self.exit)}
        if self.lines:
            found["problems"] = self.lines
        if self.next is not None:
            found["next"] = self.next
        return {**found, **self.details}


class Refusal(Exception):
    """A verb cannot go on, and knows what to do about it."""

    def __init__(
        self, exit_code: Exit, code: str, message: str, *, next_step: str | None = None, lines: tuple[str, ...] = (), **details: Any
    ) -> None:
        super().__init__(message)
        self.fault = Fault(exit=exit_code, code=code, message=message, next=next_step, lines=lines, details=details)


def fault_of(error: BaseException) -> Fault:
    """The fault that an exception is shown as."""
    if isinstance(error, Refusal):
        return error.fault
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Fault(exit=Exit.INTERRUPTED, code="interrupted", message="interrupted; nothing more was done")
    found = _known(error)
    if found is not None:
        return found
    if isinstance(error, OSError) and error.filename is not None:
        message = f"`{error.filename}`: {(error.strerror or type(error).__name__).lower()}"
        return Fault(exit=Exit.ERROR, code="file_error", message=message, next="check that the file is there and that you may use it")
    return Fault(
        exit=Exit.ERROR,
        code="unexpected",
        message=f"an error that nobody expected ({type(error).__name__}): {error}",
        next="the same command with `--debug` shows where; please report it",
        unexpected=True,
    )


def _usage(error: click.ClickException) -> Fault:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "licet"
    text = re.sub(r"(?<![\w'])'([^']*)'", r"`\1`", error.format_message().rstrip("."))
    is_usage = isinstance(error, click.UsageError)
    return Fault(
        exit=Exit.USAGE if is_usage else Exit.ERROR,
        code="usage" if is_usage else "file_error",
        message=text[:1].lower() + text[1:],
        next=f"`{command} --help` shows what it takes" if is_usage else None,
    )


def _known(error: BaseException) -> Fault | None:
    """What the tree of errors says. Imported here: a command line that is wrong in itself loads no room."""
    from licet import errors  # noqa: PLC0415

    match error:
        case errors.OperatorError() | errors.ServerError():
            fault = _operator(error) if isinstance(error, errors.OperatorError) else _server(error)
        case errors.IntegrityBroken():
            step = "keep the file as it is, and run `licet audit verify`"
            fault = Fault(exit=Exit.INTEGRITY_BROKEN, code="integrity_broken", message=str(error), next=step)
        case errors.VoteRefused():
            exit_code = Exit.NOT_AUTHENTICATED if error.code == "unknown_user" else Exit.DENIED
            ends = _VOTING.get(error.code, "`licet approvals show ID` says who may vote")
            fault = Fault(exit=exit_code, code=error.code, message=str(error), next=ends)
        case errors.SettlementRefused():
            exit_code = _SETTLING.get(error.code, Exit.ERROR)
            fault = Fault(
                exit=exit_code, code=error.code, message=str(error), next="`licet audit unknown` lists the calls that can be settled"
            )
        case errors.FreezeRefused():
            exit_code, helps = _FREEZING.get(error.code, (Exit.USAGE, None))
            fault = Fault(exit=exit_code, code=error.code, message=str(error), next=helps)
        case errors.UndoRefused():
            exit_code = Exit.INTEGRITY_BROKEN if error.code in {"not_in_log", "damaged"} else Exit.ERROR
            step = _UNDOING.get(error.code, "`licet audit show CALL` says what is known of it")
            step = _WHO if isinstance(error.__cause__, errors.CallerRefused) else step
            fault = Fault(exit=exit_code, code=error.code, message=str(error), next=step)
        case errors.ErasureRefused():
            held = error.code == "held"
            ends = "`licet audit holds` lists every hold; `licet audit release ID` ends one" if held else None
            fault = Fault(exit=Exit.DENIED if held else Exit.ERROR, code=error.code, message=str(error), next=ends)
        case errors.CredentialRefused():
            exit_code, helps = _ISSUING.get(error.code, (Exit.USAGE, None))
            fault = Fault(exit=exit_code, code=error.code, message=str(error), next=helps)
        case errors.LicetError():
            fault = Fault(exit=Exit.ERROR, code=_snake(error), message=str(error))
        case _:
            return None
    return fault


def _server(error: ServerError) -> Fault:
    """What a server does not do."""
    from licet import errors  # noqa: PLC0415 - as above

    if not isinstance(error, errors.ServerProblem):
        step: str | None = "see whether it runs there and `--server` or `LICET_SERVER` is its address"
        if isinstance(error, errors.ServerUnreachable) and error.sent:
            step = "whether it was done is not known: look before you do it again"
        return Fault(exit=Exit.ERROR, code="server_unreachable", message=str(error), next=step)
    exit_code, step = _ANSWERS.get(error.status, (Exit.ERROR, None))
    if error.code == "integrity_broken":
        exit_code, step = Exit.INTEGRITY_BROKEN, "keep the ledger as it is, and run `licet audit verify` where it is"
    request = f" (request {error.request_id})" if error.request_id and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
    details = {"status": error.status, "request_id": error.request_id}
    return Fault(exit=exit_code, code=error.code, message=f"{error}{request}", next=step, lines=error.errors, details=details)


_ANSWERS: dict[int, tuple[Exit, str | None]] = {
    400: (Exit.USAGE, None),
    401: (
        Exit.NOT_AUTHENTICATED,
        "`LICET_API_KEY`, `LICET_API_KEY_FILE` or `--api-key-file` holds the key; `licet credentials issue` makes one",
    ),
    403: (Exit.DENIED, "`licet doctor --server URL` says what this credential may do"),
    422: (Exit.DENIED, None),
}
"""What a program ends with for a status, and the next step."""


def _operator(error: OperatorError) -> Fault:
    """What whoever runs Licet must mend."""
    from licet import errors  # noqa: PLC0415 - as above

    match error:
        case errors.PolicyInvalid():
            message = f"the policies do not load: {counted(len(error.problems), 'problem')}"
            step = "mend them, then `licet check`; a tool of a Python application is known with `--app MODULE:GATE`"
            return Fault(exit=Exit.POLICY_INVALID, code="policy_invalid", message=message, next=step, lines=error.problems)
        case errors.ConfigInvalid():
            missing = error.file is not None and not Path(error.file).exists()
            step = "`cd` to where it is, or name it with `--config PATH`" if missing else "mend it, then `licet check`"
            details = {"file": error.file, "key": error.key}
            return Fault(exit=Exit.USAGE, code="config_invalid", message=str(error), next=step, details=details)
        case errors.CatalogInvalid() | errors.DirectoryInvalid():
            return Fault(exit=Exit.USAGE, code=_snake(error), message=str(error), next="mend it; `licet check` shows every problem")
        case _:
            return Fault(exit=Exit.ERROR, code=_snake(error), message=str(error), next=_STORE_STEPS.get(type(error).__name__))


_SETTLING = {
    "unknown_user": Exit.NOT_AUTHENTICATED,
    "user_disabled": Exit.DENIED,
    "not_in_tenant": Exit.DENIED,
    "bad_status": Exit.USAGE,
    "no_reason": Exit.USAGE,
}

_LIFTERS = "`[freeze]` in licet.toml says who may lift"
_ENDED = "`licet approvals show ID` says how it ended"
_VOTING: dict[str, str | None] = {
    "unknown_user": "`[users]` in licet.toml names them",
    "not_open": _ENDED,
    "expired": _ENDED,
    "request_moved": _ENDED,
    "no_vote": "`licet approvals show ID` shows whose votes stand",
    "already_voted": "`licet approvals take-back ID` takes a vote back",
    "not_the_requester": "`licet approvals deny ID` ends it, for who may vote on it",
    "no_such_step": "`licet approvals show PLAN` shows its steps",
    "comment_too_long": None,
}
"""Next steps, where it is not to see who may vote."""

_WHO = "`[agents]`, `[services]` and `[users]` in licet.toml say who there is"
_UNDOING = {
    "no_such_call": "`licet audit search --verdict allow` finds calls",
    "no_undo": "`@tool.undo` gives the tool one, in the application that `--app` names",
}
"""Next steps, where it is not to look at the call."""

_FREEZING: dict[str, tuple[Exit, str | None]] = {
    "unknown_name": (Exit.USAGE, "`--anyway` freezes it as it is written"),
    "unknown_user": (Exit.NOT_AUTHENTICATED, "`[users]` in licet.toml names them"),
    "unknown_tenant": (Exit.USAGE, "`[tenants]` in licet.toml names them"),
    "user_disabled": (Exit.DENIED, None),
    "no_user": (Exit.USAGE, "`--as USER` names who"),
    "not_a_lifter": (Exit.DENIED, _LIFTERS),
    "same_person": (Exit.DENIED, "`--as USER` names another person"),
    "second_person_needed": (Exit.DENIED, "`--and USER` names the other one"),
    "no_such_freeze": (Exit.ERROR, "`licet freeze list` lists what stands"),
    "already_lifted": (Exit.ERROR, None),
}

_LISTED = "`licet credentials list --all` lists them"
_ISSUING: dict[str, tuple[Exit, str | None]] = {
    "unknown_user": (Exit.USAGE, "`[users]` in licet.toml names them"),
    "unknown_tenant": (Exit.USAGE, "`[tenants]` in licet.toml names them"),
    "unknown_agent": (Exit.USAGE, "`[agents]` in licet.toml names them"),
    "unknown_service": (Exit.USAGE, "`[services]` in licet.toml names them"),
    "no_such_credential": (Exit.ERROR, _LISTED),
    "already_ended": (Exit.ERROR, _LISTED),
}

_STORE_STEPS = {
    "NotAStore": "an application makes the ledger at its first call; `store` in licet.toml says where, `--config` which licet.toml",
    "KeyUnavailable": "`keys` in licet.toml says where the key comes from; `licet doctor` looks at it",
    "SecretBroken": "keep the file as it is, and run `licet audit verify`",
    "StoreUnavailable": "see whether the file, or the database, can be reached, read and written; `licet doctor` looks",
    "StoreOutdated": "stop what writes to it, then `licet db upgrade`; `licet db upgrade --check` says what it would do",
    "StorePoisoned": "stop what writes to it, then run `licet audit verify`",
}


def _snake(error: BaseException) -> str:
    """`NotAStore` as `not_a_store`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()

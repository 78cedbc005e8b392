"""What was done to the ledger itself, in one sentence each: who read it, who was forgotten, what must stay, which keys, which copies.

A record whose payload cannot be opened is told by its envelope alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from licet.ledger.record import Envelope
from licet.ledger.wording import counted, listed, moment, size
from licet.model import OPERATOR_LOG, JsonObject

SHORT = 12
"""Characters of a digest or a pseudonym that tell it from others in one ledger."""


class Told(Struct, frozen=True):
    """A record in one sentence, behind a mark (`cli/output.py`) and a word: what happened, and why, as far as that is said."""

    mark: str
    word: str
    act: str
    because: str = ""

    @property
    def sentence(self) -> str:
        """The whole sentence."""
        return f"{self.act}: {self.because}" if self.because else self.act


Teller: TypeAlias = Callable[[Envelope, JsonObject], Told]


def tell_access(_envelope: Envelope, detail: JsonObject) -> Told:
    """Who read or exported how much of the log, by what."""
    if not detail:
        return Told("note", "read", "somebody read the log")
    verb = _verb(detail.get("verb"))
    count = detail.get("records")
    much = counted(count, "record") if isinstance(count, int) else "records"
    without = "" if detail.get("payloads") else ", without payloads"
    who = _text(detail.get("user") or detail.get("operating_user") or detail.get("credential")) or "somebody"
    return Told("note", "read", f"{who} read {much}{without}, with `{verb}{_asked(detail.get('filter'))}`")


def tell_erasure(envelope: Envelope, detail: JsonObject) -> Told:
    """Who or what was forgotten, or which old payloads were dropped."""
    by, count = _by(detail), detail.get("payloads")
    much = counted(count, "payload") if isinstance(count, int) else "payloads"
    if any(target.startswith("Payloads::") for target in envelope.targets):
        ranges = listed([target.removeprefix("Payloads::") for target in envelope.targets])
        before = detail.get("before")
        old = f" older than {moment(before)}" if isinstance(before, int) else ""
        return Told("note", "dropped", f"{by} dropped {much}{old}: those of the records {ranges}", _text(detail.get("reason")))
    requests = detail.get("requests")
    withdrawn = f", and withdrew {counted(len(requests), 'request')}" if requests else ""
    act = f"{by} erased {_pseudonyms(envelope)}, so that {much} cannot be opened any more{withdrawn}"
    return Told("note", "erased", act, _text(detail.get("reason")))


def tell_hold(envelope: Envelope, detail: JsonObject) -> Told:
    """Who or what must not be forgotten, or may be again."""
    by, reason = _by(detail), _text(detail.get("reason"))
    released = next((target.removeprefix("Hold::") for target in envelope.targets if target.startswith("Hold::")), None)
    if released is not None:
        return Told("note", "released", f"{by} released the legal hold {released}", reason)
    everything = any(target.startswith("Tenant::") for target in envelope.targets)
    what = f"everything in the log `{envelope.log}`" if everything else _pseudonyms(envelope)
    return Told("note", "held", f"{by} placed a legal hold on {what}, which is neither erased nor dropped as long as it stands", reason)


def tell_keys(envelope: Envelope, detail: JsonObject) -> Told:
    """Which key encrypts, or signs, from now on."""
    by, act = _by(detail), detail.get("act")
    if act == "rotate_signing":
        return Told("note", "keys", f"{by} let another key sign the log: {_text(detail.get('to'))}, endorsed by the one before")
    key = listed([target.removeprefix("Key::") for target in envelope.targets]) or _text(detail.get("to"))
    former = listed([_text(each) for each in detail.get("keys") or ()])
    if act == "retire":
        return Told("note", "keys", f"{by} retired the key {former}: new secrets lie under {key}")
    if act == "rewrap":
        secrets, seeds = counted(detail.get("secrets", 0), "secret"), counted(detail.get("signing_keys", 0), "signing key")
        return Told("note", "keys", f"{by} put {secrets} and {seeds} under the key {key}; nothing lies under {former} any more")
    return Told("note", "keys", f"{by} changed a key of the ledger")


def tell_admin(_envelope: Envelope, detail: JsonObject) -> Told:
    """A twin of a masked record, a credential, a backup, a restore, a loss that was accepted."""
    if "twin" in detail:
        act = f"a call reached for another tenant: {detail.get('tool')}; its record is call {detail['twin']}"
        return Told("note", "twin", act)
    done, by, reason = detail.get("act"), _by(detail), _text(detail.get("reason"))
    if isinstance(done, str) and done.endswith("_credential"):
        return _tell_credential(done, detail, reason)
    if done == "backup":
        length = detail.get("bytes")
        return Told("note", "backup", f"{by} made the backup {detail.get('file')}{f' ({size(length)})' if isinstance(length, int) else ''}")
    if done == "restore":
        kept = f"; what was there is kept as {detail['kept']}" if detail.get("kept") else ""
        return Told("note", "restored", f"{by} put the backup {detail.get('from')} in the ledger's place{kept}", reason)
    if done == "accept_loss":
        was = f"it was {detail.get('origin')} with {counted(detail.get('size', 0), 'entry', 'entries')} in its head log"
        return Told("warn", "loss", f"{by} accepted that records are lost, and the head log began anew; before, {was}", reason)
    return Told("note", "admin", "something was done to the ledger, and what it was cannot be read")


def _tell_credential(done: str, detail: JsonObject, reason: str) -> Told:
    by = _text(detail.get("by")) or f"operating user {_text(detail.get('operating_user')) or 'unknown'}"
    shown = _text(detail.get("credential"))
    if done == "revoke_credential":
        return Told("note", "ended", f"{by} ended the credential {shown}", reason)
    content = detail.get("content")
    content = content if isinstance(content, dict) else {}
    whose, kind = _text(content.get("user")), content.get("kind", "key")
    if kind == "session":
        return Told(
            "note",
            "sign-in",
            f"{whose} signed in to the console by {_WAYS.get(_text(content.get('signed_in_by')), 'an identity provider')}",
        )
    if kind == "link":
        return Told("note", "link", f"{by} made a link by which {whose} can sign in once")
    if kind == "passkey":
        return Told("note", "passkey", f"{whose} added the passkey `{_text(content.get('name'))}`")
    verb = "issued" if done == "issue_credential" else f"replaced {_text(content.get('replaces'))} by"
    return Told("note", "key", f"{by} {verb} the API key {shown} (`{_text(content.get('name'))}`)")


_WAYS = {"link": "a link", "passkey": "a passkey"}


def tell_freeze(envelope: Envelope, detail: JsonObject) -> Told:
    """What was stopped, or goes on."""
    mark = envelope.targets[0] if envelope.targets else ""
    kind, _, name = mark.partition("::")
    by = _text(detail.get("by") or detail.get("operating_user") or detail.get("credential")) or "somebody"
    reason = _text(detail.get("reason"))
    if kind == "Freeze":
        people = listed([by, *([_text(detail["second"])] if detail.get("second") else [])])
        return Told("note", "lifted", f"{people} lifted the freeze {name}", reason)
    whose = "" if envelope.log in (OPERATOR_LOG, name) else f" of tenant `{envelope.log}`"
    what = "everything" if kind == "Everything" else f"the {kind.lower()} `{name}`{whose}"
    return Told("deny", "frozen", f"{by} froze {what}", reason)


TELLERS: Mapping[str, Teller] = {
    "access": tell_access,
    "erasure": tell_erasure,
    "legal_hold": tell_hold,
    "key_rotation": tell_keys,
    "admin": tell_admin,
    "freeze": tell_freeze,
}
"""By kind of record."""


def _by(detail: JsonObject) -> str:
    return _text(detail.get("by")) or "somebody"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _pseudonyms(envelope: Envelope) -> str:
    return listed([f"the {target.partition('::')[0]} recorded as {target}" for target in envelope.targets]) or "somebody"


def _verb(verb: object) -> str:
    """`licet audit search`, whether the record says `search` or `audit search`."""
    return f"licet audit {_text(verb).removeprefix('audit ')}"


def _asked(asked: Any) -> str:
    """The options that were given, as they would be typed."""
    if not isinstance(asked, dict):
        return ""
    named = {name: value for name, value in asked.items() if name != "tenant" or "reference" not in asked}  # it has its tenant in it
    given = [(name, one) for name, value in named.items() for one in (value if isinstance(value, list) else [value])]
    return "".join(f" {_option(name, one)}" for name, one in given)


def _option(name: str, value: object) -> str:
    if isinstance(value, dict):  # a name that the ledger does not know stands there by a keyed hash
        value = f"(unknown, {_text(value.get('unknown'))[:SHORT]})"
    option = {"kinds": "kind", "fmt": "format"}.get(name, name).replace("_", "-")
    return _text(value) if name == "reference" else f"--{option}" if value is True else f"--{option} {value}"

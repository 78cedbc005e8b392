"""OpenID AuthZEN 1.0: `POST /access/v1/evaluation` and `/access/v1/evaluations`, and where a client finds them.

Rules:

1. A denial is an answer (200 with `decision: false`); an error is about the request (400, 401, 403, 500), and is a sentence of text.
2. Who asks about somebody needs `evaluations.ask` for every one whom the question names, in that tenant. A tenant that is not there answers
   as one that is out of reach.
3. What decided is told as far as whoever asks may know it: the sentence for users to everybody, the policies to whoever reads policies.
   Whether the directory has somebody is not told.
4. Unknown members are passed over, as the standard wants: what is not known here grants nothing. A key that stands twice is refused.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from licet.catalog import strict
from licet.errors import ArgumentsRefused
from licet.gate.acting import Acting
from licet.gate.draft import Refused
from licet.gate.evaluating import TOGETHER_LIMIT, Evaluated, StopAt
from licet.gate.inquiry import Action, Inquirer, Inquiry, Resource, Subject, tenant_of
from licet.identity.authenticated import ANY, Authenticated
from licet.identity.directory import Directory
from licet.model import EntityRef, JsonObject, PrincipalKind
from licet.policy.own import AgentAction
from licet.server.endpoint import Answer, Asked, Endpoint, not_permitted
from licet.server.exchange import LONG_BYTES
from licet.server.problems import Problem, bad_request, not_found
from licet.server.reading import BODY_VALUES_LIMIT, check_media_type

T = TypeVar("T")

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
CALLS: Final = "/api/v1/calls"
STOPS: Final[dict[str, StopAt]] = {"execute_all": None, "deny_on_first_deny": "deny", "permit_on_first_permit": "permit"}
_NAMED: Final[dict[str, PrincipalKind]] = {"agent": "Agent", "service": "Service", "on_behalf_of": "User"}
_ABOUT_SUBJECTS: Final = frozenset(
    {
        "acts_for_self",
        "acts_for_user",
        "agent_and_service",
        "malformed_caller",
        "no_agent",
        "no_caller",
        "no_tenant",
        "not_in_tenant",
        "unknown_agent",
        "unknown_caller",
        "unknown_service",
        "unknown_subject_type",
        "unknown_tenant",
        "unknown_user",
        "user_disabled",
    }
)
"""Reasons that say whom the directory has (rule 3)."""
_UNDECIDED: Final = "log_unavailable"


class AccessDecision(Struct, frozen=True, omit_defaults=True):
    """An AuthZEN Decision."""

    decision: bool
    context: JsonObject = {}


class Options(Struct, frozen=True):
    """How several evaluations are executed."""

    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = "execute_all"


class AccessQuestions(Struct, frozen=True):
    """Several questions. The members beside `evaluations` are what holds for those that do not say it themselves."""

    subject: Subject | None = None
    action: Action | None = None
    resource: Resource | None = None
    context: JsonObject | None = None
    evaluations: tuple[JsonObject, ...] = ()
    options: Options = Options()


class AccessDecisions(Struct, frozen=True, omit_defaults=True):
    """The answers, in order; fewer than questions where one of them was the last. Without `evaluations` in the body, a `AccessDecision`."""

    evaluations: tuple[AccessDecision, ...] = ()
    decision: bool | UnsetType = UNSET
    context: JsonObject = {}


def decoded(asked: Asked, wanted: type[T]) -> T:
    """The body as this type; unknown members are passed over. Raises `Problem` (400 for whatever it is not)."""
    try:
        check_media_type(asked.headers)
    except Problem as problem:
        raise bad_request(problem.detail) from problem  # the standard knows no 415
    try:
        value = strict.parse(asked.raw_body, limit_bytes=len(asked.raw_body), limit_values=BODY_VALUES_LIMIT)
        return msgspec.convert(value, wanted)
    except ArgumentsRefused as refused:
        raise bad_request(f"the body cannot be read: {refused}") from refused
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise bad_request("the body is not as it must be", str(error)) from error


def inquirer_of(who: Authenticated, directory: Directory) -> Inquirer:
    """Who asks: the one program that the credential speaks for, if it is one, and the one tenant."""
    programs = len(who.agents) + len(who.services)
    one = programs == 1 and ANY not in who.agents and ANY not in who.services
    tenants = tuple(directory.tenants) if ANY in who.tenants else who.tenants
    return Inquirer(
        acting=Acting(
            tenant=tenants[0] if len(tenants) == 1 else None,
            agent=who.agents[0] if one and who.agents else None,
            service=who.services[0] if one and who.services else None,
            user=who.user,
        ),
        credential=who.credential,
    )


def permitted_tenant(asked: Asked, action: AgentAction, inquiry: Inquiry, inquirer: Inquirer, *, about_subject: bool = True) -> str:
    """The tenant of the question, where whoever asks may ask it (rule 2). Raises `Problem` (400, 403)."""
    try:
        tenant = tenant_of(inquiry, inquirer)
    except Refused as refused:
        raise bad_request(refused.message) from refused
    if tenant is None:
        raise bad_request("say for which tenant, as `context.tenant`: the credential is not for one alone")
    if tenant not in asked.directory.tenants:  # the installation is none either, whoever reaches it
        raise not_permitted(action)
    subjects: list[EntityRef | None] = [inquiry.subject.ref] if about_subject else [None]
    for name, kind in _NAMED.items():
        named = inquiry.subject.properties.get(name)
        if isinstance(named, str):
            subjects.append(EntityRef(kind, named))
    for subject in subjects:
        if not asked.decide(action, tenant, subject).allowed:
            raise not_permitted(action)
    return tenant


async def _evaluate(asked: Asked) -> Answer:
    """On the event loop, since it is short; a body that is not is decoded in a thread."""
    inquirer = inquirer_of(asked.who, asked.directory)
    inquiry = decoded(asked, Inquiry) if len(asked.raw_body) <= LONG_BYTES else await asyncio.to_thread(decoded, asked, Inquiry)
    tenant = permitted_tenant(asked, "evaluations.ask", inquiry, inquirer)
    return _told(await asked.gate.aevaluate(inquiry, inquirer=inquirer), asked, tenant)


def _told(answer: Evaluated, asked: Asked, tenant: str) -> Answer:
    if answer.decision.code == _UNDECIDED:
        raise Problem("internal_error", answer.decision.message)
    return Answer(body=decided(answer, asked, tenant))


def _evaluate_together(asked: Asked) -> Answer:
    """In a thread: a hundred decisions would keep everybody else on the event loop waiting."""
    together = decoded(asked, AccessQuestions)
    inquirer = inquirer_of(asked.who, asked.directory)
    if not together.evaluations:
        inquiry = decoded(asked, Inquiry)
        tenant = permitted_tenant(asked, "evaluations.ask", inquiry, inquirer)
        return _told(asked.gate.evaluate(inquiry, inquirer=inquirer), asked, tenant)
    if len(together.evaluations) > TOGETHER_LIMIT:
        raise bad_request(f"at most {TOGETHER_LIMIT} questions are answered together")
    asked.note_checked()  # each question asks for itself, and one that may not be asked is an answer among others
    found: list[tuple[Inquiry, str] | Problem] = [_item(asked, together, item, inquirer) for item in together.evaluations]
    stop_at = STOPS[together.options.evaluations_semantic]
    if stop_at == "deny":
        failed = next((place for place, one in enumerate(found) if isinstance(one, Problem)), len(found))
        found = found[: failed + 1]
    inquiries = [one[0] for one in found if not isinstance(one, Problem)]
    answers = iter(asked.gate.evaluate_all(inquiries, inquirer=inquirer, stop_at=stop_at) if inquiries else ())
    return Answer(body=AccessDecisions(tuple(_merged(asked, found, answers, stop_at))))


def _item(asked: Asked, together: AccessQuestions, item: JsonObject, inquirer: Inquirer) -> tuple[Inquiry, str] | Problem:
    """One question with what it inherits, and its tenant; or why it cannot be asked."""
    inherited: JsonObject = {
        name: value
        for name, value in (
            ("subject", together.subject),
            ("action", together.action),
            ("resource", together.resource),
            ("context", together.context),
        )
        if value is not None and name not in item
    }
    try:
        inquiry = msgspec.convert({**item, **inherited}, Inquiry)
        return inquiry, permitted_tenant(asked, "evaluations.ask", inquiry, inquirer)
    except Problem as problem:
        return problem
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        return bad_request(f"the question is not as it must be: {error}")


def _merged(asked: Asked, found: list[tuple[Inquiry, str] | Problem], answers: Any, stop_at: StopAt) -> list[AccessDecision]:
    """Answers and errors, in the order of the questions, up to the one that was the last."""
    merged: list[AccessDecision] = []
    for one in found:
        if isinstance(one, Problem):
            merged.append(_failed(one))
            continue
        answer: Evaluated | None = next(answers, None)
        if answer is None:
            break
        failure = Problem("internal_error", answer.decision.message) if answer.decision.code == _UNDECIDED else None
        merged.append(decided(answer, asked, one[1]) if failure is None else _failed(failure))
        if stop_at == "permit" and answer.permitted:
            break
    return merged


def _failed(problem: Problem) -> AccessDecision:
    return AccessDecision(
        decision=False, context={"error": {"status": problem.status, "message": "; ".join((problem.detail, *problem.errors))}}
    )


def decided(answer: Evaluated, asked: Asked, tenant: str) -> AccessDecision:
    """The answer as AuthZEN writes it."""
    context: JsonObject = {"evaluation_id": answer.id, "evaluated_at": answer.at}
    if answer.permitted:
        return AccessDecision(decision=True, context=context)
    decision = answer.decision
    code = "unknown_subject" if decision.code in _ABOUT_SUBJECTS else decision.code
    context["reason"] = code
    reasons = tuple(dict.fromkeys(policy.reason for policy in decision.policies if policy.effect == "forbid" and policy.reason))
    sentence = "people must approve this call" if decision.verdict == "hold" else "this is not permitted"
    told = f"{sentence}: {'; '.join(reasons)}" if reasons else sentence
    context["reason_user"] = {"403": told}
    if asked.decide("policies.read", tenant).allowed:
        context["reason_admin"] = {"403": decision.message}
    if decision.verdict == "hold" and not any(obligation.kind == "preview_only" for obligation in decision.obligations):
        context["access_request"] = _access_request(answer, asked, told)
    return AccessDecision(decision=False, context=context)


def _access_request(answer: Evaluated, asked: Asked, description: str) -> JsonObject:
    """How people are asked: by proposing the call. In the members of the access-request profile, with the call beside them."""
    expires_s = asked.gate.scene.settings.approvals.expires_s
    request: JsonObject = {
        "template": answer.decision.code,
        "expires_at": answer.at + timedelta(seconds=expires_s),
        "display": {"title": "Propose this call", "description": description},
        "call": {"tool": answer.tool, "arguments": msgspec.Raw(answer.arguments)},
    }
    url = asked.serving.public_url
    return request if url is None else {"endpoint": url.rstrip("/") + CALLS, **request}


class Metadata(Struct, frozen=True, kw_only=True):
    """AuthZEN PDP metadata."""

    policy_decision_point: str
    access_evaluation_endpoint: str
    access_evaluations_endpoint: str
    search_subject_endpoint: str
    search_resource_endpoint: str
    search_action_endpoint: str


def _metadata(asked: Asked) -> Answer:
    url = asked.serving.public_url
    if url is None or not url.startswith("https://"):
        raise not_found()  # the standard's identifier is an https URL, and none is known
    base = url.rstrip("/")
    search = f"{base}/access/v1/search"
    body = Metadata(
        policy_decision_point=url,
        access_evaluation_endpoint=base + EVALUATION,
        access_evaluations_endpoint=base + EVALUATIONS,
        search_subject_endpoint=f"{search}/subject",
        search_resource_endpoint=f"{search}/resource",
        search_action_endpoint=f"{search}/action",
    )
    return Answer(body=body, headers=(("Cache-Control", "public, max-age=300"),))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path=EVALUATION,
        operation="evaluate",
        summary="Whether a subject may do an action on a resource (AuthZEN 1.0)",
        tag="authzen",
        action="evaluations.ask",
        handler=_evaluate,
        body=Inquiry,
        returns=AccessDecision,
        takes_raw=True,
        plain_errors=True,
    ),
    Endpoint(
        method="POST",
        path=EVALUATIONS,
        operation="evaluateTogether",
        summary="Several questions at once, recorded in one commit (AuthZEN 1.0)",
        tag="authzen",
        action="evaluations.ask",
        handler=_evaluate_together,
        body=AccessQuestions,
        returns=AccessDecisions,
        takes_raw=True,
        plain_errors=True,
    ),
    Endpoint(
        method="GET",
        path="/.well-known/authzen-configuration",
        operation="getAuthzenConfiguration",
        summary="Where a policy enforcement point finds the endpoints of AuthZEN 1.0",
        tag="authzen",
        action=None,
        public=True,
        handler=_metadata,
        returns=Metadata,
        plain_errors=True,
    ),
)

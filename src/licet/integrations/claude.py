"""Claude Agent SDK: options with which every tool that the command line uses is governed.

    options = ClaudeAgentOptions(**gate.claude(mcp_servers=servers))

Rules:

1. The tools run in the command line's process, so a call is proposed before it (`PreToolUse`) and its end reported after it
   (`PostToolUse`, `PostToolUseFailure`), as for anybody who executes elsewhere. The arguments that were decided on replace those that the
   model wrote.
2. A hook that fails, or does not answer in time, blocks the tool (`on_failure="block"`): without that the command line would run it. Other
   `PreToolUse` hooks, and whatever answers when the command line asks for permission after all, as for sensitive files, could change the
   arguments afterwards, and settings could switch hooks off: options that bring either are refused, unless `allow_ungoverned` names them.
3. A tool of a server in this process goes by its own name; one of the command line, or of another server, by the name that the model knows
   (`Bash`, `mcp__crm__get`), after the prefix. Of the latter nobody tells here what they take: their tables say it (`input`).
4. A call that waits for people is refused with its request's id, and the same call again goes on once they have decided.

Source: claude-agent-sdk 0.2, `types.py`; the bundled command line, tried against a server that answers as the model's would.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from claude_agent_sdk import ClaudeAgentOptions, HookMatcher
from msgspec import Struct

from licet.catalog.adopted import AdoptedTool
from licet.errors import ConfigInvalid, LicetError, UngovernedTools
from licet.gate.acting import Acting
from licet.gate.gate import Gate
from licet.gate.remote import CallReport
from licet.gate.results import Denied, Held, Ok, Permitted, Proposed
from licet.gate.telling import denied_for, failed_for
from licet.integrations.coverage import Surveyed
from licet.integrations.elsewhere import awaited_elsewhere
from licet.integrations.governing import CallerOf, Governing, Use
from licet.integrations.recorded import plain, text_of
from licet.model import CallId, JsonObject, Trace
from licet.names import quoted

OPEN_LIMIT: Final = 10_000
"""Calls that were permitted and have not ended yet, whose ends are waited for."""
_LEADING_PAST: Final = ("can_use_tool", "extra_args", "permission_prompt_tool_name", "plugins", "setting_sources", "settings")
"""Options that can bring what changes arguments after the decision, or switch hooks off."""
_CHANGING: Final = ("PermissionRequest", "PreToolUse")
"""Hooks that can change arguments."""
_UNNAMED: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What the command line replaces by `_` in the names of servers and of their tools."""
_WITHOUT_HOOKS: Final = "CLAUDE_CODE_SIMPLE"
"""Where this is set in the environment, the command line calls no hook, and says nothing of it."""
_HOOK_TIMEOUT_S: Final = 600.0
"""How long a hook may take, which waits for resolvers, the store, and for people where the caller says so."""
_log = logging.getLogger("licet.integrations")


class _Open(Struct, frozen=True):
    call: CallId
    acting: Acting
    arguments: JsonObject


class Governance:
    """The hooks of `gate.claude()`. `caller` says who calls, from the input of the hook."""

    def __init__(
        self,
        gate: Gate,
        servers: Mapping[str, Any],
        *,
        caller: CallerOf[Mapping[str, Any]] | None,
        prefix: str,
        allow_ungoverned: Iterable[str],
    ) -> None:
        self.governing: Governing[Mapping[str, Any]] = Governing(
            gate, "claude", caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned
        )
        self._open: OrderedDict[tuple[str, str], _Open] = OrderedDict()
        self.adopted = self._in_process(servers)
        gate.adopt(self.adopted.values())

    async def before(self, hook: Any, tool_use: str | None, context: Any) -> Any:  # noqa: ARG002 - the framework's signature
        """`PreToolUse`: propose the call. Raises nothing that the command line would take for a yes."""
        try:
            use = self._use(hook)
            acting = self.governing.acting_for(use)
            key = self.governing.key_of(use)
            result = await self.governing.gate.apropose(self._name(hook["tool_name"]), use.arguments, acting=acting, idempotency_key=key)
            return self._told(result, hook, acting)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is a refusal
            return _no(self.governing.refused(hook["tool_name"], error).text)

    async def after(self, hook: Any, tool_use: str | None, context: Any) -> Any:  # noqa: ARG002 - the framework's signature
        """`PostToolUse`, `PostToolUseFailure`: report how the call ended. Where that cannot be recorded, the session ends."""
        found = self._open.pop(_place(hook), None)
        if found is None:
            return {}
        try:
            await self.governing.gate.areport(found.call, _report(hook, found.arguments), acting=found.acting)
        except Exception as error:  # noqa: BLE001 - the command line goes on after a hook that raises
            _log.exception("licet: the end of a call of %s cannot be recorded", quoted(hook["tool_name"]))
            why = str(error) if isinstance(error, LicetError) else type(error).__name__  # another's message may hold secrets
            return {"continue_": False, "stopReason": f"the end of a call cannot be recorded, so nothing goes on: {why}"}
        return {}

    def _told(self, result: Proposed, hook: Mapping[str, Any], acting: Acting) -> Any:
        if isinstance(result, Permitted):
            arguments = json.loads(result.arguments)
            self._open[_place(hook)] = _Open(result.call, acting, arguments)
            if len(self._open) > OPEN_LIMIT:
                self._open.popitem(last=False)
            return _said("allow", updatedInput=arguments)
        if isinstance(result, Ok):
            return _no(f"this very call was made before, and gave: {text_of(result.value)}")
        if isinstance(result, Denied):
            return _no(denied_for(result))
        if isinstance(result, Held):
            return _no(self.governing.waiting(result).text)
        return _no(failed_for(result))

    def _use(self, hook: Mapping[str, Any]) -> Use[Mapping[str, Any]]:
        session, call = hook.get("session_id"), hook.get("tool_use_id")
        return Use(
            tool=hook["tool_name"],
            arguments=hook["tool_input"],
            run=_never,
            tell=_never,
            call=None if session is None or call is None else (session, call),
            context=hook,
            is_async=True,
            adopt=lambda: None,
            session=session,
            trace=Trace(trace_id=session, span_id=call, parent=hook.get("agent_id")),
        )

    def _name(self, tool: str) -> str:
        """Rule 3. Raises `ConfigInvalid` for a tool of the command line that has the name of one of this process."""
        found = self.adopted.get(tool)
        if found is not None:
            return found.name
        name = self.governing.prefix + tool
        if any(one.name == name for one in self.adopted.values()):
            raise ConfigInvalid(f"two tools are called {quoted(name)}: give that of the server in this process another name")
        return name

    def _in_process(self, servers: Mapping[str, Any]) -> dict[str, AdoptedTool]:
        """The tools of the servers in this process, by the names that the model knows. Raises `ConfigInvalid` where two would share one."""
        found: dict[str, AdoptedTool] = {}
        starts = {name: f"mcp__{_UNNAMED.sub('_', name)}__" for name in servers}
        for name, server in servers.items():
            if isinstance(server, Mapping) and server.get("type") == "sdk":
                mixed = [other for other in servers if other != name and _share(starts[name], starts[other])]
                if mixed:
                    names = ", ".join(map(quoted, (name, *mixed)))
                    raise ConfigInvalid(f"tools of these servers could have one name: {names}; give the servers other names")
                for tool in _listed(server["instance"]):
                    schema = tool.inputSchema if hasattr(tool, "inputSchema") else tool.input_schema
                    known = starts[name] + _UNNAMED.sub("_", tool.name)
                    if known in found:
                        raise ConfigInvalid(f"two tools of the server {quoted(name)} are called {quoted(known)}: rename one")
                    found[known] = self.governing.adopted(tool.name, tool.description, schema)
        return found


def govern(
    gate: Gate,
    options: Mapping[str, Any],
    *,
    caller: CallerOf[Mapping[str, Any]] | None = None,
    pause: bool = True,  # noqa: ARG001 - `defer` keeps one call of a batch, and loses the others
    prefix: str = "",
    allow_ungoverned: Iterable[str] = (),
) -> dict[str, Any]:
    """What `gate.claude(...)` gives. Raises `ConfigInvalid` for options that lead past the gate, `CatalogInvalid`."""
    servers = options.get("mcp_servers") or {}
    if not isinstance(servers, Mapping):
        raise ConfigInvalid("`mcp_servers` is a mapping here: the servers of a file are not seen")
    governance = Governance(gate, servers, caller=caller, prefix=prefix, allow_ungoverned=allow_ungoverned)
    past = _leading_past(options, governance.governing.allowed)
    if past:
        names = ", ".join(map(quoted, past))
        raise ConfigInvalid(f"{names} can change what was decided on, or switch hooks off: leave it out, or name it in `allow_ungoverned`")
    hooks = {name: list(matchers) for name, matchers in (options.get("hooks") or {}).items()}
    hooks["PreToolUse"] = [
        HookMatcher(hooks=[governance.before], timeout=_HOOK_TIMEOUT_S, on_failure="block"),
        *hooks.get("PreToolUse", []),
    ]
    for name in ("PostToolUse", "PostToolUseFailure"):
        hooks[name] = [HookMatcher(hooks=[governance.after], timeout=_HOOK_TIMEOUT_S), *hooks.get(name, [])]
    return {**options, "setting_sources": options.get("setting_sources") or [], "hooks": hooks}


def survey(gate: Gate, agent: object) -> Surveyed:
    """What the gate sees of options: the tools of servers in this process. What the command line has beside passes through the hook too.

    Options may have been given, or changed, beside `gate.claude(...)`: what leads past the gate is looked for again.
    """
    if not isinstance(agent, ClaudeAgentOptions):
        raise UngovernedTools("an agent of this framework is governed by its options: give the `ClaudeAgentOptions`", ())
    matchers = (agent.hooks or {}).get("PreToolUse", [])
    owners = [getattr(hook, "__self__", None) for matcher in matchers for hook in matcher.hooks]
    alone = owners[0] if len(owners) == 1 else None
    blocks = all(matcher.matcher is None and matcher.on_failure == "block" for matcher in matchers)
    if not isinstance(alone, Governance) or alone.governing.gate is not gate or not blocks:
        return Surveyed(ungoverned=("every tool of the command line",))
    allowed = alone.governing.allowed
    given: dict[str, Any] = {name: getattr(agent, name) for name in (*_LEADING_PAST, "env")}
    others = {name: matchers for name, matchers in (agent.hooks or {}).items() if name != "PreToolUse"}
    past = _leading_past({**given, "hooks": others}, allowed)
    if agent.setting_sources is None and "setting_sources" not in allowed:
        past.append("setting_sources")  # that is all of them
    return Surveyed(adopted=tuple(alone.adopted.values()), ungoverned=tuple(f"every tool of the command line, by {name}" for name in past))


def _leading_past(options: Mapping[str, Any], allowed: frozenset[str]) -> list[str]:
    """Rule 2: what of these options leads past the gate, and nobody has let."""
    given = [name for name in _LEADING_PAST if options.get(name)]
    given += [_WITHOUT_HOOKS] if _WITHOUT_HOOKS in {*os.environ, *(options.get("env") or {})} else []
    given += ["hooks"] if any((options.get("hooks") or {}).get(name) for name in _CHANGING) else []
    return [name for name in given if name not in allowed]


def _share(start: str, other: str) -> bool:
    return start.startswith(other) or other.startswith(start)


def _listed(server: Any) -> list[Any]:
    """The tools of a server in this process, asked of it as a client would; of either major version of the protocol's library."""
    if hasattr(server, "get_request_handler"):
        entry = server.get_request_handler("tools/list")
        handler = getattr(entry, "handler", entry)
        return list(awaited_elsewhere(lambda: handler(None, None)).tools)
    from mcp.types import ListToolsRequest  # noqa: PLC0415 - as above

    handler = server.request_handlers[ListToolsRequest]
    return list(awaited_elsewhere(lambda: handler(ListToolsRequest(method="tools/list"))).root.tools)


def _place(hook: Mapping[str, Any]) -> tuple[str, str]:
    return str(hook.get("session_id")), str(hook.get("tool_use_id"))


def _report(hook: Mapping[str, Any], decided: JsonObject) -> CallReport:
    duration = hook.get("duration_ms")
    duration_us = int(duration * 1_000) if isinstance(duration, int | float) else None
    if hook.get("tool_input") != decided:
        message = f"it ran with other arguments than were decided on: {text_of(hook.get('tool_input'))[:1_500]}"
        return CallReport(status="error", code="not_as_decided", message=message, duration_us=duration_us)
    if hook["hook_event_name"] == "PostToolUse":
        return CallReport(status="ok", result=json.dumps(plain(hook.get("tool_response"))).encode(), duration_us=duration_us)
    interrupted = bool(hook.get("is_interrupt"))
    return CallReport(
        status="unknown" if interrupted else "error",
        code="interrupted" if interrupted else "tool_error",
        message=str(hook.get("error", ""))[:2_000],
        duration_us=duration_us,
    )


def _said(decision: str, **more: Any) -> Any:
    return {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": decision, **more}}


def _no(reason: str) -> Any:
    return _said("deny", permissionDecisionReason=reason)


def _never(*_: Any) -> Any:
    raise AssertionError("the command line runs its tools itself")

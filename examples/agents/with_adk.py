"""A support agent on Google's ADK: `python with_adk.py MODEL "QUESTION"`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types
from support import INSTRUCTIONS, TOOLS, gate

APP, USER = "support", "alice"


def make_runner(model: Any) -> Runner:
    """The runner. The plugin is the whole integration; it governs every agent that runs under it."""
    agent = LlmAgent(name="support", model=model, instruction=INSTRUCTIONS, tools=list(TOOLS))
    plugin = gate.adk(caller=lambda ctx: gate.acting(agent="support-bot", user=ctx.session.user_id, workflow=ctx.session.id))
    return Runner(app_name=APP, agent=agent, session_service=InMemorySessionService(), plugins=[plugin])


async def ask(runner: Runner, message: types.Content, ticket: str) -> tuple[list[Any], str]:
    """Send a message. Returns the confirmations that the agent waits for, and its last words."""
    if await runner.session_service.get_session(app_name=APP, user_id=USER, session_id=ticket) is None:
        await runner.session_service.create_session(app_name=APP, user_id=USER, session_id=ticket)
    waiting: list[Any] = []
    said = ""
    async for event in runner.run_async(user_id=USER, session_id=ticket, new_message=message):
        waiting += [one for one in event.get_function_calls() if one.name == "adk_request_confirmation"]
        said = "".join(part.text or "" for part in (event.content.parts or ())) if event.content else said
    return waiting, said


def request_of(confirmation: Any) -> str:
    """The request that people decide on."""
    return str(confirmation.args["toolConfirmation"]["payload"]["request"])


def question(text: str) -> types.Content:
    """A user's message."""
    return types.Content(role="user", parts=[types.Part(text=text)])


def confirmed(confirmations: list[Any]) -> types.Content:
    """Go on after a decision. That something is confirmed here grants nothing: the gate looks what was decided."""
    answers = [types.FunctionResponse(id=one.id, name=one.name, response={"confirmed": True}) for one in confirmations]
    return types.Content(role="user", parts=[types.Part(function_response=one) for one in answers])


async def main(model: str, text: str) -> None:
    """One question. Where it waits for people, it says for which request."""
    runner = make_runner(model)
    with gate:
        waiting, said = await ask(runner, question(text), "ticket-1")
        for one in waiting:
            await asyncio.to_thread(input, f"`licet approvals show {request_of(one)}` shows what it wants to do; Enter once it is decided ")
        if waiting:
            _, said = await ask(runner, confirmed(waiting), "ticket-1")
        print(said)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""The tools of the reference server, by the names and with the answers that the conformance suites expect."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

Context: TypeAlias = ServerRequestContext[Any]
Answer: TypeAlias = types.CallToolResult | types.InputRequiredResult
Handler = Callable[[Context, types.CallToolRequestParams], Awaitable[Answer]]

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
AUDIO = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
SECRET = secrets.token_bytes(32)
TOOLS: dict[str, tuple[types.Tool, Handler | None]] = {}
warnings.simplefilter("ignore")


def text(*said: str, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=one) for one in said], is_error=is_error)


def tool(name: str, **arguments: str) -> Callable[[Handler], Handler]:
    def put(handler: Handler) -> Handler:
        declare(name, handler, **arguments)
        return handler

    return put


def declare(name: str, handler: Handler | None, **arguments: str) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {one: {"type": kind} for one, kind in arguments.items()}}
    if arguments:
        schema["required"] = list(arguments)
    TOOLS[name] = (types.Tool(name=name, description=f"The tool {name}.", input_schema=schema), handler)


def listed() -> list[types.Tool]:
    return [one for one, _ in TOOLS.values()]


async def call(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    _, handler = TOOLS.get(params.name, (None, None))
    if handler is None:
        raise MCPError(types.INVALID_PARAMS, f"there is no tool {params.name}")
    return await handler(ctx, params)


# what needs nobody


@tool("test_simple_text")
async def simple(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return text("This is a simple text response for testing.")


@tool("test_image_content")
async def image(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(content=[types.ImageContent(type="image", data=IMAGE, mime_type="image/png")])


@tool("test_audio_content")
async def audio(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(content=[types.AudioContent(type="audio", data=AUDIO, mime_type="audio/wav")])


def embedded(uri: str, mime_type: str, content: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(type="resource", resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=content))


@tool("test_embedded_resource")
async def resource(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(content=[embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")])


@tool("test_multiple_content_types")
async def several(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(
        content=[
            types.TextContent(type="text", text="Multiple content types test:"),
            types.ImageContent(type="image", data=IMAGE, mime_type="image/png"),
            embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        ]
    )


@tool("test_error_handling")
async def failing(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    return text("This tool intentionally returns an error for testing", is_error=True)


@tool("test_tool_with_logging")
async def logging(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", said, related_request_id=ctx.request_id)
        await asyncio.sleep(0.05)
    return text("Tool with logging executed successfully")


TOOLS["test_logging_tool"] = (TOOLS["test_tool_with_logging"][0].model_copy(update={"name": "test_logging_tool"}), logging)


@tool("test_tool_with_progress")
async def progress(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(0.05)
    return text("Tool with progress executed successfully")


declare("test_trigger_tool_change", None)
declare("test_trigger_prompt_change", None)

# what asks a client of the older era


@tool("test_sampling", prompt="string")
async def sampling(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    prompt = (params.arguments or {})["prompt"]
    asked = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    found = await ctx.session.create_message([asked], max_tokens=100, related_request_id=ctx.request_id)
    return text(f"LLM response: {found.content.text if isinstance(found.content, types.TextContent) else found.content}")


async def elicited(ctx: Context, message: str, properties: dict[str, Any]) -> types.ElicitResult:
    schema = {"type": "object", "properties": properties, "required": []}
    return await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)


@tool("test_elicitation", message="string")
async def elicitation(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    asked = {"username": {"type": "string", "description": "User's response"}, "email": {"type": "string", "description": "An address"}}
    found = await elicited(ctx, (params.arguments or {})["message"], asked)
    return text(f"User response: action={found.action}, content={found.content}")


@tool("test_elicitation_sep1034_defaults")
async def defaults(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    asked = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    found = await elicited(ctx, "Please look through these", asked)
    return text(f"Elicitation completed: action={found.action}, content={found.content}")


@tool("test_elicitation_sep1330_enums")
async def enums(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    options, titled = ["option1", "option2", "option3"], [{"const": f"value{n}", "title": f"Option {n}"} for n in (1, 2, 3)]
    asked = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    found = await elicited(ctx, "Please choose", asked)
    return text(f"Elicitation completed: action={found.action}, content={found.content}")


# what asks a client of the newer era


def form(message: str, field: str, kind: str = "string") -> types.ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(prompt: str, tokens: int = 100) -> types.CreateMessageRequest:
    asked = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[asked], max_tokens=tokens))


def sealed(state: str) -> str:
    return f"{state}.{hmac.new(SECRET, state.encode(), hashlib.sha256).hexdigest()}"


def opened(state: str) -> str:
    said, _, _ = state.rpartition(".")
    if not hmac.compare_digest(sealed(said).encode(), state.encode()):
        raise MCPError(types.INVALID_PARAMS, "the state was changed")
    return said


def asking(name: str, requests: Callable[[], types.InputRequests], *, state: str | None = None) -> None:
    """A tool that asks for all of these and says what it was told."""

    async def handler(ctx: Context, params: types.CallToolRequestParams) -> Answer:
        if params.request_state is not None:
            opened(params.request_state)
        wanted, answers = requests(), params.input_responses or {}
        if any(key not in answers for key in wanted) or (state is not None and params.request_state is None):
            return types.InputRequiredResult(input_requests=wanted, request_state=None if state is None else sealed(state))
        said = "state-ok" if state is not None else "answered"
        return text(f"{said}: {[answers[key].model_dump(mode='json', exclude_none=True) for key in wanted]}")

    declare(name, handler)


asking("test_input_required_result_elicitation", lambda: {"user_name": form("What is your name?", "name")})
asking("test_streaming_elicitation", lambda: {"user_name": form("What is your name?", "name")})
asking("test_input_required_result_sampling", lambda: {"capital_question": sample("What is the capital of France?")})
asking("test_input_required_result_list_roots", lambda: {"client_roots": types.ListRootsRequest()})
asking("test_input_required_result_request_state", lambda: {"confirm": form("Please confirm", "ok", "boolean")}, state="confirming")
asking("test_input_required_result_tampered_state", lambda: {"confirm": form("Please confirm", "ok", "boolean")}, state="confirming")
asking(
    "test_input_required_result_multiple_inputs",
    lambda: {
        "user_name": form("What is your name?", "name"),
        "greeting": sample("Generate a greeting", 50),
        "client_roots": types.ListRootsRequest(),
    },
    state="several",
)


@tool("test_input_required_result_multi_round")
async def rounds(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    reached = opened(params.request_state) if params.request_state is not None else ""
    answers = params.input_responses or {}
    if reached == "two" and "step2" in answers:
        return text("all rounds are over")
    if reached == "one" and "step1" in answers:
        return types.InputRequiredResult(
            input_requests={"step2": form("Step 2: What is your favorite color?", "color")}, request_state=sealed("two")
        )
    return types.InputRequiredResult(input_requests={"step1": form("Step 1: What is your name?", "name")}, request_state=sealed("one"))


@tool("test_input_required_result_capabilities")
async def capable(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    able = ctx.session.client_capabilities
    wanted: dict[str, Any] = {}
    if able is not None and able.elicitation is not None:
        wanted["user_name"] = form("What is your name?", "name")
    if able is not None and able.sampling is not None:
        wanted["greeting"] = sample("Generate a greeting")
    if not wanted or all(key in (params.input_responses or {}) for key in wanted):
        return text("nothing more to ask")
    return types.InputRequiredResult(input_requests=wanted)


@tool("test_missing_capability")
async def missing(ctx: Context, params: types.CallToolRequestParams) -> Answer:
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    if not ctx.session.check_client_capability(needed):
        raise MCPError(-32_021, "this needs sampling", {"requiredCapabilities": {"sampling": {}}})
    return text("the client can be asked")


ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
TOOLS["json_schema_2020_12_tool"] = (
    types.Tool(
        name="json_schema_2020_12_tool",
        description="Has words of JSON Schema 2020-12.",
        input_schema={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"$anchor": "addressDef", **ADDRESS}},
            "properties": {
                "name": {"type": "string"},
                "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"},
                "email": {"type": "string"},
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": False,
        },
    ),
    simple,
)

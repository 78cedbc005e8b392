"""A server that has everything the conformance suites ask for, on the official Python SDK: what it answers alone is what it must answer
behind the gateway. Both eras, over Streamable HTTP, on a port of its own; prints the port.

    python -m tests.gateway.peers.reference_server
"""

from __future__ import annotations

import asyncio
import json
import socket
import warnings
from functools import partial
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

from tests.gateway.peers import reference_tools
from tests.gateway.peers.reference_tools import IMAGE, Context, text

CACHED = ("tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read", "server/discover")
PROMPT_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}
bus = InMemorySubscriptionBus()


async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=reference_tools.listed())


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
    if params.name == "test_trigger_tool_change":
        await bus.publish(ToolsListChanged())
        return text("told")
    if params.name == "test_trigger_prompt_change":
        await bus.publish(PromptsListChanged())
        return text("told")
    return await reference_tools.call(ctx, params)


RESOURCES = [
    types.Resource(uri="test://static-text", name="static-text", description="Text.", mime_type="text/plain"),
    types.Resource(uri="test://static-binary", name="static-binary", description="An image.", mime_type="image/png"),
    types.Resource(uri="test://watched-resource", name="watched-resource", description="One to subscribe to.", mime_type="text/plain"),
]


async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=RESOURCES)


async def list_templates(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourceTemplatesResult:
    one = types.ResourceTemplate(
        uri_template="test://template/{id}/data", name="template", description="By id.", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[one])


async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    content: types.TextResourceContents | types.BlobResourceContents
    if uri == "test://static-text":
        content = types.TextResourceContents(uri=uri, mime_type="text/plain", text="This is the content of the static text resource.")
    elif uri == "test://static-binary":
        content = types.BlobResourceContents(uri=uri, mime_type="image/png", blob=IMAGE)
    elif uri == "test://watched-resource":
        content = types.TextResourceContents(uri=uri, mime_type="text/plain", text="watched")
    elif uri.startswith("test://template/") and uri.endswith("/data"):
        number = uri.removeprefix("test://template/").removesuffix("/data")
        found = json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})
        content = types.TextResourceContents(uri=uri, mime_type="application/json", text=found)
    else:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})
    return types.ReadResourceResult(contents=[content])


async def nothing(ctx: Context, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(
        prompts=[
            types.Prompt(
                name=name,
                description=f"The prompt {name}.",
                arguments=[types.PromptArgument(name=one, description="Text.", required=True) for one in arguments],
            )
            for name, arguments in PROMPT_ARGUMENTS.items()
        ]
    )


async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    if params.name == "test_simple_prompt":
        return said(types.TextContent(type="text", text="This is a simple prompt for testing."))
    if params.name == "test_prompt_with_arguments":
        found = f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"
        return said(types.TextContent(type="text", text=found))
    if params.name == "test_prompt_with_embedded_resource":
        embedded = types.TextResourceContents(
            uri=given.get("resourceUri", ""), mime_type="text/plain", text="Embedded resource content for testing."
        )
        last = types.TextContent(type="text", text="Please process the embedded resource above.")
        return said(types.EmbeddedResource(type="resource", resource=embedded), last)
    if params.name == "test_prompt_with_image":
        image = types.ImageContent(type="image", data=IMAGE, mime_type="image/png")
        return said(image, types.TextContent(type="text", text="Please analyze the image above."))
    if params.name == "test_input_required_result_prompt":
        answers = params.input_responses or {}
        if "user_context" not in answers:
            return types.InputRequiredResult(
                input_requests={"user_context": reference_tools.form("What context should the prompt use?", "context")}
            )
        return said(types.TextContent(type="text", text=f"In the context {answers['user_context'].model_dump()}"))
    raise MCPError(types.INVALID_PARAMS, f"there is no prompt {params.name}")


def said(*contents: types.ContentBlock) -> types.GetPromptResult:
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=one) for one in contents])


async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    found = [one for one in ("paris", "park", "party") if one.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=found, total=len(found), has_more=False))


def made() -> Server[Any]:
    """The server, with the parts that are deprecated as well: the older suite asks for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server: Server[Any] = Server(
            "reference",
            version="1.0.0",
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            on_list_resources=list_resources,
            on_list_resource_templates=list_templates,
            on_read_resource=read_resource,
            on_subscribe_resource=nothing,
            on_unsubscribe_resource=nothing,
            on_subscriptions_listen=ListenHandler(bus),
            on_list_prompts=list_prompts,
            on_get_prompt=get_prompt,
            on_completion=complete,
            on_set_logging_level=nothing,
            cache_hints={method: CacheHint(ttl_ms=60_000, scope="public") for method in CACHED},  # type: ignore[misc]
        )
    plain = server.create_initialization_options
    changing = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
    server.create_initialization_options = partial(plain, changing)  # type: ignore[method-assign]
    return server


def main() -> None:
    warnings.simplefilter("ignore")
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(made().streamable_http_app(), log_level="error", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


if __name__ == "__main__":
    main()

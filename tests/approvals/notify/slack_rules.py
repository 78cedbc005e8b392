"""What Slack takes in a message and in a form, as its documents of Block Kit say."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def texts_of(value: Any) -> list[Json]:
    """Every text object in blocks, in their order."""
    if isinstance(value, list):
        return [found for entry in value for found in texts_of(entry)]
    if not isinstance(value, dict):
        return []
    if value.get("type") in ("plain_text", "mrkdwn"):
        return [value]
    return [found for entry in value.values() for found in texts_of(entry)]


def wrong_with(fields: Json) -> str | None:
    """Why Slack refuses this message."""
    blocks = fields.get("blocks")
    if not isinstance(fields.get("text"), str) or not isinstance(blocks, list):
        return "no_text"
    if len(fields["text"]) > 40_000:
        return "msg_too_long"
    return "invalid_blocks" if len(blocks) > 50 or not all(map(_is_block, blocks)) else None


def wrong_with_view(view: Json) -> str | None:
    """Why Slack refuses this form."""
    limits = (("title", 24), ("submit", 24), ("close", 24))
    fits = all(view.get(key, {}).get("type") == "plain_text" and 0 < len(view[key]["text"]) <= most for key, most in limits)
    fits = fits and view.get("type") == "modal" and len(view.get("private_metadata", "")) <= 3_000
    return None if fits and 0 < len(view.get("blocks", [])) <= 100 and all(map(_is_block, view["blocks"])) else "invalid_arguments"


def _is_block(block: Json) -> bool:
    match block.get("type"):
        case "header":
            return block["text"]["type"] == "plain_text" and _is_text(block["text"], 150)
        case "section":
            return _is_text(block["text"], 3_000)
        case "context":
            return 0 < len(block["elements"]) <= 10 and all(_is_text(element, 3_000) for element in block["elements"])
        case "actions":
            ids = [element["action_id"] for element in block["elements"]]
            return 0 < len(ids) <= 25 and len(ids) == len(set(ids)) and all(map(_is_button, block["elements"]))
        case "input":
            return _is_text(block["label"], 2_000) and _is_input(block["element"])
        case _:
            return False


def _is_text(text: Json, most: int) -> bool:
    if {"plain_text": "verbatim", "mrkdwn": "emoji"}.get(text.get("type", "")) in text:
        return False
    return text.get("type") in ("plain_text", "mrkdwn") and 0 < len(text["text"]) <= most


def _is_button(button: Json) -> bool:
    fits = button["type"] == "button" and button["text"]["type"] == "plain_text" and _is_text(button["text"], 75)
    fits = fits and len(button.get("value", "")) <= 2_000 and button.get("style", "primary") in ("primary", "danger")
    return bool(fits and len(button.get("url", "")) <= 3_000 and len(button["action_id"]) <= 255)


def _is_input(element: Json) -> bool:
    if element["type"] == "plain_text_input":
        return bool(0 < element.get("max_length", 3_000) <= 3_000)
    options = element.get("options", [])
    return bool(
        element["type"] == "radio_buttons" and 0 < len(options) <= 10 and all(0 < len(option["value"]) <= 150 for option in options)
    )

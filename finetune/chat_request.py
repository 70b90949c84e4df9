"""What a client may ask of the light server: OpenAI's chat completion request, read and bounded.

A parameter that is not obeyed is refused, not ignored. `repetition_penalty` is vLLM's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from engines.contract.errors import UserError
from finetune.rows import Message

DEFAULT_TOKENS = 512
MOST_BODY_BYTES = 4 << 20
# Accepted where they ask for nothing that is not done anyway.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "stop": (None, [], ""),
    "logprobs": (None, False),
    "tools": (None, []),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),  # of no tools
    "store": (None, False),
    "service_tier": (None, "auto", "default"),
    "stream_options": (None, {}, {"include_usage": True}, {"include_usage": False}),  # it comes with the last piece
}
LABELS = {"user", "metadata"}  # they ask for nothing
KNOWN = {
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "repetition_penalty", "seed",
    "stream",
}  # fmt: skip


class Refused(UserError):
    """A request that cannot be answered as it is."""

    def __init__(self, cause: str):
        super().__init__("usage", cause)


@dataclass(frozen=True)
class ChatRequest:
    model: str
    messages: list[Message]
    max_tokens: int
    temperature: float | None  # None: the model's own
    top_p: float
    repetition_penalty: float
    seed: int | None
    stream: bool


async def read_body(request: Request) -> dict[str, Any]:
    """The JSON object of a request. The type must be said: a web page cannot say it to us without being asked first."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused("Send JSON, with the header Content-Type: application/json.")
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MOST_BODY_BYTES:
            raise Refused(f"A request has at most {MOST_BODY_BYTES >> 20} MB.")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused("The body is no JSON object.")
    return body


def read_request(body: dict[str, Any]) -> ChatRequest:
    """Raises Refused with what is wrong."""
    for name, value in body.items():
        if name in NEUTRAL and value not in NEUTRAL[name]:
            raise Refused(f"`{name}` is not supported by the light server; vLLM supports it.")
        if name not in KNOWN and name not in NEUTRAL and name not in LABELS:
            raise Refused(f"`{name[:60]}` is not known to the light server.")
    return ChatRequest(
        model=_typed(body, "model", str, ""),
        messages=_messages(body.get("messages")),
        max_tokens=_number(body, "max_completion_tokens", _number(body, "max_tokens", DEFAULT_TOKENS, 1), 1),
        temperature=None if body.get("temperature") is None else _real(body, "temperature", 1.0, 0.0, 2.0),
        top_p=_real(body, "top_p", 1.0, 1e-6, 1.0),
        repetition_penalty=_real(body, "repetition_penalty", 1.0, 0.1, 10.0),
        seed=None if body.get("seed") is None else _number(body, "seed", 0, 0) % (1 << 32),
        stream=_typed(body, "stream", bool, False),
    )


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise Refused("`messages` must be a list with at least one message.")
    messages: list[Message] = []
    for item in value:
        role, content = (item.get("role"), item.get("content")) if isinstance(item, dict) else (None, None)
        if isinstance(content, list):  # parts, as newer clients send text
            parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
            content = "".join(parts) if len(parts) == len(content) else None
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise Refused("A message has a role (system, user or assistant) and a text as content.")
        messages.append({"role": role, "content": content})
    return messages


def _typed(body: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = body.get(name)
    if value is not None and type(value) is not kind:
        raise Refused(f"`{name}` has a value of the wrong type.")
    return default if value is None else value


def _number(body: dict[str, Any], name: str, default: int, least: int) -> int:
    value: int = _typed(body, name, int, default)
    if value < least:
        raise Refused(f"`{name}` must be at least {least}.")
    return value


def _real(body: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = body.get(name)
    value = default if value is None else value
    if type(value) not in (int, float) or not least <= value <= most:
        raise Refused(f"`{name}` must be from {least:g} to {most:g}.")
    return float(value)

"""What a client may ask of the light server: OpenAI's chat completion request, read and bounded.

A parameter that is not obeyed is refused, not ignored. `repetition_penalty` is vLLM's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engines.contract.errors import UserError
from finetune.model_host import ModelHost
from finetune.rows import Message

DEFAULT_TOKENS = 512
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
}
IGNORED = {"user", "metadata", "store", "stream_options", "service_tier", "tool_choice", "parallel_tool_calls"}
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
    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int | None
    stream: bool


def read_request(body: dict[str, Any], host: ModelHost) -> ChatRequest:
    """Raises Refused with what is wrong."""
    for name, value in body.items():
        if name in NEUTRAL and value not in NEUTRAL[name]:
            raise Refused(f"`{name}` is not supported by the light server; vLLM supports it.")
        if name not in KNOWN and name not in NEUTRAL and name not in IGNORED:
            raise Refused(f"`{name[:60]}` is not known to the light server.")
    messages = _messages(body.get("messages"))
    try:
        prompt = host.count_prompt(messages)
    except Exception as error:  # whatever a chat template raises
        raise Refused(f"The chat template refuses these messages: {str(error)[:200]}") from error
    room = host.longest - prompt
    if room < 1:
        raise Refused(f"The messages have {prompt} tokens, the model takes {host.longest} with the answer.")
    default = host.model.generation_config.temperature
    return ChatRequest(
        model=_typed(body, "model", str, ""),
        messages=messages,
        max_tokens=min(room, _number(body, "max_completion_tokens", _number(body, "max_tokens", DEFAULT_TOKENS, 1), 1)),
        temperature=_real(body, "temperature", 1.0 if default is None else default, 0.0, 2.0),
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

"""The template that turns a dialog into text: the model's own, one fit for training, or the user's."""

from __future__ import annotations

import json
import re
from typing import Any

from engines.contract.errors import UserError

PLACES = re.compile(r"\{(system|user|assistant)\}")
_PROBE = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
    {"role": "assistant", "content": "d"},
]


def for_training(tokenizer: Any) -> str | None:
    """A template whose rendering of a dialog begins with the rendering of its beginning; None: the model's own does.

    Some templates (Qwen3) write earlier answers differently from the last one, so that what is learned could not
    be told apart, nor be what the model sees when it answers. TRL has templates for training for the known ones.
    """
    whole = tokenizer.apply_chat_template(_PROBE, tokenize=False)
    beginning = tokenizer.apply_chat_template(_PROBE[:2], tokenize=False)
    if whole.startswith(beginning):
        return None
    from trl.chat_template_utils import get_training_chat_template

    try:
        return get_training_chat_template(tokenizer)
    except ValueError:
        return None  # not a known one; what the rows need is checked row by row


def from_text(text: str) -> str:
    """A Jinja chat template made of a text such as `### Question: {user} ### Answer: {assistant}`.

    What stands before {user} begins a question, what stands between the two begins an answer, which ends with the
    end-of-sequence token. What stands before {system}, if it is there, begins the system prompt. Blanks before
    {assistant} belong to the answer: tokens begin with their blank, and one that is half prompt is never answered.
    Raises UserError for a text without {user} or {assistant}, or with them in another order.
    """
    parts = PLACES.split(text)
    names, texts = parts[1::2], parts[::2]
    if names not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise UserError(
            "usage",
            "the text template needs {user} and then {assistant}, each once, perhaps after {system}",
            "For example: ### Question: {user} ### Answer: {assistant}",
        )
    prompt = texts[-2].rstrip(" \t")
    before = {name: _quoted(texts[place]) for place, name in enumerate(names)} | {"assistant": _quoted(prompt)}
    before.setdefault("system", '""')
    blanks, end = _quoted(texts[-2].removeprefix(prompt)), _quoted(texts[-1])
    return (
        "{%- for message in messages -%}"
        f"{{%- if message['role'] == 'assistant' -%}}{{{{- {before['assistant']} + {blanks} + message['content'] "
        f"+ eos_token + {end} -}}}}"
        f"{{%- elif message['role'] == 'system' -%}}{{{{- {before['system']} + message['content'] + '\\n' -}}}}"
        f"{{%- else -%}}{{{{- {before['user']} + message['content'] -}}}}{{%- endif -%}}"
        "{%- endfor -%}"
        f"{{%- if add_generation_prompt -%}}{{{{- {before['assistant']} -}}}}{{%- endif -%}}"
    )


def _quoted(text: str) -> str:
    """As a string of a Jinja template."""
    return json.dumps(text, ensure_ascii=False)

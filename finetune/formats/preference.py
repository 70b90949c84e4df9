"""Preferences: of two answers the preferred one is learned; the other is for those who look at the row.

{"prompt": …, "chosen": …, "rejected": …}                 texts or messages; without prompt, whole dialogs
{"prompt": …, "completion": …, "label": true}             false: a bad answer, so the row is left out
{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}
"""

from __future__ import annotations

from typing import Any

from finetune.formats.dialog import BadRow, Dialog, Turn, describe
from finetune.formats.format import RowFormat
from finetune.formats.prompt_completion import as_turns


class Preferred(Dialog, dict=True, gc=True, rename={"turns": "messages"}):
    """A dialog beside which stands, as `rejected`, the text of the other answer: no field, so it is never written."""


def matches(row: dict[str, Any]) -> bool:
    unpaired = {"prompt", "completion", "label"} <= row.keys() and isinstance(row["label"], bool)
    return unpaired or {"chosen", "rejected"} <= row.keys() or {"input", "preferred_output"} <= row.keys()


def read(row: dict[str, Any]) -> Dialog:
    """Raises BadRow."""
    if "preferred_output" in row and "input" in row:
        asked = row["input"]
        asked = asked.get("messages") if isinstance(asked, dict) else asked
        turns = as_turns(asked, "user", "input") + as_turns(row["preferred_output"], "assistant", "output")
        return _beside(turns, row.get("non_preferred_output"))
    if "chosen" in row:
        prompt = as_turns(row["prompt"], "user", "prompt") if row.get("prompt") else []
        chosen = as_turns(row["chosen"], "assistant", "chosen")
        if prompt and chosen[: len(prompt)] == prompt:  # some repeat the prompt in both answers
            prompt = []
        if not prompt and not any(turn.role == "user" for turn in chosen):
            raise BadRow(f"found {describe(row)}, expected a prompt")
        return _beside(prompt + chosen, row.get("rejected"))
    if not row["label"]:
        return Dialog()  # an answer that should not be given
    return Dialog(as_turns(row["prompt"], "user", "prompt") + as_turns(row["completion"], "assistant", "completion"))


def _beside(turns: list[Turn], rejected: Any) -> Dialog:
    """With the last answer in `rejected`, which may be anything."""
    dialog = Preferred(turns)
    try:
        said = as_turns(rejected, "assistant", "rejected")
    except BadRow:
        said = []
    vars(dialog)["rejected"] = next((turn.content for turn in reversed(said) if turn.role == "assistant"), "")
    return dialog


FORMAT = RowFormat("preference", matches, read)

"""What the pre-flight of a training found, in words: the same for the app and the command line."""

from __future__ import annotations

from typing import Any

from ftui import command_line
from ftui.format import count, duration, size

PARTS = ("runtime", "weights", "adapter", "optimizer", "gradients", "activations", "logits")


def facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, figures), in the order in which one wants to know them."""
    end, memory = found["end_of_turn"], found["memory"]
    lost = found["shortened"] + found["dropped"]
    fits = "fits" if found["fits"] else "does NOT fit"
    gguf = [("GGUF", _gguf(found["gguf"]))] if found.get("gguf") else []
    return [
        ("data", f"{count(found['rows'])} rows to train on, {count(found['eval_rows'])} held out{_sampled(found)}"),
        (
            "tokens",
            f"{count(found['tokens_per_epoch'])} an epoch, {count(found['learned_tokens_per_epoch'])} of them learned; "
            f"longest row {count(found['longest'])}",
        ),
        ("cut", f"{count(lost)} of {count(found['dialogs'])} dialogs ({lost / max(1, found['dialogs']):.1%})"),
        ("steps", f"{count(found['steps_per_epoch'])} an epoch, {count(found['steps'])} in all"),
        ("end of turn", f"{end['token'] or 'none'} is learned in {end['learned']} of {end['rows']} rows"),
        (
            "model",
            f"{_millions(found['parameters'])} parameters, {_millions(found['trained_parameters'])} trained; "
            f"result {size(found['result_bytes'])}",
        ),
        ("memory", f"{size(memory['total'])} at the peak of {size(memory['free'])} free on {found['device']}: {fits}"),
        ("", ", ".join(f"{part} {size(memory[part])}" for part in PARTS if memory[part])),
        ("disk", f"up to {size(found['disk_bytes'])} of {size(found['disk_free'])} free{_disk(found)}"),
        ("time", _time(found)),
        *gguf,
    ]


def advice(found: dict[str, Any]) -> list[str]:
    """What would make it fit, or why nothing will; where it fits, what would make it faster."""
    if found["fits"]:
        changes = " ".join(command_line.flags(found["faster"]))
        return [f"there is memory enough to be about a third faster: {changes}"] if changes else []
    changes, after = found["changes"], size(found["memory_after_changes"])
    if not found["fits_after_changes"]:
        return [f"nothing makes it fit: {after} at the least. Choose a smaller base model, or free some memory"]
    return [f"to make it fit ({after}): {' '.join(command_line.flags(changes))}"]


def _sampled(found: dict[str, Any]) -> str:
    return f"; tokens, cuts and steps are estimated from {count(found['sampled'])} dialogs" if found["sampled"] else ""


def _disk(found: dict[str, Any]) -> str:
    return "" if found["fits_disk"] else ": does NOT fit. Free some space, or keep fewer checkpoints"


def _gguf(answer: dict[str, Any]) -> str:
    if answer["converts"]:
        return "llama.cpp's converters know this base model: the result can be exported"
    return f"the result can NOT be exported: {answer['why']}"


def _time(found: dict[str, Any]) -> str:
    probe = found.get("probe")
    measured = f"; {size(probe['memory'])} measured" if probe else ""
    if found["seconds"] is None:
        return "not known yet: no run of this kind has ended here; a probe measures it"
    return f"about {duration(found['seconds'])}, by {found['seconds_from']}{measured}"


def _millions(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.2f} million"

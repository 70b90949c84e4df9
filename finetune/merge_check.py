"""Does a merged model say what base and adapter say together? Both are run, one after the other."""

from __future__ import annotations

import gc
import math
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.running import devices
from engines.weights import tensor_files
from finetune import evaluation_sets
from finetune.base_model import load_model, load_tokenizer

ROWS = 16  # for the perplexity
LOGIT_ROWS, LOGIT_PLACES = 4, 32  # the last so many tokens of the first so many rows
MAX_LENGTH = 512
MEMORY_FACTOR = 1.3  # of the weights; what computing takes beside them


def compare(
    base: Path,
    adapter: Path,
    merged: Path,
    dataset: Path | None,
    eval_share: float,
    tokenizer_folder: Path | None = None,
) -> dict[str, Any]:
    """Figures of the difference; empty where the memory is not enough. Raises UserError for a model that fails.

    merged: a folder, or a GGUF file, whose tokenizer then is in `tokenizer_folder`.
    max_logit_difference; same_choice: share of places where both find the same token likeliest; perplexity and
    perplexity_merged, on held-out rows or else on general questions.
    """
    precision = fitting_precision(base)
    if precision is None:
        return {}
    emit("phase", name="check", text=f"running base with adapter, then the merged model, in {precision}")
    tokenizer = load_tokenizer(str(tokenizer_folder or merged))
    rows = held_out_rows(tokenizer, dataset, eval_share)
    reference = _measure(adapted(base, adapter, precision), rows)
    gc.collect()
    try:
        model = load_model(str(merged), "cpu", precision)
    except (ValueError, RuntimeError, KeyError) as error:
        raise UserError("failed", f"the merged model does not load: {str(error)[:200]}", "Read the log.") from error
    found = _measure(model, rows)
    pairs = list(zip(reference[1], found[1], strict=True))
    same = [bool(match) for one, other in pairs for match in (one.argmax(-1) == other.argmax(-1)).flatten()]
    return {
        "max_logit_difference": round(max(float((one - other).abs().max()) for one, other in pairs), 4),
        "same_choice": round(sum(same) / len(same), 4),
        "perplexity": round(reference[0], 4),
        "perplexity_merged": round(found[0], 4),
        "checked_in": precision,
    }


def fitting_precision(base: Path) -> str | None:
    """fp32, or bf16, in which the memory is enough to run a model; None, with a warning, where it is for neither."""
    values = sum(math.prod(tensor.shape) for tensor in tensor_files.read_model(base).values())
    free = devices.free_memory()
    precision = next((name for name, size in (("fp32", 4), ("bf16", 2)) if values * size * MEMORY_FACTOR < free), None)
    if precision is None:
        needed = values * 2 * MEMORY_FACTOR / 1e9
        emit("warning", text=f"not compared: running it takes {needed:.0f} GB of memory, {free / 1e9:.0f} GB are free")
    return precision


def held_out_rows(tokenizer: Any, dataset: Path | None, eval_share: float) -> list[tuple[list[int], list[int]]]:
    """(token ids, labels) to compare models on: held-out rows of the dataset, or else general questions."""
    from finetune import rows

    if dataset is not None:
        chosen = evaluation_sets.held_out(dataset, eval_share, tokenizer, MAX_LENGTH, ROWS).dialogs
    else:
        chosen = evaluation_sets.general(tokenizer, MAX_LENGTH).dialogs[:ROWS]
    encoded = rows.encode(chosen, tokenizer, MAX_LENGTH)
    return list(zip(encoded.input_ids, encoded.labels, strict=True))


def adapted(base: Path, adapter: Path, precision: str) -> Any:
    """Base with adapter on the CPU, not merged."""
    from peft import PeftModel

    return PeftModel.from_pretrained(load_model(str(base), "cpu", precision), adapter, is_trainable=False)


def _measure(model: Any, rows: list[tuple[list[int], list[int]]]) -> tuple[float, list[Any]]:
    """(perplexity, logits of some places)."""
    import torch

    from finetune.scoring import score_rows

    model.eval()
    scores = score_rows(model, rows, 4, lambda count: None).sum(0)
    with torch.inference_mode():
        logits = [model(torch.tensor([ids])).logits[0, -LOGIT_PLACES:].float() for ids, _ in rows[:LOGIT_ROWS]]
    return math.exp(scores[0] / max(1, scores[1])), logits

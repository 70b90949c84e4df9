"""Compare a base model with an adapter on the held-out part of a dataset.

    python -m finetune.evaluate --dataset D_dataset.jsonl --model FOLDER --adapter ADAPTER/final \
        [--config CONFIG.json] [--prompt TEXT ...]

Perplexity = exp(sum of the negative log-likelihoods of all learned tokens / their number),
over the held-out conversations, of the base alone and with the adapter; the answers of
both to each prompt. The config is the one the adapter was trained with: it decides which
conversations are held out.
"""

from __future__ import annotations

import argparse
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from engines.config import TrainConfig, load
from engines.errors import UserError
from engines.events import emit
from engines.run_protocol import run_script, stop_requested, write_result
from finetune import base_model, rows
from finetune.generate import answer


def mean_loss(model: Any, encoded: rows.Encoded, title: str) -> float:
    """Negative log-likelihood per learned token, in nats."""
    import torch

    total, tokens = 0.0, 0
    for index, (ids, labels) in enumerate(zip(encoded.input_ids, encoded.labels, strict=True)):
        if stop_requested():
            break
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0, :-1].float()
            target = torch.tensor(labels[1:], device=model.device)
            total += torch.nn.functional.cross_entropy(
                logits, target, ignore_index=rows.IGNORED, reduction="sum"
            ).item()
        tokens += sum(label != rows.IGNORED for label in labels[1:])
        emit("progress", done=index + 1, total=len(encoded.input_ids), unit="rows", text=title)
    return total / max(tokens, 1)


def load_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapter on it. Raises UserError if it was made for another base."""
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError("not_found", f"{folder} has no adapter_model.safetensors", "Train it again, or choose another.")
    try:
        return PeftModel.from_pretrained(model, folder)
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0][:160]
        raise UserError(
            "conflict",
            f"the adapter does not fit this base model: {first}",
            "Use the base model that it was trained on (`ftui adapters list`).",
        ) from error


def evaluate(arguments: argparse.Namespace) -> None:
    config = load(TrainConfig, arguments.config)
    device = base_model.choose_device(config.device)
    base_model.set_threads()
    precision = base_model.choose_precision(config.precision, device)
    emit("phase", name="load", text=f"loading {arguments.model} on {device}, {precision}")
    tokenizer = base_model.load_tokenizer(arguments.model)
    _, held_out = rows.read_parts(arguments.dataset, config.eval_share)
    encoded = rows.encode(held_out, tokenizer, config.max_seq_length)
    if not encoded.input_ids:
        raise UserError("bad_input", "the dataset has no held-out part", "Train with eval_share above 0.")
    model = load_adapter(base_model.load_model(arguments.model, device, precision), arguments.adapter).eval()
    figures: dict[str, Any] = {
        "rows": len(encoded.input_ids),
        "tokens": encoded.learned_tokens,
        "conversations": len({dialog.conversation for dialog in held_out}),
    }
    answers = [{"prompt": prompt} for prompt in arguments.prompt]
    for title, context in (("base", model.disable_adapter()), ("adapted", nullcontext())):
        emit("phase", name=title, text=f"held-out part and prompts, {title}")
        with context:
            loss = mean_loss(model, encoded, title)
            figures[f"{title}_loss"], figures[f"{title}_perplexity"] = loss, math.exp(min(loss, 700))
            for item in answers:
                item[title] = answer(model, tokenizer, [{"role": "user", "content": item["prompt"]}])
    if stop_requested():
        write_result("stopped")
        return
    write_result("done", **figures, answers=answers)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a base model with an adapter on held-out dialogs.")
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--prompt", action="append", default=[])
    evaluate(parser.parse_args())


if __name__ == "__main__":
    run_script(main)

"""The memory that the pre-flight foretells against the peak of the training itself, on a CPU.

    python -m benchmarks.memory [--steps 2]

Each configuration is estimated, then trained for some steps in a process of its own, whose peak since the model was
loaded is read from the kernel. Wanted: each within 15 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engines.config.train import TrainConfig
from engines.contract import events
from engines.llm import LLMEngine
from engines.workspace import Workspace

WITHIN = 0.15
BASE = {"save_steps": 1000, "sample_tokens": 0, "eval_share": 0.0, "device": "cpu", "use_best": False}
# rows of so many words, and what differs from the defaults
GRID: list[tuple[int, dict[str, Any]]] = [
    (60, {"gradient_accumulation_steps": 1, "gradient_checkpointing": False}),
    (60, {"gradient_accumulation_steps": 8, "gradient_checkpointing": False}),
    (60, {"gradient_accumulation_steps": 8, "gradient_checkpointing": False, "precision": "fp32"}),
    (400, {"gradient_accumulation_steps": 2, "gradient_checkpointing": False}),
    (400, {"gradient_accumulation_steps": 2, "gradient_checkpointing": True}),
    (400, {"gradient_accumulation_steps": 1, "batch_size": 4, "gradient_checkpointing": False}),
    (400, {"gradient_accumulation_steps": 1, "batch_size": 4, "gradient_checkpointing": True}),
    (400, {"gradient_accumulation_steps": 1, "batch_size": 4, "gradient_checkpointing": True, "precision": "fp32"}),
    (400, {"gradient_accumulation_steps": 2, "target_modules": ["all-linear"], "gradient_checkpointing": False}),
    (400, {"gradient_accumulation_steps": 2, "target_modules": ["all-linear"], "lora_rank": 64,
           "gradient_checkpointing": True}),
    (400, {"gradient_accumulation_steps": 2, "use_dora": True, "gradient_checkpointing": True}),
    (60, {"gradient_accumulation_steps": 4, "method": "full", "learning_rate": 1e-5, "gradient_checkpointing": True}),
    (400, {"gradient_accumulation_steps": 1, "method": "full", "learning_rate": 1e-5,
           "gradient_checkpointing": False}),
    (1200, {"gradient_accumulation_steps": 2, "gradient_checkpointing": True}),
    (1200, {"gradient_accumulation_steps": 2, "gradient_checkpointing": False}),
    (200, {"gradient_accumulation_steps": 2, "quantization": "nf4", "gradient_checkpointing": True}),
    (400, {"gradient_accumulation_steps": 2, "quantization": "nf4", "gradient_checkpointing": False}),
    (60, {"gradient_accumulation_steps": 1, "batch_size": 4, "loss": "examples/contrastive_loss.py:contrastive",
          "gradient_checkpointing": False}),
    (200, {"gradient_accumulation_steps": 1, "batch_size": 4, "base_model": "capped logits"}),
    (60, {"gradient_accumulation_steps": 1, "batch_size": 4, "base_model": "capped attention"}),
]  # fmt: skip
SIZES = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "sliding_window": 64,
}  # fmt: skip


def write_rows(path: Path, words: int) -> None:
    text = " ".join(f"word{number % 97}" for number in range(words // 2))
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{number} {text}"},
                {"role": "assistant", "content": f"{text} {number}"},
            ],
            "conversation": str(number),
        }
        for number in range(24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_random(kind: str, embedded: Path, folder: Path) -> Path:
    """A random model of a family with `kind`, with the tokenizer of the embedded one: rows of its own, 49,000 words."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(embedded)
    sizes = {**SIZES, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if kind == "plain":
        model = transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**sizes))
    elif kind == "capped attention":
        model = transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**sizes))
    else:
        alone = {"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0] * 6, "intermediate_size": [512] * 6}
        small = {"vocab_size_per_layer_input": len(tokenizer), "hidden_size_per_layer_input": 32, "laurel_rank": 16}
        model = transformers.Gemma3nForCausalLM(transformers.Gemma3nTextConfig(**{**sizes, **alone, **small}))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained(engine: LLMEngine, dataset: Path, config: TrainConfig, folder: Path) -> int:
    """The peak of a real training, in bytes."""
    (folder / "config.json").write_text(config.model_dump_json())
    argv = [sys.executable, "-m", "finetune.train", "--dataset", str(dataset), "--config", str(folder / "config.json")]
    argv += ["--model", engine.models.resolve(config.base_model, "cpu"), "--checkpoints", str(folder / "checkpoints")]
    done = subprocess.run([*argv, "--output", str(folder / "out")], capture_output=True, timeout=900, env=os.environ)
    for line in done.stdout.splitlines():
        event = events.parse(line)
        if event and event["event"] == "result":
            return int(event["memory"])
    raise RuntimeError(done.stdout.decode()[-500:] + done.stderr.decode()[-2000:])


def main() -> None:
    parser = argparse.ArgumentParser(description="The memory foretold against the memory taken.")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--home", type=Path, help="a workspace that has the embedded model already")
    arguments = parser.parse_args()
    misses = 0
    print(f"{'words':>5} {'foretold':>9} {'taken':>9} {'off by':>7}  configuration")
    with tempfile.TemporaryDirectory() as place:
        engine = LLMEngine(Workspace(arguments.home or place))
        for number, (words, changes) in enumerate(GRID):
            folder = Path(place) / str(number)
            folder.mkdir()
            dataset = folder / "rows_dataset.jsonl"
            write_rows(dataset, words)
            values = {**BASE, "max_steps": arguments.steps, "max_seq_length": 4096, **changes}
            if kind := values.pop("base_model", ""):
                values["base_model"] = str(make_random(kind, engine.models.embedded, folder / "model"))
            config = TrainConfig(**values)
            foretold = engine.preflight(engine.datasets.get(str(dataset)), config)["memory"]["total"]
            taken = trained(engine, dataset, config, folder)
            off = foretold / taken - 1
            misses += abs(off) > WITHIN
            print(f"{words:>5} {foretold / 1e6:>6.0f} MB {taken / 1e6:>6.0f} MB {off:>+7.1%}  {changes}", flush=True)
    print(f"{len(GRID) - misses} of {len(GRID)} within {WITHIN:.0%}")
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()

"""Training the embedded model, against LLaMA-Factory 0.9.5 with its own defaults.

    python -m benchmarks.llama_factory ENVIRONMENT --make     # once: its own environment, 2 GB
    python -m benchmarks.llama_factory ENVIRONMENT [--steps 12] [--runs 3] [--rows mixed] [--model FOLDER]

Both do the job of benchmarks/one_training.py. LLaMA-Factory runs in ENVIRONMENT, for it wants older libraries than
ours; what is set is what the job is, everything else is as it comes: on a CPU fp32 with gradient checkpointing. Run
in turn; medians over runs; prints both loss curves; ends with 1 where a goal is missed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from functools import partial
from pathlib import Path

from benchmarks.one_training import (
    DATASET,
    ROWS_PER_STEP,
    arguments_of,
    compared,
    interleaved,
    sample_config,
    sample_rows,
    with_model,
)
from benchmarks.terminal import report
from engines.config.train import TrainConfig

LEAST_SPEED = 3.5
# What its training needs; installed whole it brings a CUDA build of torch, torchvision and a web interface.
PACKAGES = [
    "torch", "transformers==4.57.1", "datasets==4.0.0", "accelerate==1.11.0", "peft==0.18.1", "trl==0.24.0",
    "torchdata==0.11.0", "av", "einops", "fastapi", "fire", "hf-transfer", "matplotlib", "modelscope", "numpy<2.4",
    "omegaconf", "packaging", "pandas", "protobuf", "pydantic", "pyyaml", "safetensors", "scipy", "sentencepiece",
    "sse-starlette", "tiktoken", "tyro<0.9", "uvicorn",
]  # fmt: skip
RUN = """
import json, sys, types
from transformers import TrainerCallback
sys.modules["torchaudio"] = types.ModuleType("torchaudio")  # imported for sound, which there is none of
from llamafactory.data.formatter import StringFormatter
from llamafactory.data.template import register_template
from llamafactory.train.tuner import run_exp

# As its smollm2, but the line break after an answer is not learned: the same tokens count in both losses.
register_template(
    name="without_break",
    format_system=StringFormatter(slots=["<|im_start|>system\\n{{content}}<|im_end|>"]),
    format_user=StringFormatter(
        slots=["\\n<|im_start|>user\\n{{content}}<|im_end|>\\n<|im_start|>assistant\\n"]
    ),
    format_assistant=StringFormatter(slots=["{{content}}<|im_end|>"]),
    stop_words=["<|im_end|>"],
    default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
)

class Printer(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in (logs or {}):
            print(json.dumps({"event": "metrics", "step": state.global_step, "loss": logs["loss"]}), flush=True)

with open(sys.argv[1]) as file:
    run_exp(json.load(file), callbacks=[Printer()])
"""


def make_environment(folder: Path) -> None:
    """LLaMA-Factory and what its training imports. pip needs an index with a CPU build of torch."""
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *PACKAGES], check=True)
    subprocess.run([*pip, "--no-deps", "llamafactory==0.9.5"], check=True)


def job(folder: Path, model: Path, config: TrainConfig) -> dict[str, object]:
    """The job in LLaMA-Factory's words."""
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(model),
        "dataset": "sample",
        "dataset_dir": str(folder),
        "template": "without_break",
        "cutoff_len": config.max_seq_length,
        "finetuning_type": "lora",
        "lora_rank": config.lora_rank,
        "lora_alpha": int(config.lora_alpha),
        "lora_dropout": config.lora_dropout,
        "lora_target": ",".join(config.target_modules),
        "per_device_train_batch_size": ROWS_PER_STEP,
        "max_steps": config.max_steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_schedule,
        "warmup_ratio": config.warmup_ratio,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
        "data_seed": config.seed,
        "logging_steps": 1,
        "output_dir": str(folder / "llama-factory"),
        "overwrite_output_dir": True,
        "overwrite_cache": True,
        "report_to": "none",
    }


def for_older_transformers(model: Path, copy: Path) -> Path:
    """The same model with its settings as transformers 4 reads them, in the folder `copy`."""
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).symlink_to(file)
    config = json.loads((model / "config.json").read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    for name, document in (("config.json", config), ("tokenizer_config.json", tokenizer)):
        (copy / name).unlink()
        (copy / name).write_text(json.dumps(document))
    return copy


def compare(environment: Path, steps: int, runs: int, rows_are: str, folder: Path, model: Path) -> int:
    config = sample_config(steps)
    sample_rows(folder, model, config, rows_are)
    described = {
        "file_name": DATASET,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
                 "system_tag": "system"},
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps({"sample": described}))
    (folder / "job.json").write_text(json.dumps(job(folder, for_older_transformers(model, folder / "older"), config)))
    theirs = [str(environment / "bin" / "python"), "-c", RUN, str(folder / "job.json")]
    found = compared(*interleaved(folder, model, steps, runs, "LLaMA-Factory", theirs))
    return report(
        [
            ("tokens per CPU second, against LLaMA-Factory", f"{found.cpu:.2f} times", f"{LEAST_SPEED}",
             found.cpu >= LEAST_SPEED),
            ("tokens per second", f"{found.wall:.2f} times", f"{LEAST_SPEED}", found.wall >= LEAST_SPEED),
            found.row_of_losses(),
        ]
    )  # fmt: skip


def main() -> int:
    parser = arguments_of(__doc__)
    parser.add_argument("environment", type=Path, help="LLaMA-Factory's own environment")
    parser.add_argument("--make", action="store_true", help="make the environment, and end")
    arguments = parser.parse_args()
    environment = arguments.environment.absolute()
    if arguments.make:
        make_environment(environment)
        return 0
    if not (environment / "bin" / "python").exists():
        sys.exit(f"there is no environment at {environment}: make it with --make")
    work = partial(compare, environment, arguments.steps, arguments.runs, arguments.rows)
    return with_model(arguments, work)


if __name__ == "__main__":
    raise SystemExit(main())

"""Peak memory and time of a streamed merge, beside peft's `merge_and_unload` and beside the disk.

    python -m benchmarks.merge MODEL_FOLDER [--large]

Each in a process of its own, by turns, median of `--rounds`; above: memory over what importing takes. --large also
writes a model of the shape of a 7B one (15.2 GB in 8 sparse files) and an adapter of rank 16 on q, k and v, merges it,
and copies as many bytes with `cp` beside it. Wanted: under 1.5 GB of memory, at most 3 times as long as the copy.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engines.weights.tensor_files import Tensor
from finetune.merge_plan import head_of

MOST_BYTES, MOST_TIMES = 1.5e9, 3
WIDTH, MIDDLE, LAYERS, KEY_WIDTH, WORDS, RANK, FILES = 3584, 18944, 28, 512, 152064, 16, 8
ADAPTED = {"q_proj": WIDTH, "k_proj": KEY_WIDTH, "v_proj": KEY_WIDTH}  # and how many outputs each has
BY_PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
torch.set_num_threads(2)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16), sys.argv[2])
model.merge_and_unload().save_pretrained(sys.argv[3])
"""
BY_US = "from finetune.merge_adapter import main; main()"
ONLY_IMPORTS = {"peft": "import torch, peft, transformers; transformers.LlamaForCausalLM; peft.PeftModel",
                "streamed": "import torch, safetensors, finetune.merge_adapter"}  # fmt: skip


def measured(code: str, *arguments: str) -> tuple[float, float, float]:
    """(peak memory in bytes, wall seconds, CPU seconds) of a Python process."""
    watcher = (
        "import json, resource, subprocess, sys, time; began = time.monotonic();"
        "argv = [sys.executable, '-c', *sys.argv[1:]];"
        "done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); sys.stderr.buffer.write(done.stderr[-2000:]);"
        "print(json.dumps([used.ru_maxrss * 1024, time.monotonic() - began, used.ru_utime + used.ru_stime]));"
        "sys.exit(done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", watcher, code, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    peak, wall, cpu = json.loads(done.stdout)
    return peak, wall, cpu


def real_adapter(model: Path, folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16),
        LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj"]),
    )
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    adapted.save_pretrained(folder)
    return folder


def small(model: Path, place: Path, rounds: int) -> None:
    adapter = real_adapter(model, place / "adapter")
    config = place / "merge.json"
    config.write_text('{"check": false}')
    found: dict[str, list[tuple[float, float, float]]] = {"peft": [], "streamed": []}
    for _ in range(rounds):
        for name, code, more in (("peft", BY_PEFT, []), ("streamed", BY_US, ["--config", str(config)])):
            output = place / f"out-{name}"
            found[name].append(measured(code, str(model), str(adapter), str(output), *more))
            shutil.rmtree(output)
    print(f"{'':<10} {'peak':>8} {'above':>8} {'wall':>7} {'CPU':>7}")
    for name, values in found.items():
        peak, wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        above = peak - measured(ONLY_IMPORTS[name])[0]
        print(f"{name:<10} {peak / 1e6:>5.0f} MB {above / 1e6:>5.0f} MB {wall:>5.1f} s {cpu:>5.1f} s", flush=True)


def write_sparse(file: Path, tensors: dict[str, Tensor]) -> None:
    with open(file, "wb") as out:
        out.write(head_of(tensors))
        out.truncate(out.tell() + sum(tensor.size for tensor in tensors.values()))


def large_model(folder: Path) -> tuple[Path, Path]:
    """(base, adapter): heads of real shape; zeros that take no disk; the adapter's B is not zero."""
    import torch
    from safetensors.torch import save_file

    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, WIDTH)}
    adapter: dict[str, torch.Tensor] = {}
    for number in range(LAYERS):
        layer = f"model.layers.{number}"
        for name, rows in ADAPTED.items():
            shapes[f"{layer}.self_attn.{name}.weight"] = (rows, WIDTH)
            shapes[f"{layer}.self_attn.{name}.bias"] = (rows,)
            path = f"base_model.model.{layer}.self_attn.{name}"
            adapter[f"{path}.lora_A.weight"] = torch.randn(RANK, WIDTH)
            adapter[f"{path}.lora_B.weight"] = torch.randn(rows, RANK)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (WIDTH, WIDTH)
        shapes |= {f"{layer}.mlp.{name}_proj.weight": (MIDDLE, WIDTH) for name in ("gate", "up")}
        shapes |= {f"{layer}.mlp.down_proj.weight": (WIDTH, MIDDLE)}
        shapes |= {f"{layer}.{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (WIDTH,), "lm_head.weight": (WORDS, WIDTH)}
    base, final = folder / "large-base", folder / "large-adapter"
    base.mkdir()
    final.mkdir()
    names = list(shapes)
    for number in range(FILES):
        part = names[number * len(names) // FILES : (number + 1) * len(names) // FILES]
        write_sparse(base / f"model-{number}.safetensors", {name: Tensor("BF16", shapes[name]) for name in part})
    (base / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": false}')
    save_file(adapter, final / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": list(ADAPTED)}
    (final / "adapter_config.json").write_text(json.dumps(config))
    return base, final


def copied(folder: Path, place: Path) -> float:
    """Seconds until a copy of a folder is on the disk, holes and all."""
    copy = place / "copy"
    began = time.monotonic()
    subprocess.run(["cp", "--sparse=never", "--reflink=never", "-r", str(folder), str(copy)], check=True)
    subprocess.run(["sync", "-f", str(copy)], check=True)
    seconds = time.monotonic() - began
    shutil.rmtree(copy)
    return seconds


def large(place: Path) -> bool:
    base, adapter = large_model(place)
    size = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    config = place / "merge.json"
    config.write_text('{"check": false}')
    before = copied(base, place)
    peak, wall, cpu = measured(BY_US, str(base), str(adapter), str(place / "out"), "--config", str(config))
    copies = (before, copied(place / "out", place))
    mean = sum(copies) / len(copies)
    print(f"7B shape, {size / 1e9:.1f} GB in {FILES} files: peak {peak / 1e6:.0f} MB, {wall:.0f} s, CPU {cpu:.0f} s; "
          f"cp before {copies[0]:.0f} s, after {copies[1]:.0f} s; {wall / mean:.2f} times their mean")  # fmt: skip
    return peak < MOST_BYTES and wall < MOST_TIMES * mean


def main() -> None:
    parser = argparse.ArgumentParser(description="Merging, streamed and by peft.")
    parser.add_argument("model", type=Path, nargs="?", help="a folder, for the comparison with peft")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="takes 31 GB of disk for a while")
    parser.add_argument("--place", type=Path, help="a folder on the disk to measure; default: where temporary files go")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        if arguments.model:
            small(arguments.model.absolute(), Path(place).absolute(), arguments.rounds)
        if arguments.large and not large(Path(place).absolute()):
            sys.exit("missed")


if __name__ == "__main__":
    main()

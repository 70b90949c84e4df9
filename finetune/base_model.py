"""Loading a base model: a folder, a GGUF file or a hub name; on the device and in the precision asked for."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from engines.config.families import Family, family_of
from engines.config.job import HUB_NAME
from engines.contract import hub
from engines.contract.errors import UserError
from finetune import chat_templates
from finetune.embedded_model import make_if_wanted

M_ARENA_MAX = -8  # of glibc's malloc.h

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Waiting threads sleep instead of spinning: as fast on a quiet machine, several times faster on a busy one.
# Read when torch is first imported, which every function here does by itself.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What libraries say to each other about their own interfaces is nothing for the log of a training.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def choose_device(wanted: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N` to a device that is there. Raises UserError if it is not."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda"):
        index = int(wanted.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise UserError(
                "not_ready",
                f"{wanted} was asked for, but torch {torch.__version__} sees {torch.cuda.device_count()} GPUs",
                "Set device to auto or cpu, or install a CUDA build of torch (`ftui doctor`).",
            )
    return wanted


def choose_precision(wanted: str, device: str) -> str:
    """`auto` to bf16, fp16 or fp32: bf16 where the device computes it fast, which a CPU is measured for."""
    import torch

    if wanted != "auto":
        return wanted
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    from finetune.fast.probe import bf16_products_are_fast

    return "bf16" if bf16_products_are_fast() else "fp32"


def choose_quantization(wanted: str, device: str, source: str) -> str:
    """auto: 4 bit on a GPU, but not of a GGUF file, whose weights are taken as they are."""
    on_gpu = device.startswith("cuda") and not is_gguf(source)
    return ("nf4" if on_gpu else "none") if wanted == "auto" else wanted


def is_gguf(source: str) -> bool:
    return source.lower().endswith(".gguf")


def leave_out_bitsandbytes() -> None:
    """Let peft and transformers not import it: with the compiler it brings, it costs 3 CPU seconds at every start.

    Call before either is imported, where nothing is quantised. An import finds it missing from then on.
    """
    sys.modules.setdefault("bitsandbytes", None)  # type: ignore[arg-type]


def share_memory_between_threads() -> None:
    """One heap for all threads: glibc gives each its own, and what one has freed the others do not get."""
    try:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    except (OSError, AttributeError):  # another C library
        pass


def set_threads() -> int:
    """As many threads as there are cores for us; one too many costs more than it gives."""
    import torch

    share_memory_between_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, cores))
    return torch.get_num_threads()


def _location(source: str) -> tuple[str, dict[str, str]]:
    """What transformers wants: a folder or a name, and `gguf_file` for a GGUF file.

    The embedded model is made here if it is what is wanted and nobody has made it yet.
    """
    path = Path(source)
    make_if_wanted(path)
    if is_gguf(source):
        return str(path.parent), {"gguf_file": path.name}
    return source, {}


def configuration(source: str) -> Any:
    """The architecture of a model, as transformers describes it."""
    from transformers import AutoConfig

    return _loaded(source, AutoConfig.from_pretrained)


def family(source: str) -> Family:
    """What the architecture of a model needs; see engines/config/families.py."""
    return family_of(configuration(source).model_type)


def check_packages(model_type: str, source: str) -> None:
    """Raises UserError where the model's family needs packages beside ours that are not here or do not work."""
    wanted = family_of(model_type).packages
    for name in wanted:
        try:
            importlib.import_module(name)
        except Exception as error:  # of a library that was built for another torch: any
            why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not work: {str(error)[:150]}"
            torch = importlib.metadata.version("torch").partition("+")[0]
            raise UserError(
                "not_ready",
                f"{source} needs {' and '.join(wanted)} beside what ftui installs, and {name} {why}",
                f"{sys.executable} -m pip install {' '.join(wanted)} torch=={torch}, from the package index that torch "
                "came from.",
            ) from None


def load_tokenizer(source: str, text_template: str = "", *, template_needed: bool = True) -> Any:
    """The tokenizer, with its model's chat template or the one that `text_template` describes.

    template_needed: raise UserError where the model has none; adapters may bring theirs.
    """
    from transformers import AutoTokenizer

    tokenizer = _loaded(source, AutoTokenizer.from_pretrained)
    if text_template:
        tokenizer.chat_template = chat_templates.from_text(text_template)
    if tokenizer.chat_template is None and template_needed:
        raise UserError(
            "bad_input", f"{source} has no chat template", "Choose an instruct model, or set text_template."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def load_model(source: str, device: str, precision: str, quantization: str = "none") -> Any:
    """The causal language model, its weights frozen or not as transformers gives them.

    precision: bf16, fp16 or fp32; quantization: none or nf4 (double quantisation).
    """
    import torch
    import transformers

    if is_gguf(source) and quantization == "nf4":
        raise UserError(
            "usage",
            f"a GGUF file cannot be loaded in 4 bit: {Path(source).name}",
            "Set quantization to none, or name the folder of the model that the file was made of.",
        )
    described = configuration(source)
    needs = family_of(described.model_type)
    check_packages(described.model_type, source)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    options: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": "eager" if device == "cpu" else None,  # None: the best that it can have
    }
    if quantization == "nf4":
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=needs.apart or None,  # for 4 bit too, in spite of its name
        )
        options["device_map"] = {"": device}
    model = _loaded(source, getattr(transformers, needs.auto_class).from_pretrained, **options)
    if is_gguf(source):
        make_dense(model)
    if quantization == "nf4" and device == "cpu":
        let_file_go(model)
    return model if quantization == "nf4" else model.to(device)


def let_file_go(model: Any) -> None:
    """Copy the weights that are still those of the file: all of it stays in memory as long as one of them is used.

    What quantising the others has left in the heap goes back to the system as well.
    """
    from finetune.fast.heap import Heap

    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.clone()
    Heap().give_back()


def make_dense(model: Any) -> None:
    """Let a model of a GGUF file be trained and saved: its weights are dense, transformers takes it for quantised."""
    model.hf_quantizer = None
    model.is_quantized = False
    for holder, name in ((model.config, "quantization_config"), (model, "quantization_method")):
        if hasattr(holder, name):
            delattr(holder, name)


def _loaded(source: str, from_pretrained: Any, **options: Any) -> Any:
    """What `from_pretrained` makes of `source`; a name on the hub is looked for in the cache before any network."""
    place, gguf = _location(source)
    if HUB_NAME.fullmatch(source) is None or Path(source).exists():
        return _explained(source, lambda: from_pretrained(place, **gguf, **options))
    try:
        return from_pretrained(source, local_files_only=True, **options)
    except (OSError, ValueError):  # it is not there, or not all of it
        why = hub.why_unreachable()
    if why:
        raise UserError(
            "not_found",
            f"the base model {source} is not on this machine, and {why}",
            "Connect to a network once, or name a local folder.",
        )
    return _explained(source, lambda: from_pretrained(source, **options))


def _explained(source: str, load: Any) -> Any:
    """Run `load`; what transformers raises becomes one line and a next step."""
    path = Path(source)
    if path.is_dir() and not (list(path.glob("*.safetensors")) or list(path.glob("*.gguf"))):
        raise UserError(
            "bad_input",
            f"the model folder {source} has no weights (*.safetensors)",
            "Download it again, or choose another folder.",
        )
    try:
        return load()
    except OSError as error:
        first = str(error).strip().splitlines()[0][:200]
        step = "Check the name or the path of the base model; a gated model needs HF_TOKEN."
        raise UserError("not_found", f"the base model {source} cannot be loaded: {first}", step) from error

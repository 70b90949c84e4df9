"""The memory that a voice's pre-flight foretells against what training steps take.

    .venv-tts/bin/python -m benchmarks.voice_memory [--layers 2]

Models with the real widths of the 1.7B and the 0.6B one but so few layers of the talker, random weights, fp32: two
optimizer steps of two batches of short clips, and the bytes of all tensors beside the model at the peak. Wanted: each
within 15 %. What an allocator or a GPU's runtime takes on top, and bf16, cannot be tried here.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from benchmarks.terminal import report
from engines.config.job import build
from engines.config.voice import VoiceConfig
from engines.voice import voice_memory
from engines.voice.voice_memory import KNOWN, Layers
from finetune.memory import Meter
from ftui import command_line
from tts import qwen

WITHIN = 0.15
SECONDS, TEXT_TOKENS = 2.0, 30
GRID: list[tuple[str, dict[str, Any]]] = [
    ("0.6B", {}),
    ("0.6B", {"gradient_checkpointing": False}),
    ("0.6B", {"gradient_checkpointing": False, "batch_size": 1}),
    ("0.6B", {"method": "full", "batch_size": 1}),
    ("0.6B", {"method": "full", "gradient_checkpointing": False}),
    ("1.7B", {}),
    ("1.7B", {"gradient_checkpointing": False}),
]


def model_of(size: str, layers: int) -> Any:
    """A model of the real widths with random weights and a small text vocabulary."""
    import torch
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration

    from tts import tiny_model

    tokens = {token: number for number, token in enumerate(tiny_model.SPECIAL)} | {"size": 300}
    values = tiny_model.model_config("1.7B", tokens).to_dict()
    talker, predictor = KNOWN[size]
    config = values["talker_config"]
    config.update(_widths(talker), num_hidden_layers=layers, text_hidden_size=2048)
    config["rope_scaling"]["mrope_section"] = [24, 20, 20]
    config["code_predictor_config"].update(_widths(predictor))
    for part in (config, config["code_predictor_config"]):
        part.pop("layer_types", None)
    encoder = {key: values["speaker_encoder_config"][key] for key in tiny_model.SPEAKER_ENCODER_KEYS}
    rest = {key: values[key] for key in values if key.startswith(("tts_", "im_"))}
    made = Qwen3TTSConfig(
        talker_config=config, speaker_encoder_config={**encoder, "enc_dim": talker.hidden},
        tokenizer_type="qwen3_tts_tokenizer_12hz", **rest,
    )  # fmt: skip
    made._attn_implementation = "sdpa"
    torch.manual_seed(1)
    return Qwen3TTSForConditionalGeneration(made).train()


def _widths(layers: Layers) -> dict[str, int]:
    return {
        "num_hidden_layers": layers.count, "hidden_size": layers.hidden, "intermediate_size": layers.intermediate,
        "num_attention_heads": layers.queries // 128, "num_key_value_heads": layers.keys // 128, "head_dim": 128,
    }  # fmt: skip


def measure(size: str, layers: int, config: VoiceConfig) -> tuple[int, int]:
    """(bytes of all tensors beside the model at the most, of them gradients and optimizer)."""
    import torch

    from tts import layout, trainable
    from tts.loss import batch_loss

    model = model_of(size, layers)
    parameters = trainable.choose_weights(model, config)
    trainable.checkpoint_gradients(model, config.gradient_checkpointing)
    optimizer = trainable.make_optimizer(parameters, config)
    frames = round(SECONDS * voice_memory.FRAMES_PER_SECOND)
    clip = layout.Clip([0, 1, 2] + [5] * TEXT_TOKENS, torch.randint(0, 2048, (frames, 16)).tolist())
    batch = layout.collate([clip] * config.batch_size, model.config)
    speaker = torch.randn(model.config.talker_config.hidden_size)
    with Meter([*model.parameters(), *model.buffers()]) as meter:
        for number in range(4):
            found = batch_loss(model, batch, speaker)
            ((found.talker + config.sub_talker_weight * found.sub_talker) / frames).backward()
            del found
            if number % 2:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
    return int(meter.peak), 12 * sum(value.numel() for value in parameters.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="of the talker; the real ones have 28")
    arguments = parser.parse_args()
    qwen.import_qwen()
    rows = []
    for size, values in GRID:
        config = build(VoiceConfig, values)
        taken, fixed = measure(size, arguments.layers, config)
        talker, predictor = KNOWN[size]
        shapes = (replace(talker, count=arguments.layers), predictor)
        characters = TEXT_TOKENS * voice_memory.CHARACTERS_A_TOKEN
        foretold = fixed + voice_memory.activations(shapes, config, "fp32", SECONDS, characters)
        off = foretold / taken - 1
        words = " ".join(command_line.flags(values)) or "defaults"
        print(f"{size} {words}: foretold {foretold / 1e6:.0f} MB, taken {taken / 1e6:.0f} MB", flush=True)
        rows.append((f"{size} {words}", f"{off:+.0%}", f"{WITHIN:.0%}", abs(off) <= WITHIN))
    sys.exit(report(rows))


if __name__ == "__main__":
    main()

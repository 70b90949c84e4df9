"""Extracting codes, and a training step, against the way of the official fine-tuning of Qwen3-TTS.

    .venv-tts/bin/python -m benchmarks.voice_training [--clips 128] [--steps 15] [--runs 3]

On the tiny model of the real architecture. Interleaved, CPU seconds, medians. The official way is written here anew
from what it does: clips in batches of 32 in the order of the file; a step with speaker encoder, embeddings of all
codebooks over all positions, logits at all positions, labels that are shifted twice. Ends with 1
where a goal is missed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.terminal import report

EXTRACTION_GOAL, STEP_GOAL = 1.3, 1.05
OFFICIAL_BATCH = 32


def cpu_seconds(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = act()
    return time.process_time() - began, result


def interleaved(ways: dict[str, Callable[[], Any]], runs: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Median CPU seconds of each way, and what each gave last."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(runs):
        for name, act in ways.items():
            seconds, results[name] = cpu_seconds(act)
            spent[name].append(seconds)
    return {name: statistics.median(values) for name, values in spent.items()}, results


def sounds(count: int) -> list[Any]:
    """Clips of 1 to 15 s."""
    import numpy

    chance, noise = random.Random(5), numpy.random.default_rng(5)
    found = []
    for _ in range(count):
        seconds = numpy.arange(round(chance.uniform(1, 15) * 24_000)) / 24_000
        tone = numpy.sin(2 * numpy.pi * chance.uniform(90, 300) * seconds) * (1 + numpy.sin(9 * seconds)) / 4
        found.append(numpy.float32(tone + noise.normal(0, 0.01, len(seconds))))
    return found


def extraction(base: Path, clips: list[Any], runs: int) -> tuple[float, int, int]:
    """(how many times less CPU than in the official order, frames with other codes, frames).

    Last frames are not compared: in the official way those of a batch's longest clip depend on the batch.
    """
    from tts import codes, qwen

    codec = qwen.load_codec(base, "cpu")

    def official() -> list[codes.Codes]:
        found: list[codes.Codes] = []
        for begin in range(0, len(clips), OFFICIAL_BATCH):
            found += [
                frames.tolist() for frames in codec.encode(clips[begin : begin + OFFICIAL_BATCH], sr=24_000).audio_codes
            ]
        return found

    def ours() -> list[codes.Codes]:
        found: list[codes.Codes] = [[]] * len(clips)
        for batch in codes.batches([len(clip) for clip in clips]):
            for index, frames in zip(batch, codes.encode(codec, [clips[i] for i in batch]), strict=True):
                found[index] = frames
        return found

    spent, results = interleaved({"official": official, "ours": ours}, runs)
    pairs = zip(results["official"], results["ours"], strict=True)
    frames = [pair for theirs, own in pairs for pair in zip(theirs[:-1], own[:-1], strict=True)]
    return spent["official"] / spent["ours"], sum(theirs != own for theirs, own in frames), len(frames)


def official_step(model: Any, batch: dict[str, Any], mel: Any, optimizer: Any) -> None:
    """mel: [B, frames, 128] of the reference clip, once for each row, as the official collator gives it."""
    import torch

    talker = model.talker
    speaker = model.speaker_encoder(mel).detach()
    text = talker.model.text_embedding(batch["text"]) * batch["text_mask"].unsqueeze(-1)
    codec = talker.model.codec_embedding(batch["first"]) * batch["codec_mask"].unsqueeze(-1)
    codec[:, 6, :] = speaker
    inputs = text + codec
    for book in range(1, 16):
        part = talker.code_predictor.get_input_embeddings()[book - 1](batch["codes"][:, :, book])
        inputs = inputs + part * batch["frame_mask"].unsqueeze(-1)
    output = talker(
        inputs_embeds=inputs[:, :-1],
        attention_mask=batch["attention_mask"][:, :-1],
        labels=batch["labels"][:, 1:],
        output_hidden_states=True,
    )
    hidden = output.hidden_states[0][-1][batch["frame_mask"][:, 1:]]
    _, sub_talker = talker.forward_sub_talker_finetune(batch["codes"][batch["frame_mask"]], hidden)
    (output.loss + 0.3 * sub_talker).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def step_ratio(base: Path, folder: Path, steps: int) -> float:
    """CPU of our step over that of the official one, on the same batch of two clips of 8 s, all weights trained."""
    import torch
    from qwen_tts.core.models.modeling_qwen3_tts import mel_spectrogram

    from engines.config.voice import VoiceConfig
    from tts import epochs, layout, qwen, sft_12hz, trainable, voice_data

    voices = {name: qwen.load(base, "cpu", "fp32", "sdpa") for name in ("official", "ours")}
    torch.manual_seed(1)
    ids = layout.text_ids(
        voices["ours"].processor, "We open at nine and close at six, and on Sundays we are closed. " * 2
    )
    clips = [layout.Clip(ids, torch.randint(0, 2048, (frames, 16)).tolist()) for frames in (100, 90)]
    batch = layout.collate(clips, voices["ours"].model.config)
    reference = torch.randn(1, 24_000 * 8) * 0.1
    mel = mel_spectrogram(
        reference, n_fft=1024, num_mels=128, sampling_rate=24_000, hop_size=256, win_size=1024, fmin=0, fmax=12_000
    ).transpose(1, 2)
    config = VoiceConfig(method="full", freeze_text_embedding=False, gradient_checkpointing=False)
    official = voices["official"].model.train()
    official.speaker_encoder.requires_grad_(False)
    optimizer = torch.optim.AdamW(official.parameters(), lr=2e-5, weight_decay=0.01)
    ours = voices["ours"]
    parameters = trainable.choose_weights(ours.model.train(), config)
    data = voice_data.VoiceData(clips, [], None, "", {}, "")
    speaker = torch.randn(official.config.talker_config.hidden_size)
    training = sft_12hz.Training(
        config, ours, base, data, speaker, parameters, trainable.make_optimizer(parameters, config), folder, folder,
        "x", epochs.Studio(ours, speaker, data, config, ""),
    )  # fmt: skip
    both: dict[str, Callable[[], Any]] = {
        "official": lambda: official_step(official, batch, mel.repeat(2, 1, 1), optimizer),
        "ours": lambda: sft_12hz.train_step(training, [[0, 1]], 0),
    }
    interleaved(both, 2)  # warm
    spent, _ = interleaved(both, steps)
    return spent["ours"] / spent["official"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    from tts import qwen, tiny_model

    qwen.set_threads()
    with tempfile.TemporaryDirectory() as place:
        base = Path(place) / "tiny"
        tiny_model.make(base)
        less, other, count = extraction(base, sounds(arguments.clips), arguments.runs)
        ratio = step_ratio(base, Path(place), arguments.steps)
    return report(
        [
            ("times less CPU for the codes of clips of 1 to 15 s than in batches of 32 in file order", f"{less:.2f}",
             f"{EXTRACTION_GOAL}", less >= EXTRACTION_GOAL),
            (f"of {count} frames with other codes", str(other), "0", other == 0),
            ("times the official training step's CPU", f"{ratio:.2f}", f"{STEP_GOAL}", ratio <= STEP_GOAL),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())

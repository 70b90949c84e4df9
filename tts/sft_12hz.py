"""Train a voice: Qwen3-TTS learns to speak like the clips of a prepared dataset.

    python -m tts.sft_12hz --dataset FOLDER --model BASE --checkpoints DIR --output VOICE_FOLDER \\
        [--config CONFIG.json] [--name NAME] [--whisper FOLDER]

The loss is aligned as generation is (tts/loss.py). After each epoch OUTPUT/checkpoint-epoch-N/ is a voice that
qwen_tts loads, has spoken the preview sentences and is judged. Started again it goes on from the newest point and
gives the very losses of a run that was never interrupted.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.config.job import load
from engines.config.voice import VoiceConfig
from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.voice.voice_estimate import steps_per_epoch
from tts import audio, epochs, layout, listening, qwen, trainable, training_state, voice_data
from tts.loss import batch_loss


@dataclass
class Training:
    """All that a run needs. speaker: the reference clip's embedding [D]."""

    config: VoiceConfig
    voice: Any
    base: Path
    data: voice_data.VoiceData
    speaker: Any
    parameters: dict[str, Any]
    optimizer: Any
    checkpoints: Path
    output: Path
    name: str
    studio: epochs.Studio
    end_seconds: list[float] = field(default_factory=list)  # of the epochs that ended in this attempt

    @property
    def per_epoch(self) -> int:
        return steps_per_epoch(len(self.data.train), self.config)

    @property
    def total(self) -> int:
        return self.per_epoch * self.config.num_epochs


def order_of_epoch(clips: int, epoch: int, config: VoiceConfig) -> list[list[list[int]]]:
    """The clips of each batch of each optimizer step of an epoch (0 is the first), shuffled by the seed."""
    import torch

    shuffled = torch.randperm(clips, generator=torch.Generator().manual_seed(config.seed + epoch)).tolist()
    size, accumulation = config.batch_size, config.gradient_accumulation_steps
    batches = [shuffled[begin : begin + size] for begin in range(0, clips, size)]
    return [batches[begin : begin + accumulation] for begin in range(0, len(batches), accumulation)]


def train_step(training: Training, batches: list[list[int]], step: int) -> dict[str, float]:
    """One optimizer step over several batches; each prediction weighs the same, whatever batch it is in."""
    import torch

    config, model, clips = training.config, training.voice.model, training.data.train
    frames = sum(len(clips[index].codes) for batch in batches for index in batch)
    ends = sum(map(len, batches))
    talker_count, sub_talker_count = frames + ends, frames * (qwen.CODEBOOKS - 1)
    talker = sub_talker = 0.0
    for indices in batches:
        batch = layout.collate([clips[index] for index in indices], model.config)
        found = batch_loss(model, {k: v.to(training.speaker.device) for k, v in batch.items()}, training.speaker)
        share = found.talker / talker_count + config.sub_talker_weight * found.sub_talker / sub_talker_count
        share.backward()
        talker += float(found.talker.detach())
        sub_talker += float(found.sub_talker.detach())
    norm = float(torch.nn.utils.clip_grad_norm_(training.parameters.values(), config.max_grad_norm))
    rate = config.learning_rate * trainable.rate_share(step, training.total, config)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    talker, sub_talker = talker / talker_count, sub_talker / sub_talker_count
    total = talker + config.sub_talker_weight * sub_talker
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise UserError(
            "failed",
            f"the loss is not a number any more at step {step + 1}",
            "Start again with a lower learning_rate (2e-6) or precision fp32.",
        )
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    return {
        "loss": total, "talker_loss": talker, "sub_talker_loss": sub_talker, "learning_rate": rate, "grad_norm": norm,
    }  # fmt: skip


def run_steps(training: Training, step: int) -> int:
    """Train from optimizer step `step` on. Returns the step that was reached: less than all after a stop."""
    config, data = training.config, training.data
    while step < training.total:
        epoch, first = divmod(step, training.per_epoch)
        for batches in order_of_epoch(len(data.train), epoch, config)[first:]:
            began = time.monotonic()
            figures = train_step(training, batches, step)
            step += 1
            positions = sum(data.train[index].length for batch in batches for index in batch)
            emit(
                "metrics", step=step, epoch=round(step / training.per_epoch, 4), **figures,
                tokens_per_second=positions / max(1e-6, time.monotonic() - began),
            )  # fmt: skip
            at_end = step % training.per_epoch == 0
            if stop_requested() or at_end or step % config.save_steps == 0:
                save_point(training, step)
            if stop_requested():
                return step
        end_epoch(training, step)
        if stop_requested() and step < training.total:
            return step
    return step


def save_point(training: Training, step: int) -> None:
    data = training.data.fingerprint
    training_state.save(training.checkpoints, step, training.parameters, training.optimizer, data)


def end_epoch(training: Training, step: int) -> None:
    """What an epoch ends with; nothing if it was done before an interruption."""
    epoch = step // training.per_epoch
    if any(card["epoch"] == epoch for card in epochs.cards(training.output)):
        return
    began = time.monotonic()
    model = training.voice.model
    held_out = epochs.held_out_loss(model, training.data, training.speaker, training.config)
    model.train()
    if held_out is not None:
        emit("metrics", step=step, epoch=epoch, eval_loss=held_out)
    card = {"step": step, "eval_loss": held_out}
    arguments = (training.output, epoch, training.base, training.name, training.parameters, training.studio)
    epochs.export_epoch(*arguments, card)
    update_voice(training, best_epoch=listening.best(epochs.cards(training.output)))
    training.end_seconds.append(time.monotonic() - began)
    emit("epoch_end", epoch=epoch, step=step, seconds=round(training.end_seconds[-1], 2))


def update_voice(training: Training, **values: Any) -> dict[str, Any]:
    """Change fields of OUTPUT/voice.json."""
    card = {**statefiles.read_object(training.output / "voice.json"), **values}
    statefiles.write_json(training.output / "voice.json", card)
    return card


def begin_voice(training: Training) -> None:
    """The voice's card, and zero-shot cloning to compare with; both once."""
    if statefiles.read_object(training.output / "voice.json"):
        return
    statefiles.make_private_dir(training.output)
    zero_shot: dict[str, Any] = {}
    began = time.monotonic()
    if training.config.preview_sentences:
        emit("phase", name="zero-shot", text="the base model imitates the reference clip, to compare with")

        def write(folder: Path) -> None:
            zero_shot.update(training.studio.record(folder, zero_shot=True))

        epochs.write_whole(training.output / "zero-shot", write)
    audio.write(training.output / "reference.wav", training.data.reference)
    update_voice(
        training,
        name=training.name,
        speaker=training.name.lower(),
        base_model=str(training.base),
        base_identity=fingerprints.of_model(str(training.base)),
        dataset={**training.data.figures, "fingerprint": training.data.fingerprint},
        config=training.config.model_dump(),
        run=os.environ.get("FTUI_RUN_DIR", "").rpartition("/")[2],
        zero_shot=zero_shot,
        zero_shot_seconds=round(time.monotonic() - began, 2),
        created_at=time.time(),
    )


def build(arguments: argparse.Namespace, config: VoiceConfig) -> tuple[Training, dict[str, Any]]:
    """Load everything. Returns the training and what was chosen for this machine."""
    import torch

    device = qwen.choose_device(config.device)
    precision = qwen.choose_precision(config.precision, device)
    attention = qwen.choose_attention(config.attention, device)
    threads = qwen.set_threads()
    base = qwen.local_folder(arguments.model)
    emit("phase", name="load", text=f"loading {base.name} on {device}, {precision}, {attention}")
    voice = qwen.load(base, device, precision, attention)
    data = voice_data.read(arguments.dataset, voice.processor, base)
    speaker = listening.speaker_embedding(voice.model, data.reference)
    name = arguments.name or config.voice_name
    studio = epochs.Studio(voice, speaker, data, config, arguments.whisper or "")
    output, points = arguments.output.absolute(), statefiles.make_private_dir(arguments.checkpoints)
    training = Training(config, voice, base, data, speaker, {}, None, points, output, name, studio)
    begin_voice(training)
    torch.manual_seed(config.seed)
    training.parameters = trainable.choose_weights(voice.model, config)
    trainable.checkpoint_gradients(voice.model, config.gradient_checkpointing)
    voice.model.train()
    training.optimizer = trainable.make_optimizer(training.parameters, config)
    chosen = {"device": device, "precision": precision, "attention": attention, "threads": threads}
    return training, chosen


def check_disk(training: Training) -> None:
    """Refuse to start what cannot be saved: two points to resume from and all epochs."""
    trained = sum(value.numel() * value.element_size() for value in training.parameters.values())
    weights = sum(file.stat().st_size for file in training.base.glob("*.safetensors"))
    missing = training.config.num_epochs - len(epochs.cards(training.output))
    needed = 3 * trained * training_state.KEPT + missing * weights + (8 << 20)
    free = shutil.disk_usage(training.output).free
    if free < needed:
        raise UserError(
            "not_ready",
            f"{missing} epochs and the points to resume from need {needed / 1e9:.1f} GB, but {training.output} has "
            f"{free / 1e9:.1f} GB free",
            "Free some space, lower num_epochs, or set output_dir.",
        )


def train(arguments: argparse.Namespace) -> None:
    config = load(VoiceConfig, arguments.config)
    training, chosen = build(arguments, config)
    check_disk(training)
    point = training_state.newest(training.checkpoints, training.data.fingerprint)
    step = training_state.restore(point, training.parameters, training.optimizer) if point else 0
    clips = training.data.train
    emit(
        "train",
        total_steps=training.total,
        first_step=step,
        epochs=config.num_epochs,
        rows=len(clips),
        eval_rows=len(training.data.held_out),
        tokens_per_epoch=sum(clip.length for clip in clips),
        learned_tokens_per_epoch=sum(len(clip.codes) + 1 for clip in clips),
        trained_parameters=sum(value.numel() for value in training.parameters.values()),
        method=config.method,
        # an epoch speaks the sentences that zero-shot cloning spoke before
        epoch_end_seconds=statefiles.read_object(training.output / "voice.json").get("zero_shot_seconds"),
        **chosen,
    )
    began = time.monotonic()
    if step and step % training.per_epoch == 0:
        end_epoch(training, step)  # the interruption came between the last step and the export
    reached = run_steps(training, step)
    if reached < training.total:
        emit("phase", name="stopped", text=f"stopped at step {reached} of {training.total}")
        write_result("stopped", step=reached, total_steps=training.total)
        return
    cards = epochs.cards(training.output)
    best = listening.best(cards)
    chosen_card = next((card for card in cards if card["epoch"] == best), cards[-1])
    write_result(
        "done", voice=training.output.name, steps=training.total, epochs=len(cards), best_epoch=best,
        eval_loss=chosen_card.get("eval_loss"), heard=chosen_card.get("heard"),
        zero_shot=statefiles.read_object(training.output / "voice.json").get("zero_shot", {}).get("heard"),
        **costs(training, time.monotonic() - began, reached - step),
    )  # fmt: skip
    shutil.rmtree(training.checkpoints, ignore_errors=True)  # of a full training three times the model's size


def costs(training: Training, seconds: float, steps: int) -> dict[str, Any]:
    """What the next pre-flight reckons with: seconds of this attempt, of a step, of the end of an epoch."""
    ends = training.end_seconds
    return {
        "seconds": round(seconds, 1),
        "seconds_per_step": round((seconds - sum(ends)) / steps, 4) if steps else None,
        "seconds_per_epoch_end": round(sum(ends) / len(ends), 2) if ends else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a voice on a prepared dataset.")
    parser.add_argument("--dataset", type=Path, required=True, help="the folder that tts.prepare_data wrote")
    parser.add_argument("--model", required=True, help="folder or hub name of a Qwen3-TTS 12 Hz Base model")
    parser.add_argument("--checkpoints", type=Path, required=True, help="points to resume from")
    parser.add_argument("--output", type=Path, required=True, help="the voice's folder")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--name", help="the speaker's name in the voice")
    parser.add_argument("--whisper", help="folder or size of a Whisper model that listens to the epochs")
    train(parser.parse_args())


if __name__ == "__main__":
    run_script(main)

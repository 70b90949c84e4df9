"""What happens at the end of an epoch: held-out loss, the voice exported, preview sentences spoken and judged.

OUTPUT/voice.json                     what the voice was made of, zero-shot's figures, the best epoch
OUTPUT/zero-shot/sentence-1.wav       the base model's imitation of the reference clip
OUTPUT/checkpoint-epoch-N/            a folder that qwen_tts loads
    card.json  preview/sentence-1.wav
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.config.voice import VoiceConfig
from engines.contract import checkpoints, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import stop_requested
from tts import export_voice, layout, listening, loss, speaking
from tts.voice_data import VoiceData

WAIT_SECONDS = 5


def held_out_loss(model: Any, data: VoiceData, speaker: Any, config: VoiceConfig) -> float | None:
    """Talker + weighted sub-talker cross-entropy on the held-out clips; None where there are none."""
    import torch

    if not data.held_out:
        return None
    model.eval()
    talker = sub_talker = 0.0
    talker_count = sub_talker_count = 0
    with torch.no_grad():
        for begin in range(0, len(data.held_out), config.batch_size):
            batch = layout.collate(data.held_out[begin : begin + config.batch_size], model.config)
            found = loss.batch_loss(model, {key: value.to(speaker.device) for key, value in batch.items()}, speaker)
            talker, sub_talker = talker + float(found.talker), sub_talker + float(found.sub_talker)
            talker_count, sub_talker_count = (
                talker_count + found.talker_count,
                sub_talker_count + found.sub_talker_count,
            )
    return talker / talker_count + config.sub_talker_weight * sub_talker / sub_talker_count


@contextmanager
def undisturbed(model: Any, seed: int) -> Any:
    """Speak without a trace in the training: evaluation mode, a random state of its own."""
    import torch

    devices = [model.device] if model.device.type == "cuda" else []
    training = model.training
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(training)


class Studio:
    """Speaks the preview sentences and judges them. whisper: loaded when it is first wanted, or None."""

    def __init__(self, voice: Any, speaker: Any, data: VoiceData, config: VoiceConfig, whisper: str):
        self.voice, self.speaker, self.data, self.config = voice, speaker, data, config
        self._whisper_name = whisper
        self._whisper: Any = None

    def _ear(self) -> Any | None:
        if self._whisper_name and self._whisper is None:
            self._whisper = listening.load_whisper(self._whisper_name, self.config.language)
            self._whisper_name = self._whisper_name if self._whisper else ""
        return self._whisper

    def record(self, folder: Path, *, zero_shot: bool = False) -> dict[str, Any]:
        """Speak all sentences into `folder`. Returns {"heard": means, "sentences": …}, empty without sentences."""
        sentences = self.config.preview_sentences
        if not sentences:
            return {}
        spoken = []
        with undisturbed(self.voice.model, self.config.seed):
            for text in sentences:
                limit = speaking.frame_limit(text, self.data.speed)
                if zero_shot:
                    clip = self.data.reference
                    spoken.append(speaking.like_clip(self.voice, text, clip, self.data.reference_text, limit))
                else:
                    spoken.append(speaking.with_speaker(self.voice, text, self.speaker, limit))
            heard, rows = listening.judge(spoken, self.voice.model, self.speaker, self._ear(), self.data.speed)
        listening.save_spoken(folder, spoken)
        return {"heard": heard.as_dict(), "sentences": rows}


def write_whole(target: Path, write: Any) -> None:
    """Make a folder appear whole. write: called with the folder to fill. On a full disk wait for space or a stop."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    while True:
        try:
            shutil.rmtree(partial, ignore_errors=True)
            write(statefiles.make_private_dir(partial))
            for file in partial.rglob("*"):
                if file.is_file():
                    with open(file, "rb") as stream:
                        os.fsync(stream.fileno())
            shutil.rmtree(target, ignore_errors=True)
            os.rename(partial, target)
            statefiles.sync_dir(target.parent)
            return
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            if not checkpoints.is_disk_full(error):
                raise
            if stop_requested():
                raise UserError("not_ready", "the disk is full", "Free some space, then resume.") from None
            emit("warning", text=f"the disk is full: {target.name} waits to be saved; free some space")
            time.sleep(WAIT_SECONDS)


def export_epoch(
    output: Path, epoch: int, base: Path, name: str, trained: dict[str, Any], studio: Studio, card: dict[str, Any]
) -> dict[str, Any]:
    """Export an epoch, speak with it, judge it. Returns its card."""
    config = studio.config
    whole: dict[str, Any] = {}

    def write(folder: Path) -> None:
        scale = config.lora_alpha / config.lora_rank
        emit("phase", name="export", text=f"exporting epoch {epoch}")
        export_voice.export(base, folder, name, trained, studio.speaker, scale)
        if config.preview_sentences:
            emit("phase", name="preview", text=f"epoch {epoch} speaks")
        whole.update({**card, "epoch": epoch, **studio.record(folder / "preview"), "created_at": time.time()})
        statefiles.write_json(folder / "card.json", whole)

    write_whole(output / f"checkpoint-epoch-{epoch}", write)
    if "heard" in whole:
        heard = listening.Heard(**whole["heard"])
        for text in listening.warnings(f"epoch {epoch}", heard):
            emit("warning", text=text)
    return whole


def cards(output: Path) -> list[dict[str, Any]]:
    """The cards of the epochs that are there, in order."""
    found = [statefiles.read_object(path) for path in output.glob("checkpoint-epoch-*/card.json")]
    return sorted((card for card in found if "epoch" in card), key=lambda card: int(card["epoch"]))

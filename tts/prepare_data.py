"""Make a voice's dataset of its clips: choose the reference, hold some out, extract the codes.

    python -m tts.prepare_data --clips CLIPS.jsonl --model BASE_FOLDER --output FOLDER [--config CONFIG.json]

A line of CLIPS.jsonl is {"audio": path, "text": what is said, "score": 0 to 100 or null}. Written are
reference.wav (24 kHz mono), train_raw.jsonl and eval_raw.jsonl with {audio, text, ref_audio}, train.jsonl and
eval.jsonl with audio_codes [T][16] beside, and dataset.json with the figures. Started again it goes on: the
codes of a clip are extracted once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.config.job import load
from engines.config.voice import VoiceConfig
from engines.contract import fingerprints, statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from tts import audio, codes, qwen

BEST_REFERENCE_SECONDS = (4.0, 12.0)
EMIT_SECONDS = 0.5


@dataclass(frozen=True)
class Recording:
    """One clip of the input. seconds: decoded, not believed."""

    audio: Path
    text: str
    score: float | None
    seconds: float
    key: str


def read_list(path: Path) -> list[dict[str, Any]]:
    """The lines of CLIPS.jsonl. Raises UserError that names the line."""
    entries = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("bad_input", f"{path.name} cannot be read: {error}", "Name a JSONL file in UTF-8.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            entries.append({"audio": str(entry["audio"]), "text": str(entry["text"]), "score": entry.get("score")})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                "bad_input", f"{path.name}, line {number} is no clip", 'A line is {"audio": …, "text": …}.'
            ) from None
    return entries


def why_left_out(entry: dict[str, Any], seconds: float, config: VoiceConfig) -> str:
    if not entry["text"].strip():
        return "without_transcript"
    if seconds < config.min_duration_sec:
        return "too_short"
    return "too_long" if seconds > config.max_duration_sec else ""


def read_recordings(entries: list[dict[str, Any]], config: VoiceConfig) -> tuple[list[Recording], Counter[str]]:
    """The clips that will be used, and how many were left out and why. Each file is decoded once."""
    found: dict[str, Recording] = {}
    left_out: Counter[str] = Counter()
    for number, entry in enumerate(entries):
        path = Path(entry["audio"])
        try:
            sound = audio.read(path)
        except UserError as error:
            emit("warning", text=f"{error.cause}; it is left out")
            left_out["unreadable"] += 1
            continue
        seconds = len(sound) / qwen.SAMPLE_RATE
        reason = why_left_out(entry, seconds, config)
        key = codes.key_of(sound)
        reason = reason or ("duplicate" if key in found else "")
        if reason:
            left_out[reason] += 1
            continue
        found[key] = Recording(path, " ".join(entry["text"].split()), entry["score"], seconds, key)
        if number % 50 == 49:
            emit("progress", done=number + 1, total=len(entries), unit="clips")
    if not found:
        reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in left_out.items()) or "none came"
        raise UserError("bad_input", f"no clip can be used: {reasons}", "Add samples and transcribe them.")
    return list(found.values()), left_out


def choose_reference(recordings: list[Recording], wanted: str) -> Recording:
    """The clip that gives the voice its speaker: the wanted one, else a good one of 4 to 12 seconds."""
    if wanted:
        for recording in recordings:
            if wanted in (recording.audio.name, recording.audio.stem):
                return recording
        raise UserError("not_found", f"there is no usable clip {wanted} for the reference", "Name one of the samples.")
    shortest, longest = BEST_REFERENCE_SECONDS

    def rank(recording: Recording) -> tuple[float, float, str]:
        seconds = recording.seconds
        away = max(shortest - seconds, seconds - longest, 0.0)
        score = recording.score if isinstance(recording.score, int | float) else 50.0
        return (away, -score, recording.key)

    return min(recordings, key=rank)


def split(recordings: list[Recording], share: float) -> tuple[list[Recording], list[Recording]]:
    """(to train on, held out): the same clips are held out in every run, whatever was added since."""
    order = sorted(recordings, key=lambda recording: hashlib.blake2b(recording.key.encode()).digest())
    held_out = round(len(order) * share)
    if share and not held_out and len(order) >= 4:
        held_out = 1
    kept = {recording.key for recording in order[:held_out]}
    return [r for r in recordings if r.key not in kept], [r for r in recordings if r.key in kept]


def extract(recordings: list[Recording], known: codes.CodeFile, folder: Path, device: str) -> bool:
    """Find the codes that are not known yet. False if a stop was asked for on the way."""
    missing = [recording for recording in recordings if recording.key not in known.known]
    done = len(recordings) - len(missing)
    emit("phase", name="codes", text=f"extracting codes of {len(missing)} clips, {done} are there already")
    if not missing:
        return True
    codec = qwen.load_codec(folder, device)
    shown = 0.0
    for batch in codes.batches([round(recording.seconds * qwen.SAMPLE_RATE) for recording in missing]):
        if stop_requested():
            return False
        found = codes.encode(codec, [audio.read(missing[index].audio) for index in batch])
        for index, frames in zip(batch, found, strict=True):
            known.add(missing[index].key, frames)
        done += len(batch)
        if time.monotonic() - shown > EMIT_SECONDS or done == len(recordings):
            shown = time.monotonic()
            emit("progress", done=done, total=len(recordings), unit="clips")
    return True


def write_part(folder: Path, name: str, part: list[Recording], known: dict[str, codes.Codes], reference: Path) -> None:
    """Both files of a part: raw as the official tools want it, and with codes."""
    raw, coded = [], []
    for recording in part:
        row = {"audio": str(recording.audio), "text": recording.text, "ref_audio": str(reference)}
        raw.append(json.dumps(row, ensure_ascii=False))
        coded.append(json.dumps({**row, "audio_codes": known[recording.key]}, ensure_ascii=False))
    statefiles.write_bytes(folder / f"{name}_raw.jsonl", "".join(f"{line}\n" for line in raw).encode())
    statefiles.write_bytes(folder / f"{name}.jsonl", "".join(f"{line}\n" for line in coded).encode())


def figures(train: list[Recording], held_out: list[Recording], left_out: Counter[str]) -> dict[str, Any]:
    """What people want to know of the dataset. characters_per_second: the speaker's median speed."""
    both = train + held_out
    seconds = [recording.seconds for recording in both]
    return {
        "clips": len(both),
        "train": len(train),
        "eval": len(held_out),
        "seconds": round(sum(seconds), 1),
        "shortest": round(min(seconds), 2),
        "median": round(statistics.median(seconds), 2),
        "longest": round(max(seconds), 2),
        "characters": sum(len(recording.text) for recording in both),
        "characters_per_second": round(statistics.median(len(r.text) / r.seconds for r in both), 2),
        "left_out": dict(left_out),
    }


def prepare(arguments: argparse.Namespace) -> None:
    config = load(VoiceConfig, arguments.config)
    qwen.set_threads()
    folder = qwen.local_folder(arguments.model)
    qwen.check_kind(folder, "base")
    output = statefiles.make_private_dir(arguments.output)
    emit("phase", name="read", text="reading the clips")
    recordings, left_out = read_recordings(read_list(arguments.clips), config)
    reference = choose_reference(recordings, config.reference)
    audio.write(output / "reference.wav", audio.read(reference.audio))
    known = codes.CodeFile(output / "codes.jsonl", fingerprints.of_model(str(folder / "speech_tokenizer")))
    try:
        finished = extract(recordings, known, folder, qwen.choose_device(config.device))
    finally:
        known.close()
    if not finished:
        write_result("stopped", done=len(known.known), total=len(recordings))
        return
    train, held_out = split(recordings, config.eval_share)
    for name, part in (("train", train), ("eval", held_out)):
        write_part(output, name, part, known.known, output / "reference.wav")
    report = {
        **figures(train, held_out, left_out),
        "reference": {"clip": reference.audio.name, "seconds": round(reference.seconds, 2), "text": reference.text},
        "codec": fingerprints.of_model(str(folder / "speech_tokenizer")),
        "language": config.language,
        "created_at": time.time(),
    }
    statefiles.write_json(output / "dataset.json", report)
    write_result("done", **report)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a voice's dataset of its clips.")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--model", required=True, help="folder or hub name of a Qwen3-TTS 12 Hz Base model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    prepare(parser.parse_args())


if __name__ == "__main__":
    run_script(main)

"""All that can be known of a voice's training before it starts: data, memory, disk, time, what speaks against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.config.voice import VoiceConfig
from engines.contract.errors import UserError
from engines.running import devices
from engines.voice import voice_estimate, voice_memory

if TYPE_CHECKING:
    from engines.voice.voice_jobs import VoiceJobs

TIGHT = 0.9  # of the free memory: the estimate is no exact one
GIB = voice_estimate.GIB


def preflight(jobs: VoiceJobs, config: VoiceConfig) -> dict[str, Any]:
    """The figures, with `warnings`, and `refusals` as [cause, next step] for what must not start.

    Of the prepared dataset, or where there is none yet of the samples that would be in it. Memory and disk are None
    for a base that is neither here nor known. Raises UserError where there is nothing to reckon with.
    """
    data = _data(jobs, config)
    base, device = jobs.base_model(config), devices.resolve(config.device)
    precision = config.precision if config.precision != "auto" else "bf16" if device != "cpu" else "fp32"
    per_epoch = voice_estimate.steps_per_epoch(data["train"], config)
    cost = voice_estimate.cost(base, config, precision)
    found = {
        **data,
        "device": device,
        "precision": precision,
        "steps_per_epoch": per_epoch,
        "steps": per_epoch * config.num_epochs,
        "trained_parameters": None if cost is None else int(cost.trained),
        "memory": None if cost is None else _memory(base, cost, config, precision, device, data),
        "disk": None if cost is None else _disk(jobs, cost, config),
        "expected": _expected(jobs, config, data, device),
        "warnings": voice_estimate.speech_warnings(float(data["seconds"]), int(data["train"]), config),
        "refusals": [],
    }
    _judge(found, config)
    return found


def check(jobs: VoiceJobs, config: VoiceConfig) -> list[str]:
    """Warnings. Raises UserError for what must not start."""
    jobs.dataset(config.voice_name)
    found = preflight(jobs, config)
    for cause, next_step in found["refusals"]:
        raise UserError("not_ready", cause, next_step)
    jobs.engine.environments.require("tts")
    hint = found["expected"]
    time = [f"about {max(1, round(hint / 60))} min, as fast as the last training of this kind"] if hint else []
    return [*found["warnings"], *time]


def _data(jobs: VoiceJobs, config: VoiceConfig) -> dict[str, Any]:
    try:
        figures = jobs.dataset(config.voice_name)
        return {name: figures[name] for name in ("train", "eval", "seconds", "longest", "characters", "clips")} | {
            "prepared": True
        }
    except UserError:
        shortest, longest = config.min_duration_sec, config.max_duration_sec
        clips = [
            (sample.duration_sec, len(sample.transcript))
            for sample in jobs.engine.samples.list()
            if sample.transcript and sample.duration_sec and shortest <= sample.duration_sec <= longest
        ]
        if not clips:
            raise UserError("not_ready", "no sample has a transcript yet", "Run `ftui tts transcribe`.") from None
        held_out = round(len(clips) * config.eval_share)
        return {
            "train": len(clips) - held_out, "eval": held_out, "clips": len(clips), "prepared": False,
            "seconds": sum(seconds for seconds, _ in clips), "longest": max(seconds for seconds, _ in clips),
            "characters": sum(count for _, count in clips),
        }  # fmt: skip


def _memory(
    base: str, cost: voice_estimate.Cost, config: VoiceConfig, precision: str, device: str, data: dict[str, Any]
) -> dict[str, float]:
    shapes = voice_memory.shapes_of(base)
    characters = data["characters"] / max(0.1, data["seconds"]) * data["longest"]
    parts = {
        "runtime": float(voice_memory.RUNTIME[device.partition(":")[0]]),
        "weights": cost.weights,
        "trained": cost.memory - cost.weights,
        "activations": 0.0
        if shapes is None
        else voice_memory.activations(shapes, config, precision, float(data["longest"]), characters),
    }
    if device == "cpu":
        whole = free = float(devices.free_memory() or 1 << 60)
    else:
        gpu = devices.gpus()[int(device.partition(":")[2] or 0)]
        whole, free = float(gpu.total_bytes), float(gpu.free_bytes)
    return {**parts, "total": sum(parts.values()), "free": free, "whole": whole}


def _disk(jobs: VoiceJobs, cost: voice_estimate.Cost, config: VoiceConfig) -> dict[str, float]:
    free = float(devices.free_disk(jobs.output_root(config, existing=True)))
    return {"epoch": cost.epoch, "needed": cost.disk(config.num_epochs), "free": free}


def _judge(found: dict[str, Any], config: VoiceConfig) -> None:
    """Add what speaks against it."""
    refusals, memory, disk = found["refusals"], found["memory"], found["disk"]
    if config.language not in ("auto", "en") and config.preview_sentences == VoiceConfig().preview_sentences:
        found["warnings"].append(
            f"the preview sentences are English: give some in {config.language}, the best epoch is chosen by them"
        )
    if config.optimizer == "adamw8bit" and found["device"] == "cpu":
        refusals.append(("the 8-bit optimizer needs a GPU", "Set optimizer to adamw."))
    if memory is not None:
        fixed = memory["weights"] + memory["trained"]
        if fixed > memory["whole"]:
            way = "method lora" if config.method == "full" else "the 0.6B model, or another GPU"
            refusals.append(
                (
                    f"the parameters, gradients and optimizer need {fixed / GIB:.1f} GiB, {found['device']} has "
                    f"{memory['whole'] / GIB:.1f}",
                    f"Use {way}.",
                )
            )
        elif memory["total"] > TIGHT * memory["free"]:
            found["warnings"].append(
                f"about {memory['total'] / GIB:.1f} GiB at the peak, {memory['free'] / GIB:.1f} GiB are free: this may "
                f"not fit{_smaller(config)}"
            )
    if disk is not None and disk["needed"] > disk["free"]:
        refusals.append(
            (
                f"{config.num_epochs} epochs of {disk['epoch'] / 1e9:.1f} GB and the points to resume from need "
                f"{disk['needed'] / 1e9:.1f} GB, there are {disk['free'] / 1e9:.1f} GB free",
                "Free some space, lower num_epochs, or set output_dir.",
            )
        )


def _smaller(config: VoiceConfig) -> str:
    ways = [] if config.gradient_checkpointing else ["gradient_checkpointing"]
    ways += [f"batch_size {config.batch_size // 2}"] if config.batch_size > 1 else []
    ways += ["a smaller max_duration_sec"] if not ways else []
    return f"; {' and '.join(ways)} would need less"


def _expected(jobs: VoiceJobs, config: VoiceConfig, data: dict[str, Any], device: str) -> float | None:
    """Seconds, from the newest finished training of the same model, method and device: its steps for the speech,
    and the ends of its epochs for the sentences that are spoken."""
    for run in jobs.runs.list("voice"):
        old, result = run.spec.get("config", {}), run.result()
        same = all(old.get(key) == getattr(config, key) for key in ("base_model", "method", "batch_size"))
        speech = float(run.spec.get("speech_seconds") or 0)
        if not (same and run.spec.get("device") == device and run.status().state == "done" and speech and result):
            continue
        step, end = result.get("seconds_per_step"), float(result.get("seconds_per_epoch_end") or 0)
        epochs = float(old.get("num_epochs") or 0)
        if step is None or not epochs:
            continue
        epoch = float(step) * float(result.get("steps", 0)) / epochs * float(data["seconds"]) / speech
        before = sum(map(len, old.get("preview_sentences") or []))
        ratio = sum(map(len, config.preview_sentences)) / before if before else 1.0
        return config.num_epochs * (epoch + end * ratio) + end * ratio  # zero-shot cloning speaks them too
    return None

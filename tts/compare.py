"""The same sentences by every epoch of a voice and by zero-shot cloning, with a page to listen to them.

    python -m tts.compare --voice VOICE_FOLDER --sentences SENTENCES.json --output FOLDER [--config C] [--whisper W]

Written are FOLDER/index.html, FOLDER/figures.json and FOLDER/{epoch-1,zero-shot,…}/sentence-1.wav. The page needs
no network and shows nothing that is not in the folder.
"""

from __future__ import annotations

import argparse
import gc
import html
import json
from pathlib import Path
from typing import Any

from engines.config.job import load
from engines.config.voice import VoiceConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.voice.voice_files import Voice, read_voice
from tts import audio, listening, qwen, speaking
from tts.epochs import undisturbed, write_whole

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.5rem;text-align:left;
vertical-align:top}audio{width:14rem}.best{font-weight:bold}small{color:#666}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#444}small{color:#aaa}}
"""


def percent(value: Any) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else "–"


def page(voice: str, best: int | None, results: dict[str, dict[str, Any]]) -> str:
    """The page: a row per speaker, a column per sentence. All text is escaped."""
    sentences = [row["text"] for row in next(iter(results.values()))["sentences"]]
    heads = "".join(f"<th>{html.escape(text)}</th>" for text in sentences)
    rows = []
    for name, result in results.items():
        heard = result["heard"]
        alike, wrong, speed = (percent(heard[key]) for key in ("similarity", "wer", "speed"))
        figures = f"alike {alike}, word errors {wrong}, speed {speed}"
        cells = ""
        for number, row in enumerate(result["sentences"], 1):
            text = html.escape(row.get("heard", ""))
            end = "" if row["ended"] else "<br><small>no end, cut off</small>"
            cells += f'<td><audio controls preload="none" src="{name}/sentence-{number}.wav"></audio>'
            cells += f"<br><small>{text}</small>{end}</td>"
        mark = ' class="best"' if name == f"epoch-{best}" else ""
        label = name.replace("-", " ") + (" (best)" if mark else "")
        rows.append(f"<tr><td{mark}>{label}<br><small>{figures}</small></td>{cells}</tr>")
    title = f"{html.escape(voice)}: epochs compared"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>Alike: cosine of speaker embeddings with the reference. Word errors: what Whisper heard "
        "against the text. Speed: of the speaker's own.</p>"
        f'<p>Reference: <audio controls preload="none" src="reference.wav"></audio></p>'
        f"<table><tr><th></th>{heads}</tr>{''.join(rows)}</table></html>\n"
    )


def compare(arguments: argparse.Namespace) -> None:
    config = load(VoiceConfig, arguments.config)
    voice = read_voice(arguments.voice)
    sentences = json.loads(arguments.sentences.read_text(encoding="utf-8"))
    reference_file = voice.path / "reference.wav"
    if not voice.epochs or not reference_file.is_file() or not voice.card:
        raise UserError(
            "bad_input", f"{voice.name} has no epochs, or no voice.json and reference.wav", "Train it here."
        )
    device = qwen.choose_device(config.device)
    qwen.set_threads()
    kind = (device, qwen.choose_precision(config.precision, device), qwen.choose_attention(config.attention, device))
    emit("phase", name="load", text=f"loading the base model on {device}")
    base = qwen.load(qwen.local_folder(str(voice.card["base_model"])), *kind)
    reference = audio.read(reference_file)
    speaker = listening.speaker_embedding(base.model, reference)
    whisper = listening.load_whisper(arguments.whisper, config.language) if arguments.whisper else None
    results: dict[str, dict[str, Any]] = {}

    def write(folder: Path) -> None:
        total = len(sentences) * (len(voice.epochs) + 1)

        def record(name: str, speaking_model: Any, say: Any) -> None:
            spoken = []
            with undisturbed(speaking_model.model, config.seed):
                for text in sentences:
                    if stop_requested():
                        raise UserError("stopped", "the comparison was stopped", "Nothing was left behind.")
                    spoken.append(say(text, speaking.frame_limit(text, voice.speed)))
                    done = len(results) * len(sentences) + len(spoken)
                    emit("progress", done=done, total=total, unit="sentences")
            heard, rows = listening.judge(spoken, base.model, speaker, whisper, voice.speed)
            listening.save_spoken(folder / name, spoken)
            results[name] = {"heard": heard.as_dict(), "sentences": rows}

        text = str(voice.card["dataset"]["reference"]["text"])
        emit("phase", name="zero-shot", text="zero-shot cloning speaks")
        record("zero-shot", base, lambda words, limit: speaking.like_clip(base, words, reference, text, limit))
        for epoch in voice.epochs:
            emit("phase", name="speak", text=f"epoch {epoch.number} speaks")
            model = qwen.load(epoch.path, *kind, kind="custom_voice")
            record(f"epoch-{epoch.number}", model, lambda words, limit, m=model: speaking.with_voice(m, words, limit))
            del model
            gc.collect()
        audio.write(folder / "reference.wav", reference)
        statefiles.write_json(folder / "figures.json", {"voice": voice.name, "results": results})
        (folder / "index.html").write_text(page(voice.name, best_of(voice, results), results), encoding="utf-8")

    write_whole(arguments.output, write)
    write_result(
        "done", output=str(arguments.output), best_epoch=best_of(voice, results),
        figures={name: result["heard"] for name, result in results.items()},
    )  # fmt: skip


def best_of(voice: Voice, results: dict[str, dict[str, Any]]) -> int | None:
    """The best epoch by these sentences."""
    heard = [{"epoch": e.number, "heard": results[f"epoch-{e.number}"]["heard"]} for e in voice.epochs]
    return listening.best(heard)


def main() -> None:
    parser = argparse.ArgumentParser(description="The same sentences by every epoch of a voice, with a page.")
    parser.add_argument("--voice", type=Path, required=True, help="the voice's folder")
    parser.add_argument("--sentences", type=Path, required=True, help="a JSON list of texts")
    parser.add_argument("--output", type=Path, required=True, help="a folder that is not there yet, or empty")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--whisper", help="folder or size of a Whisper model")
    compare(parser.parse_args())


if __name__ == "__main__":
    run_script(main)

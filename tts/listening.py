"""How good speech is: understood by Whisper (WER), like the speaker (embeddings), as fast as the speaker."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.contract.events import emit
from tts.qwen import SAMPLE_RATE
from tts.speaking import Spoken
from tts.whisper import RATE, Whisper

HEARD_SECONDS = 30
FASTER, SLOWER = 1.2, 0.8  # than the speaker: worth a warning
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*", re.UNICODE)


@dataclass(frozen=True)
class Heard:
    """Means over some sentences. wer: None without a Whisper model; speed: of the speaker's own, 1 is equal."""

    wer: float | None
    similarity: float
    speed: float
    without_end: int
    sentences: int

    def as_dict(self) -> dict[str, Any]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def words(text: str) -> list[str]:
    """Lower case, no punctuation: what WER compares."""
    return _WORD.findall(text.lower().replace("ё", "е"))


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """(insertions, deletions and substitutions that turn one into the other; words said)."""
    wanted, found = words(said), words(heard)
    row = list(range(len(found) + 1))
    for number, word in enumerate(wanted, 1):
        before, row[0] = row[0], number
        for column, other in enumerate(found, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (word != other))
    return row[-1], len(wanted)


def load_whisper(model: str, language: str) -> Whisper | None:
    """The Whisper model in a folder or of a name, on the CPU in int8; None, and a warning, where there is none."""
    try:
        return Whisper(model, "cpu", "int8", language, beam_size=1)
    except UserError as error:
        emit("warning", text=f"no word errors: {error.cause}")
        return None


def transcript(whisper: Whisper, sound: Any) -> str:
    """What Whisper hears in 24 kHz samples [N]; of long ones in the first 30 s."""
    import soxr

    clip = soxr.resample(sound[: SAMPLE_RATE * HEARD_SECONDS], SAMPLE_RATE, RATE)
    return whisper.transcribe([clip])[0].text


def speaker_embedding(model: Any, sound: Any) -> Any:
    """The base model's speaker embedding [D] of 24 kHz samples [N]."""
    return model.extract_speaker_embedding(audio=sound, sr=SAMPLE_RATE).detach().clone()


def similarity(one: Any, other: Any) -> float:
    """Cosine of two embeddings [D]."""
    from torch.nn.functional import cosine_similarity

    return float(cosine_similarity(one.float().cpu(), other.float().cpu(), dim=0))


def judge(
    spoken: list[Spoken], model: Any, speaker: Any, whisper: Whisper | None, characters_per_second: float
) -> tuple[Heard, list[dict[str, Any]]]:
    """The means, and for each sentence what was heard. model: the base, for its speaker encoder; speaker: [D]."""
    errors = said = 0
    rows = []
    for item in spoken:
        row: dict[str, Any] = {"text": item.text, "seconds": round(item.seconds, 2), "ended": item.ended}
        row["similarity"] = round(similarity(speaker_embedding(model, item.sound), speaker), 4)
        if whisper is not None:
            row["heard"] = transcript(whisper, item.sound)
            wrong, count = word_errors(item.text, row["heard"])
            errors, said = errors + wrong, said + count
        rows.append(row)
    seconds = sum(item.seconds for item in spoken)
    speed = sum(len(item.text) for item in spoken) / max(seconds, 0.01) / max(characters_per_second, 0.01)
    heard = Heard(
        wer=errors / said if whisper is not None and said else None,
        similarity=sum(row["similarity"] for row in rows) / len(rows),
        speed=speed,
        without_end=sum(not item.ended for item in spoken),
        sentences=len(spoken),
    )
    return heard, rows


def warnings(name: str, heard: Heard) -> list[str]:
    """What should worry whoever listens to `name` (an epoch)."""
    found = []
    if heard.without_end:
        found.append(f"{name} runs on without end in {heard.without_end} of {heard.sentences} sentences")
    elif heard.speed > FASTER:
        found.append(f"{name} speaks {heard.speed - 1:.0%} faster than the speaker")
    elif heard.speed < SLOWER:
        found.append(f"{name} speaks {1 - heard.speed:.0%} slower than the speaker")
    return found


def best(epochs: list[dict[str, Any]]) -> int | None:
    """The number of the best epoch; each has `epoch`, and `heard` or `eval_loss` as far as they are known.

    Heard: likeness less word errors, less the share that has no end, less the speed's distance from the
    speaker's. Nothing heard: the lowest held-out loss. None where nothing is known of any.
    """

    def worth(epoch: dict[str, Any]) -> float:
        heard = epoch.get("heard")
        if heard:
            strange = min(1.0, abs(math.log(max(heard["speed"], 0.01))))
            endless = heard["without_end"] / max(1, heard["sentences"])
            return float(heard["similarity"]) - min(1.0, heard["wer"] or 0.0) - endless - strange
        loss = epoch.get("eval_loss")
        return -float(loss) if loss is not None else -math.inf

    known = [epoch for epoch in epochs if epoch.get("heard") or epoch.get("eval_loss") is not None]
    heard_ones = [epoch for epoch in known if epoch.get("heard")]
    ranked = heard_ones or known
    return int(max(ranked, key=worth)["epoch"]) if ranked else None


def save_spoken(folder: Path, spoken: list[Spoken]) -> list[str]:
    """Write sentence-1.wav … into `folder`. Returns the file names."""
    from engines.contract import statefiles
    from tts import audio

    statefiles.make_private_dir(folder)
    names = []
    for number, item in enumerate(spoken, 1):
        names.append(f"sentence-{number}.wav")
        audio.write(folder / names[-1], item.sound)
    return names

"""Whisper through faster-whisper's CTranslate2 model, made for many short clips.

Whisper looks at 30 s at a time, and faster-whisper pads every clip to that, so a clip of
3 s costs as much as one of 30. Here clips of like length go through the encoder together
at their own length and some silence more; without that silence it repeats itself. What
still repeats itself, or comes out empty, is done again in the usual 30 s. Every word has
the probability that the model gives it, by a look at its own answer.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.contract.errors import UserError

RATE = 16_000
FRAMES_PER_SECOND = 100  # of the spectrogram
WINDOW = 3000  # frames
SILENCE = 400  # frames behind a clip; with 200 one clip in twenty repeated itself, with 400 none of 24
UNSURE = 0.5  # a word below this is marked
REPETITIVE = 2.4  # compression ratio, as Whisper's own
SURE_LANGUAGE = 0.8  # a clip whose language is less sure has the one that most others have
NAMES = ("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en", "large-v1", "large-v2",
         "large-v3", "large-v3-turbo", "turbo", "distil-large-v3")  # fmt: skip


@dataclass
class Heard:
    """What is said in a clip. confidence: mean probability of its words; uncertain: the words below UNSURE."""

    text: str
    confidence: float
    language: str
    uncertain: list[str] = field(default_factory=list)


class Whisper:
    """One model. Raises UserError for one that is not there. language: a code, or auto: heard from each clip."""

    def __init__(self, name: str, device: str, compute_type: str, language: str, beam_size: int):
        self.model = open_model(name, device, compute_type)
        self.language = None if language == "auto" else language
        self.beam_size = beam_size
        self._tokenizers: dict[str, Any] = {}
        self._languages: Counter[str] = Counter()  # how much of all clips so far, by their probabilities

    def transcribe(self, clips: list[np.ndarray]) -> list[Heard]:
        """Clips of at most 30 s, mono at 16 kHz, together; best of like length."""
        features = [self.model.feature_extractor(clip)[:, :WINDOW] for clip in clips]
        frames = min(WINDOW, max(spectrum.shape[1] for spectrum in features) + SILENCE)
        frames += frames % 2
        encoded = self._encode(features, frames)
        languages = [self.language] * len(clips) if self.language else self._detect(encoded)
        heard: dict[int, Heard] = {}
        for language in dict.fromkeys(languages):
            those = [number for number, own in enumerate(languages) if own == language]
            part = [features[number] for number in those]
            shared = encoded if len(those) == len(clips) else self._encode(part, frames)
            heard |= zip(those, self._decode(part, shared, language), strict=True)
        again = [number for number, found in heard.items() if is_suspicious(found.text)]
        for number in again if frames < WINDOW else ():
            part = [features[number]]
            (heard[number],) = self._decode(part, self._encode(part, WINDOW), languages[number])
        return [heard[number] for number in range(len(clips))]

    def _encode(self, features: list[np.ndarray], frames: int) -> Any:
        return self.model.encode(np.stack([padded(spectrum, frames) for spectrum in features]))

    def _decode(self, features: list[np.ndarray], encoded: Any, language: str) -> list[Heard]:
        tokenizer = self.tokenizer(language)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        answers = self.model.model.generate(encoded, [prompt] * len(features), beam_size=self.beam_size, max_length=224)
        tokens = [[token for token in answer.sequences_ids[0] if token < tokenizer.eot] for answer in answers]
        frames = 2 * encoded.shape[1]
        found = self.model.model.align(
            encoded, list(tokenizer.sot_sequence), [part or [tokenizer.eot] for part in tokens],
            [min(spectrum.shape[1], frames) for spectrum in features],
        )  # fmt: skip
        return [
            self._heard(part, aligned.text_token_probs, language) for part, aligned in zip(tokens, found, strict=True)
        ]

    def _heard(self, tokens: list[int], probabilities: list[float], language: str) -> Heard:
        if not tokens:
            return Heard("", 0.0, language)
        tokenizer = self.tokenizer(language)
        words, parts = tokenizer.split_to_word_tokens([*tokens, tokenizer.eot])
        sure: list[float] = []
        uncertain = []
        position = 0
        for word, part in zip(words[:-1], parts[:-1], strict=True):
            probability = min(probabilities[position : position + len(part)], default=0.0)
            position += len(part)
            if re.search(r"\w", word):
                sure.append(probability)
                if probability < UNSURE:
                    uncertain.append(word.strip(" .,!?:;\"'«»()"))
        text = " ".join(tokenizer.decode(tokens).split())
        return Heard(text, round(sum(sure) / len(sure), 3) if sure else 0.0, language, uncertain)

    def tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        if language not in self._tokenizers:
            model = self.model
            self._tokenizers[language] = Tokenizer(
                model.hf_tokenizer, model.model.is_multilingual, task="transcribe", language=language
            )
        return self._tokenizers[language]

    def _detect(self, encoded: Any) -> list[str]:
        """The language of each clip: its own where it is sure, else the likeliest of all clips so far."""
        if not self.model.model.is_multilingual:
            return ["en"] * encoded.shape[0]
        guesses = [
            {token.strip("<|>"): probability for token, probability in found}
            for found in self.model.model.detect_language(encoded)
        ]
        for found in guesses:
            self._languages.update(found)
        usual = max(self._languages, key=lambda language: self._languages[language])
        likeliest = [max(found, key=lambda language: found[language]) for found in guesses]
        return [own if found[own] >= SURE_LANGUAGE else usual for own, found in zip(likeliest, guesses, strict=True)]


def padded(spectrum: np.ndarray, frames: int) -> np.ndarray:
    """With silence behind it, up to `frames`."""
    missing = max(0, frames - spectrum.shape[1])
    return np.pad(spectrum[:, :frames], ((0, 0), (0, missing)), constant_values=spectrum.min()).astype(np.float32)


def is_suspicious(text: str) -> bool:
    """Nothing, or the same again and again."""
    data = text.encode()
    return not data or len(data) / len(zlib.compress(data)) > REPETITIVE or _says_it_twice(text)


def _says_it_twice(text: str) -> bool:
    words = text.lower().split()
    half = len(words) // 2
    return half >= 3 and words[:half] == words[half : 2 * half]


def open_model(name: str, device: str, compute_type: str) -> Any:
    """A model by name (of the hub, or of its cache) or by folder."""
    from faster_whisper import WhisperModel

    folder = Path(name).expanduser()
    if not folder.is_dir() and name not in NAMES:
        raise UserError(
            "not_found", f"there is no Whisper model {name}", f"Give a folder, or one of {', '.join(NAMES)}."
        )
    if folder.is_dir() and not (folder / "model.bin").is_file():
        raise UserError("bad_input", f"{folder} holds no model.bin", "Give a folder with a faster-whisper model.")
    if device == "auto":
        import ctranslate2

        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    kind, _, index = device.partition(":")
    options = {"device": kind, "device_index": int(index or 0), "compute_type": chosen_type(compute_type, kind)}
    source = str(folder) if folder.is_dir() else name
    try:
        return WhisperModel(source, local_files_only=True, **options)
    except Exception as error:  # of many kinds, by what the hub's cache lacks
        if folder.is_dir():
            raise UserError(
                "bad_input", f"{folder} is no Whisper model: {_first_line(error)}", "Give another."
            ) from error
    print(f"fetching Whisper {name}", flush=True)
    try:
        return WhisperModel(source, **options)
    except Exception as error:
        raise UserError(
            "not_ready", f"Whisper {name} is not here and cannot be fetched: {_first_line(error)}",
            "Check the network, or give a folder with a faster-whisper model.",
        ) from error  # fmt: skip


def chosen_type(wanted: str, device: str) -> str:
    if wanted != "auto":
        return wanted
    return "float16" if device == "cuda" else "int8"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

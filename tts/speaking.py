"""Speaking a text: with a trained voice, or with the base model and a speaker's embedding or reference clip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tts.qwen import FRAMES_PER_SECOND, SAMPLE_RATE

USUAL_SPEED = 14.0  # characters a second, where the speaker's own is not known
SLACK = 2.5  # how many times longer than expected speech may get before it is held to have no end
SPARE_SECONDS = 3.0
LONGEST_PIECE = 240  # characters spoken in one go
_SENTENCE = re.compile(r"[^.!?…。！？\n]+[.!?…。！？]*[\"'»”)]*\s*", re.UNICODE)


@dataclass(frozen=True)
class Spoken:
    """sound: 24 kHz samples [N]; ended: False where it was cut off because no end came."""

    text: str
    sound: Any
    ended: bool

    @property
    def seconds(self) -> float:
        return len(self.sound) / SAMPLE_RATE


def frame_limit(text: str, characters_per_second: float) -> int:
    """How many frames a text may take."""
    seconds = SPARE_SECONDS + SLACK * len(text) / max(1.0, characters_per_second)
    return max(8, round(seconds * FRAMES_PER_SECOND))


def pieces(text: str) -> list[str]:
    """A text's sentences, long ones cut at commas or spaces; each can be spoken in one go."""
    found: list[str] = []
    for sentence in (match.group().strip() for match in _SENTENCE.finditer(text)):
        while len(sentence) > LONGEST_PIECE:
            head = sentence[:LONGEST_PIECE]
            cut = max(head.rfind(mark) for mark in (", ", "; ", ": ", " — ")) + 1 or head.rfind(" ") + 1
            cut = cut or LONGEST_PIECE
            found.append(sentence[:cut].strip())
            sentence = sentence[cut:].strip()
        if any(character.isalnum() for character in sentence):
            found.append(sentence)
    return found


def with_speaker(voice: Any, text: str, speaker: Any, limit: int) -> Spoken:
    """The base model speaks with a speaker's embedding [D]: as the exported voice will."""
    from qwen_tts import VoiceClonePromptItem

    prompt = VoiceClonePromptItem(ref_code=None, ref_spk_embedding=speaker, x_vector_only_mode=True, icl_mode=False)
    return _spoken(
        text, limit, voice.generate_voice_clone, voice_clone_prompt=[prompt], language="Auto", non_streaming_mode=True
    )


def like_clip(voice: Any, text: str, clip: Any, clip_text: str, limit: int) -> Spoken:
    """Zero-shot: the base model goes on from a reference clip [N] and what is said in it."""
    return _spoken(
        text, limit, voice.generate_voice_clone, ref_audio=(clip, SAMPLE_RATE), ref_text=clip_text, language="Auto"
    )


def with_voice(voice: Any, text: str, limit: int) -> Spoken:
    """A trained voice speaks."""
    name = next(iter(voice.get_supported_speakers()))
    return _spoken(text, limit, voice.generate_custom_voice, speaker=name, language="Auto")


def _spoken(text: str, limit: int, generate: Any, **arguments: Any) -> Spoken:
    sounds, _ = generate(text, max_new_tokens=limit, **arguments)
    sound = sounds[0]
    # of `limit` tokens the last one that is not the end stays without a frame
    return Spoken(text, sound, ended=len(sound) < (limit - 1) * SAMPLE_RATE / FRAMES_PER_SECOND)

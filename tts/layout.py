"""How a clip becomes a training row: two channels that are summed, as the model's generation builds them.

    position        text channel                     codec channel
    0 1 2           <|im_start|> assistant \\n         nothing
    3 4 5           pad                              nothink, think_bos, think_eos
    6               pad                              the speaker's embedding
    7               tts_bos                          codec_pad
    8 …             the text, then tts_eos           codec_pad
    next            pad                              codec_bos
    next …          pad                              the frames' codes, then codec_eos

A frame's embedding is the sum of those of its 16 codes. The row is the one of
`generate_custom_voice(language="Auto", non_streaming_mode=True)`, so that is how a voice must be spoken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tts.qwen import CODEBOOKS

SPEAKER_POSITION = 6
PREFIX = 8  # positions before the text
ROLE = 3  # tokens before the text in a prompt, and
CLOSING = 5  # after it
IGNORED = -100


@dataclass(frozen=True)
class Clip:
    """A clip ready to train on. text_ids: [L], its role and text tokens; codes: [T][16]."""

    text_ids: list[int]
    codes: list[list[int]]

    @property
    def length(self) -> int:
        """Positions of its row: prefix, text with its end, codec_bos, frames, codec_eos."""
        return PREFIX + len(self.text_ids) - ROLE + 1 + 1 + len(self.codes) + 1


def text_ids(processor: Any, text: str) -> list[int]:
    """The tokens of role and text, [L]; what a prompt has behind the text is cut off."""
    prompt = f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n"
    ids = processor(text=prompt, return_tensors="pt", padding=True)["input_ids"].view(-1).tolist()
    return [int(token) for token in ids[:-CLOSING]]


def collate(clips: list[Clip], config: Any) -> dict[str, Any]:
    """Rows of equal length L, padded on the right.

    config: the model's Qwen3TTSConfig. Returns tensors: text [B, L] and text_mask [B, L]; first [B, L] (codec
    channel, codebook 1) and codec_mask [B, L]; codes [B, L, 16] and frame_mask [B, L]; attention_mask [B, L];
    labels [B, L]: the token of codebook 1 that stands at that position, IGNORED where nothing is learned.
    """
    import torch

    talker = config.talker_config
    rows, length = len(clips), max(clip.length for clip in clips)
    text = torch.full((rows, length), config.tts_pad_token_id)
    first = torch.full((rows, length), talker.codec_pad_id)
    codes = torch.zeros((rows, length, CODEBOOKS), dtype=torch.long)
    labels = torch.full((rows, length), IGNORED)
    attention, codec_mask, frame_mask = (torch.zeros((rows, length), dtype=torch.bool) for _ in range(3))
    head = [talker.codec_nothink_id, talker.codec_think_bos_id, talker.codec_think_eos_id]
    for row, clip in enumerate(clips):
        words = torch.tensor(clip.text_ids)
        frames = torch.tensor(clip.codes)
        end_of_text = PREFIX + len(words) - ROLE
        begin = end_of_text + 2  # of the frames: behind tts_eos and codec_bos
        end = begin + len(frames)
        text[row, :ROLE] = words[:ROLE]
        text[row, PREFIX - 1] = config.tts_bos_token_id
        text[row, PREFIX:end_of_text] = words[ROLE:]
        text[row, end_of_text] = config.tts_eos_token_id
        first[row, ROLE:SPEAKER_POSITION] = torch.tensor(head)
        first[row, begin - 1] = talker.codec_bos_id
        first[row, begin:end] = frames[:, 0]
        first[row, end] = talker.codec_eos_token_id
        codes[row, begin:end] = frames
        labels[row, begin : end + 1] = first[row, begin : end + 1]
        attention[row, : end + 1] = True
        codec_mask[row, ROLE : end + 1] = True
        codec_mask[row, SPEAKER_POSITION] = False
        frame_mask[row, begin:end] = True
    return {
        "text": text, "text_mask": attention.clone(), "first": first, "codec_mask": codec_mask, "codes": codes,
        "frame_mask": frame_mask, "attention_mask": attention.long(), "labels": labels,
    }  # fmt: skip

"""What the model's own generation thinks of given speech: teacher forcing through the package's code, not ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import cross_entropy


class _Captured(Exception):
    pass


def speaker_prompt(voice: Any, speaker: torch.Tensor) -> list[Any]:
    """A clone prompt of a speaker's embedding [D] alone."""
    from qwen_tts import VoiceClonePromptItem

    return [VoiceClonePromptItem(ref_code=None, ref_spk_embedding=speaker, x_vector_only_mode=True, icl_mode=False)]


def _start_of_generation(voice: Any, text: str, speaker: torch.Tensor) -> dict[str, Any]:
    """The arguments with which the package begins to generate `text`."""
    captured: dict[str, Any] = {}

    def catch(**arguments: Any) -> None:
        captured.update(arguments)
        raise _Captured

    original, voice.model.talker.generate = voice.model.talker.generate, catch
    try:
        voice.generate_voice_clone(
            text, voice_clone_prompt=speaker_prompt(voice, speaker), non_streaming_mode=True, language="Auto"
        )
    except _Captured:
        pass
    finally:
        voice.model.talker.generate = original
    return captured


@torch.no_grad()
def generation_cross_entropy(voice: Any, text: str, codes: torch.Tensor, speaker: torch.Tensor) -> tuple[float, float]:
    """Nats per prediction (talker, sub-talker) of speech `codes` [T, 16], step by step as the package generates."""
    model, talker = voice.model.eval(), voice.model.talker
    predictor = talker.code_predictor
    start = _start_of_generation(voice, text, speaker)
    rest_losses: list[float] = []

    def forced(inputs_embeds: torch.Tensor, **_: Any) -> Any:
        """Instead of sampling codebooks 2 to 16: the given ones, and what the predictor thought of them."""
        output = predictor(inputs_embeds=inputs_embeds, use_cache=True)
        for book in range(1, 16):
            rest_losses.append(float(cross_entropy(output.logits[:, -1].float(), frame[:, book])))
            if book < 15:
                output = predictor(
                    input_ids=frame[:, book : book + 1],
                    past_key_values=output.past_key_values,
                    generation_steps=output.generation_steps,
                    use_cache=True,
                )
        return SimpleNamespace(sequences=frame[:, 1:])

    length = start["inputs_embeds"].shape[1]
    output = talker(
        inputs_embeds=start["inputs_embeds"],
        attention_mask=start["attention_mask"],
        trailing_text_hidden=start["trailing_text_hidden"],
        tts_pad_embed=start["tts_pad_embed"],
        cache_position=torch.arange(length),
        use_cache=True,
    )
    end = model.config.talker_config.codec_eos_token_id
    first_losses = []
    original, predictor.generate = predictor.generate, forced
    try:
        for number, wanted in enumerate([*codes[:, 0].tolist(), end]):
            first_losses.append(float(cross_entropy(output.logits[:, -1].float(), torch.tensor([wanted]))))
            if number == len(codes):
                break
            frame = codes[number : number + 1]
            output = talker(
                input_ids=frame[:, :1],
                attention_mask=torch.ones(1, length + number + 1, dtype=torch.long),
                past_key_values=output.past_key_values,
                past_hidden=output.past_hidden,
                trailing_text_hidden=start["trailing_text_hidden"],
                tts_pad_embed=start["tts_pad_embed"],
                generation_step=output.generation_step,
                cache_position=torch.tensor([length + number]),
                use_cache=True,
            )
    finally:
        predictor.generate = original
    return sum(first_losses) / len(first_losses), sum(rest_losses) / len(rest_losses)

"""One answer of a loaded model to a dialog, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

from finetune.rows import Message


def stream_answer(
    model: Any, tokenizer: Any, messages: list[Message], *, max_new_tokens: int = 96, temperature: float = 0.0
) -> Iterator[str]:
    """Yield the answer piece by piece. temperature 0: the likeliest token each time (repeatable)."""
    import torch
    from transformers import TextIteratorStreamer

    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 0.95}
    failures: list[BaseException] = []

    def generate() -> None:
        try:
            with torch.inference_mode():
                model.generate(
                    **prompt.to(model.device),
                    **sampling,
                    streamer=streamer,
                    max_new_tokens=max_new_tokens,
                    repetition_penalty=1.1,
                    pad_token_id=tokenizer.pad_token_id,
                    eos_token_id=end_tokens(model, tokenizer),
                )
        except BaseException as error:
            failures.append(error)
            streamer.end()

    thread = Thread(target=generate, daemon=True)
    thread.start()
    yield from streamer
    thread.join()
    if failures:
        raise failures[0]


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the model's own and the chat template's end of turn."""
    configured = model.generation_config.eos_token_id
    ends = set(configured if isinstance(configured, list) else [configured] if configured is not None else [])
    ends.add(tokenizer.eos_token_id)
    for name in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>"):
        token = tokenizer.convert_tokens_to_ids(name)
        if token is not None and token != tokenizer.unk_token_id:
            ends.add(token)
    return sorted(end for end in ends if end is not None)


def answer(model: Any, tokenizer: Any, messages: list[Message], **options: Any) -> str:
    return "".join(stream_answer(model, tokenizer, messages, **options)).strip()

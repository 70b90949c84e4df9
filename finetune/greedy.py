"""Answers of a loaded model to many dialogs at once: the likeliest token each time, nothing drawn, no penalty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engines.contract.run_protocol import stop_requested
from finetune.generate import end_tokens
from finetune.rows import Message
from finetune.scoring import Stopped


def answer_all(
    model: Any, tokenizer: Any, prompts: Sequence[list[Message]], *, max_new_tokens: int, batch_size: int,
    advance: Callable[[int], None],
) -> list[str]:  # fmt: skip
    """The answer to each dialog, which ends with the user's turn. Raises Stopped."""
    texts = [tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True) for prompt in prompts]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    answers = [""] * len(ids)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        for index, answer in zip(
            batch, _answer_batch(model, tokenizer, [ids[i] for i in batch], max_new_tokens), strict=True
        ):
            answers[index] = answer
        advance(len(batch))
    return answers


def _answer_batch(model: Any, tokenizer: Any, batch: list[list[int]], max_new_tokens: int) -> list[str]:
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class StopRequest(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), stop_requested(), device=input_ids.device)

    inputs = tokenizer.pad({"input_ids": batch}, padding=True, padding_side="left", return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(
            **inputs.to(model.device),
            do_sample=False, temperature=None, top_p=None, top_k=None,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=end_tokens(model, tokenizer),
            stopping_criteria=StoppingCriteriaList([StopRequest()]),
        )  # fmt: skip
    if stop_requested():
        raise Stopped
    answers = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(answers, skip_special_tokens=True)]

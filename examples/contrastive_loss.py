"""A loss of one's own: cross-entropy, and answers that fit their own question better than the other questions.

    ftui llm train chats --loss examples/contrastive_loss.py:contrastive --batch-size 8 --gradient-accumulation-steps 1

The last hidden state at the end of each question and at the end of its answer are compared by
cosine with those of all other rows of the batch, as in InfoNCE (van den Oord et al., 2018,
arXiv:1807.03748, equation 4). It needs at least two rows in a batch; with one it is the
cross-entropy alone.
"""

from __future__ import annotations

from typing import Any

import torch

WEIGHT = 0.1
TEMPERATURE = 0.1
IGNORED = -100


def contrastive(model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> torch.Tensor:
    """inputs: input_ids, attention_mask, labels [rows, tokens]; num_items_in_batch: learned tokens of the step."""
    labels, mask = inputs["labels"], inputs["attention_mask"]
    output = model(input_ids=inputs["input_ids"], attention_mask=mask, output_hidden_states=True, use_cache=False)
    losses = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    learned = labels != IGNORED
    share = learned[:, 1:].sum() / num_items_in_batch if num_items_in_batch is not None else 1.0  # of the whole step
    language = losses / learned[:, 1:].sum() * share
    if len(labels) < 2:
        return language
    states = output.hidden_states[-1].float()
    if states.dim() > 3:  # Gemma 3n has four streams of them
        states = states.mean(dim=0)
    return language + WEIGHT * share * info_nce(states, learned, mask)


def info_nce(states: torch.Tensor, learned: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """states: [rows, tokens, width]; learned, mask: [rows, tokens]. The question ends where learning begins."""
    rows = torch.arange(len(states), device=states.device)
    begins = learned.int().argmax(dim=1)
    questions = torch.nn.functional.normalize(states[rows, (begins - 1).clamp(min=0)], dim=-1)
    answers = torch.nn.functional.normalize(states[rows, mask.sum(dim=1) - 1], dim=-1)
    likeness = questions @ answers.T / TEMPERATURE
    return torch.nn.functional.cross_entropy(likeness, rows)

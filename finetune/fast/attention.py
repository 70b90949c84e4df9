"""Attention for rows laid end to end: each sequence sees itself alone, without a mask of the whole length squared."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.utils import is_flash_attn_2_available

NAME = "per_sequence"


def per_sequence(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of each sequence of a packed row by itself; without cu_seq_lens_q, what `sdpa` does.

    query: [1, heads, length, size]; key, value: [1, heads or a divisor, length, size];
    cu_seq_lens_q: [sequences + 1], where each begins and the last ends, as flash attention takes
    it. Returns [1, length, heads, size].
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, sliding_window=sliding_window, **kwargs
        )
    lengths = cu_seq_lens_q.diff().tolist()
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            *part, scale=scaling, enable_gqa=True, dropout_p=dropout, **_mask(part[0], sliding_window)
        )
        for part in zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def best_for(model: Any) -> str:
    """Flash attention where it is installed and the model is on a GPU; else each sequence by torch's own kernel."""
    on_gpu = next(model.parameters()).is_cuda
    return "flash_attention_2" if on_gpu and is_flash_attn_2_available() else NAME


def _mask(query: torch.Tensor, window: int | None) -> dict[str, Any]:
    length = query.shape[2]
    if window is None or length <= window:
        return {"is_causal": True}
    return {"attn_mask": torch.ones(length, length, dtype=torch.bool, device=query.device).tril().triu(1 - window)}


AttentionInterface.register(NAME, per_sequence)
AttentionMaskInterface.register(NAME, sdpa_mask)

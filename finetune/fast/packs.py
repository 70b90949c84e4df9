"""Rows laid end to end, so that short ones cost what their tokens cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from finetune.rows import IGNORED

SHORTEST_PACK = 64  # tokens; below it calls cost more than arithmetic


@dataclass(frozen=True)
class Row:
    """Token ids and labels of one dialog, [length] each, without padding."""

    ids: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)


def unpadded(batch: dict[str, torch.Tensor], device: torch.device) -> list[Row]:
    """The rows of a padded batch, on `device`: input_ids, labels, attention_mask [rows, length]."""
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    return [
        Row(ids[:length].to(device), labels[:length].to(device))
        for ids, labels, length in zip(batch["input_ids"], batch["labels"], lengths, strict=True)
    ]


def divide(lengths: list[int], side_by_side: int, limit: int) -> list[list[int]]:
    """The numbers of the rows of each pack: about equal in tokens, `limit` each, a multiple of `side_by_side`.

    The longest row goes first, each into the emptiest pack. A pack is longer than `limit` only
    where rows do not divide evenly, or one row alone is longer; few tokens make fewer packs.
    """
    count = side_by_side * max(1, -(-sum(lengths) // (side_by_side * limit)))
    count = min(count, max(1, sum(lengths) // SHORTEST_PACK))
    packs: list[list[int]] = [[] for _ in range(min(count, len(lengths)))]
    sizes = [0] * len(packs)
    for number in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        emptiest = min(range(len(packs)), key=lambda at: (sizes[at], at))
        packs[emptiest].append(number)
        sizes[emptiest] += lengths[number]
    return packs


def lay_out(rows: list[Row]) -> tuple[dict[str, Any], torch.Tensor]:
    """The arguments of a forward pass over rows laid end to end, and the target of each position, [length].

    Positions begin anew with each row; the attention goes by cu_seq_lens.
    """
    lengths = [len(row) for row in rows]
    device = rows[0].ids.device
    ends = torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)
    inputs = {
        "input_ids": torch.cat([row.ids for row in rows])[None],
        "position_ids": torch.cat([torch.arange(length, device=device) for length in lengths])[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
        "use_cache": False,
    }
    nothing = torch.full((1,), IGNORED, device=device)
    targets = torch.cat([piece for row in rows for piece in (row.labels[1:], nothing)])
    return inputs, targets

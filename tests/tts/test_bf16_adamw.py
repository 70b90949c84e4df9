"""AdamW in bf16 alone: small steps count, as they do in fp32; rounded to nearest they are lost."""

from __future__ import annotations

import torch

from tts.bf16_adamw import Bf16AdamW, round_by_chance


def test_rounding_is_right_on_average_and_exact_where_it_can_be() -> None:
    torch.manual_seed(0)
    value = 1.0 + 0.3 / 128  # bf16 knows 1 and 1 + 1/128
    rounded = round_by_chance(torch.full((100_000,), value)).float()
    assert set(rounded.tolist()) == {1.0, 1 + 1 / 128}
    assert abs(float(rounded.mean()) - value) < 1e-4
    exact = torch.tensor([0.0, -2.5, 3.0, float("inf"), float("nan"), -1e30]).bfloat16().float()
    torch.testing.assert_close(round_by_chance(exact).float(), exact, equal_nan=True)


def test_steps_that_nearest_rounding_loses_arrive() -> None:
    torch.manual_seed(0)
    start = torch.randn(20_000).bfloat16()
    moved = {}
    for name, dtype, kind in (
        ("exact", torch.float32, torch.optim.AdamW),
        ("chance", torch.bfloat16, Bf16AdamW),
        ("nearest", torch.bfloat16, torch.optim.AdamW),
    ):
        weights = torch.nn.Parameter(start.clone().to(dtype))
        optimizer = kind([weights], lr=2e-6, weight_decay=0.0)
        for _ in range(50):
            weights.grad = torch.ones_like(weights)
            optimizer.step()
        moved[name] = float((weights.detach().float() - start.float()).mean())
    assert abs(moved["chance"] / moved["exact"] - 1) < 0.2
    assert abs(moved["nearest"]) < 0.3 * abs(moved["exact"])


def test_it_is_adamw_where_rounding_does_not_matter() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(500).bfloat16(), torch.randn(20, 500).bfloat16()
    results = []
    for dtype, kind in ((torch.float32, torch.optim.AdamW), (torch.bfloat16, Bf16AdamW)):
        weights = torch.nn.Parameter(start.clone().to(dtype))
        optimizer = kind([weights], lr=0.05, weight_decay=0.1)
        for gradient in gradients:
            weights.grad = gradient.to(dtype)
            optimizer.step()
        results.append(weights.detach().float())
    assert float((results[0] - results[1]).abs().mean()) < 0.02

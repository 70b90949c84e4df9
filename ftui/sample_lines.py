"""A training's answers to its sample prompts as lines, for both faces."""

from __future__ import annotations

NONE = "no samples: the run had no evaluation yet, or sample_tokens 0"


def lines(samples: list[tuple[int, str, str]]) -> list[str]:
    """samples: (step, prompt, answer). Each prompt once, below it how the answers changed from step to step."""
    found = []
    for prompt in dict.fromkeys(prompt for _, prompt, _ in samples):
        found.append(f"> {' '.join(prompt.split())}")
        found += [f"  step {step:>6}: {' '.join(answer.split())}" for step, asked, answer in samples if asked == prompt]
    return found or [NONE]

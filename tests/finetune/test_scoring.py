"""Losses, right tokens and labels of a real small model, against the model's own loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows

from finetune import base_model, greedy, rows, scoring


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> tuple[Any, Any]:
    return base_model.load_model(str(tiny_model), "cpu", "fp32").eval(), base_model.load_tokenizer(str(tiny_model))


@pytest.fixture
def dialogs() -> list[rows.Dialog]:
    found = [rows.Dialog(row["messages"], row["conversation"]) for row in dialog_rows(12)]
    found[3].messages.extend(found[4].messages + found[5].messages)  # of another length
    return found


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_scores_are_those_of_the_model_itself(
    loaded: Any, dialogs: list[rows.Dialog], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model, tokenizer = loaded
    if batch_size == 5:
        monkeypatch.setattr(scoring, "LOGITS_BYTES", 3 << 20)  # some batches are made smaller
    encoded = rows.encode(dialogs, tokenizer, 512)
    pairs = list(zip(encoded.input_ids, encoded.labels, strict=True))
    done: list[int] = []
    scores = scoring.score_rows(model, pairs, batch_size, done.append)
    assert sum(done) == len(pairs)
    for (ids, labels), (loss, tokens, right) in zip(pairs, scores, strict=True):
        with torch.inference_mode():
            output = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]))
        counted = sum(label != rows.IGNORED for label in labels[1:])
        said = output.logits[0, :-1].argmax(-1).tolist()
        assert tokens == counted
        assert loss / counted == pytest.approx(output.loss.item(), rel=1e-4)
        assert right == sum(a == b for a, b in zip(said, labels[1:], strict=True) if b != rows.IGNORED)
    assert max(done) <= batch_size and (batch_size != 5 or min(done) < 5)


def test_the_likeliest_label_is_the_one_with_the_highest_probability(loaded: Any) -> None:
    import torch

    model, tokenizer = loaded
    labels = ["yes", "yes please", "absolutely not"]
    dialog = rows.Dialog(
        [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "yes"}], "1", label="yes"
    )
    expected = []
    for label in labels:
        text = tokenizer.apply_chat_template(dialog.messages[:-1], tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        answer = tokenizer(f"{label}<|im_end|>", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        expected.append(sum(logits[len(prompt) + n - 1, token].item() for n, token in enumerate(answer)))
    (chosen,) = scoring.choose_labels(model, tokenizer, [dialog], labels, 512, 2, lambda _: None)
    assert chosen == expected.index(max(expected))
    assert math.isfinite(sum(expected))


def test_answers_in_a_batch_are_those_of_one_at_a_time(tiny_model: Path, dialogs: list[rows.Dialog]) -> None:
    import torch

    tokenizer, model = base_model.load_tokenizer(str(tiny_model)), base_model.load_model(str(tiny_model), "cpu", "fp32")
    torch.manual_seed(3)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))  # else it repeats its input
    prompts = [dialog.messages[:1] for dialog in dialogs[:5]] + [dialogs[3].messages[:3]]

    def answer(batch_size: int) -> list[str]:
        return greedy.answer_all(
            model, tokenizer, prompts, max_new_tokens=6, batch_size=batch_size, advance=done.append
        )

    done: list[int] = []
    together = answer(4)
    assert done == [4, 2]
    assert together == answer(1) and any(together)


def test_a_stop_request_ends_it_between_two_batches(
    loaded: Any, dialogs: list[rows.Dialog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = loaded
    monkeypatch.setenv("FTUI_RUN_DIR", str(tmp_path))
    encoded = rows.encode(dialogs, tokenizer, 512)
    pairs = list(zip(encoded.input_ids, encoded.labels, strict=True))
    done: list[int] = []

    def advance(count: int) -> None:
        done.append(count)
        (tmp_path / "stop.json").touch()

    with pytest.raises(scoring.Stopped):
        scoring.score_rows(model, pairs, 2, advance)
    assert done == [2]
    with pytest.raises(scoring.Stopped):
        greedy.answer_all(
            model, tokenizer, [dialogs[0].messages[:1]], max_new_tokens=10_000, batch_size=1, advance=done.append
        )
    assert done == [2]

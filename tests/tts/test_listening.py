"""How speech is judged: word errors, warnings, and which epoch is best."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tts import listening, speaking


@pytest.mark.parametrize(
    ("said", "heard", "errors", "count"),
    [
        ("Hello, world!", "hello world", 0, 2),
        ("one two three", "one three four", 2, 3),
        ("Ещё раз.", "еще раз", 0, 2),
        ("a b", "", 2, 2),
        ("", "noise", 1, 0),
        ("It's 5 o'clock", "its 5 o'clock", 1, 3),
    ],
)
def test_word_errors(said: str, heard: str, errors: int, count: int) -> None:
    assert listening.word_errors(said, heard) == (errors, count)


def heard(**values: Any) -> listening.Heard:
    return listening.Heard(**{"wer": 0.1, "similarity": 0.8, "speed": 1.0, "without_end": 0, "sentences": 2, **values})


def test_warnings_name_what_is_wrong() -> None:
    assert listening.warnings("epoch 1", heard()) == []
    assert listening.warnings("epoch 2", heard(speed=1.25)) == ["epoch 2 speaks 25% faster than the speaker"]
    assert listening.warnings("epoch 2", heard(speed=0.7)) == ["epoch 2 speaks 30% slower than the speaker"]
    assert "without end in 1 of 2" in listening.warnings("epoch 3", heard(without_end=1, speed=0.2))[0]


def test_the_best_epoch_is_the_one_that_is_understood_and_alike() -> None:
    def epoch(number: int, loss: float, **values: Any) -> dict[str, Any]:
        return {"epoch": number, "eval_loss": loss, "heard": heard(**values).as_dict()}

    assert listening.best([epoch(1, 3.0, wer=0.5), epoch(2, 3.5), epoch(3, 2.0, without_end=2)]) == 2
    assert listening.best([epoch(1, 1.0, speed=1.6), epoch(2, 2.0)]) == 2
    assert listening.best([epoch(1, 1.0, wer=None), epoch(2, 2.0, wer=None, similarity=0.9)]) == 2
    assert listening.best([{"epoch": 1, "eval_loss": 3.0}, {"epoch": 2, "eval_loss": 2.0}]) == 2
    assert listening.best([{"epoch": 1, "eval_loss": None}]) is None


def test_long_texts_are_spoken_in_pieces() -> None:
    assert speaking.pieces("One. Two?  «Три!» \n\n ... ") == ["One.", "Two?", "«Три!»"]
    long = "word, " * 100
    pieces = speaking.pieces(long)
    assert all(len(piece) <= speaking.LONGEST_PIECE for piece in pieces)
    assert " ".join(pieces) == long.strip()
    assert speaking.pieces("x" * 500) == ["x" * 240, "x" * 240, "x" * 20]
    assert speaking.pieces("!!! \n") == []


def test_similarity_is_a_cosine() -> None:
    one = torch.tensor([1.0, 0.0])
    assert listening.similarity(one, one * 3) == pytest.approx(1)
    assert listening.similarity(one, torch.tensor([0.0, 1.0])) == pytest.approx(0)

"""Warnings in words: each trouble is found where it begins, said once, and nothing is said of a good run."""

from __future__ import annotations

import math

from finetune.watch import Watch, evaluations_without_gain


def feed(watch: Watch, losses: list[float], **more: list[float]) -> list[str]:
    said = []
    for step, loss in enumerate(losses, 1):
        figures = {"loss": loss, **{name: values[step - 1] for name, values in more.items()}}
        said += watch.look(step, figures)
    return said


def test_a_good_run_is_left_in_peace() -> None:
    falling = [3 - step / 20 for step in range(40)]
    watch = Watch(40, seconds_per_token=0.01)
    said = feed(watch, falling, grad_norm=[1 + step % 3 for step in range(40)], tokens_per_second=[95.0] * 40)
    assert said == [] and watch.look(40, {"eval_loss": 2.0, "learning_rate": 0.0}) == []


def test_not_a_number_is_said_once_with_its_step() -> None:
    said = feed(Watch(10), [3.0, math.nan, math.nan])
    assert len(said) == 1 and "nan at step 2" in said[0] and "learning rate" in said[0]
    assert "gradient is inf at step 1" in Watch(10).look(1, {"grad_norm": math.inf})[0]


def test_an_exploding_gradient() -> None:
    said = feed(Watch(30), [3.0] * 15, grad_norm=[1.0] * 14 + [50.0])
    assert len(said) == 1 and "50 at step 15" in said[0]


def test_overfitting_names_the_best_step() -> None:
    watch = Watch(100)
    for step in range(1, 41):
        said = watch.look(step, {"loss": 3 - step / 20})
        assert said == []
        if step % 10 == 0:
            evaluation = watch.look(step, {"eval_loss": {10: 2.5, 20: 2.0, 30: 2.1, 40: 2.4}[step]})
            assert bool(evaluation) == (step == 40)
    assert "since step 20" in evaluation[0] and "2.000 to 2.400" in evaluation[0]


def test_a_held_out_loss_that_rises_with_the_training_loss_is_no_overfitting() -> None:
    watch = Watch(100)
    for step in range(1, 41):
        watch.look(step, {"loss": 1 + step / 20})
        if step % 10 == 0:
            assert watch.look(step, {"eval_loss": 1 + step / 10}) == []


def test_a_rate_of_zero_before_the_end() -> None:
    watch = Watch(10)
    assert watch.look(5, {"learning_rate": 0.0}) == []
    assert "0 since step 5" in watch.look(6, {"learning_rate": 0.0})[0]
    once = Watch(10)
    rates = {1: 0.0, 2: 0.1, 5: 0.0, 6: 0.1, 9: 0.0, 10: 0.0}
    assert [once.look(step, {"learning_rate": rate}) for step, rate in rates.items()] == [[]] * len(rates)


def test_slower_than_the_probe() -> None:
    watch = Watch(50, seconds_per_token=0.01)
    said = feed(watch, [1.0] * 10, tokens_per_second=[90, 40, 90, 40, 40, 40, 40, 40, 40, 40])
    assert len(said) == 1 and "40 tokens/s against 100" in said[0]


def test_evaluations_without_gain() -> None:
    log = [{"eval_loss": value} for value in (3.0, 2.0, 2.5, 2.2)]
    assert evaluations_without_gain(log) == 2
    assert evaluations_without_gain([{"loss": 1.0}]) == 0
    assert evaluations_without_gain([*log, {"eval_loss": 1.0}]) == 0


def test_held_out_losses_that_are_no_numbers_are_never_the_best_and_no_overfitting() -> None:
    watch, log = Watch(100), []
    for step, eval_loss in {10: math.nan, 20: 2.0, 30: math.nan, 40: math.nan}.items():
        log.append({"eval_loss": eval_loss})
        said = [*watch.look(step, {"loss": 3 - step / 20}), *watch.look(step, {"eval_loss": eval_loss})]
        assert said == []
    assert evaluations_without_gain(log) == 2
    assert evaluations_without_gain([{"eval_loss": math.nan}] * 3) == 2
    said = [*watch.look(50, {"loss": math.nan, "eval_loss": 2.1}), *watch.look(60, {"loss": 0.0, "eval_loss": 2.2})]
    overfitting = next(text for text in said if "overfitting" in text)
    assert "since step 20: " in overfitting and "2.000 to 2.200" in overfitting and "2.250 to 0.833" in overfitting

"""How far a run is: rates of this attempt alone, a resumed run's points replaced, nothing that an event can break."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_events import ANY, FIELDS, KINDS

from engines.running.progress import Progress


def applied(*events: dict[str, Any]) -> Progress:
    progress = Progress()
    for event in events:
        progress.apply(event)
    return progress


def attempt(number: int, time: float) -> dict[str, Any]:
    return {"event": "attempt", "attempt": number, "time": time}


def train(total: int, first: int, time: float) -> dict[str, Any]:
    return {"event": "train", "total_steps": total, "first_step": first, "epochs": 3, "time": time}


def step(number: int, time: float, loss: float | None = None, **more: Any) -> dict[str, Any]:
    return {"event": "metrics", "step": number, "time": time, "loss": loss or 1 / number, **more}


def test_nothing_is_known_at_first() -> None:
    progress = Progress()
    assert progress.share is None and progress.eta_seconds() is None and progress.loss is None
    progress = applied(attempt(1, 100), train(10, 0, 110))
    assert (progress.share, progress.eta_seconds(110), progress.started_at) == (0, None, 100)


def test_the_first_step_does_not_count_when_there_are_more() -> None:
    progress = applied(train(10, 0, 0), step(1, 60))
    assert progress.eta_seconds(60) == 9 * 60
    progress = applied(train(10, 0, 0), step(1, 60), step(2, 62), step(3, 64))
    assert progress.seconds_per_step == 2
    assert progress.eta_seconds(64) == 14
    assert progress.eta_seconds(65) == 13, "it goes down between two events"
    assert progress.eta_seconds(1000) == 0


def test_the_rate_is_of_this_attempt_alone() -> None:
    first = [attempt(1, 0), train(100, 0, 0), *(step(n, n * 10) for n in range(1, 51))]
    resumed = [attempt(2, 100_000), train(100, 40, 100_010), step(41, 100_020), step(42, 100_021), step(43, 100_022)]
    progress = applied(*first, *resumed)
    assert progress.seconds_per_step == 1
    assert progress.eta_seconds(100_022) == 57
    assert progress.share == 0.43


def test_the_steps_that_are_done_again_replace_their_points() -> None:
    first = [attempt(1, 0), train(20, 0, 0), *(step(n, n, loss=9.0, eval_loss=8.0) for n in range(1, 16))]
    progress = applied(*first, attempt(2, 50), train(20, 10, 51), *(step(n, 50 + n, loss=1.0) for n in range(11, 21)))
    assert [number for number, _ in progress.losses] == list(range(1, 21))
    assert [loss for _, loss in progress.losses] == [9.0] * 10 + [1.0] * 10
    assert [number for number, _ in progress.eval_losses] == list(range(1, 11))


def test_an_evaluation_takes_its_time_too() -> None:
    progress = applied(
        train(10, 0, 0), step(1, 1), step(2, 2), {"event": "metrics", "step": 2, "eval_loss": 1.0, "time": 5}
    )
    assert progress.seconds_per_step == 4 and progress.eval_losses == [(2, 1.0)]


def test_a_new_attempt_forgets_the_old_ones_end() -> None:
    error = {"event": "error", "code": "bad_input", "cause": "row 7", "next_step": "Mend it."}
    before = [attempt(1, 0), {"event": "warning", "text": "w"}, {"event": "phase", "text": "load"}, error]
    progress = applied(*before)
    assert (progress.error, progress.error_code, progress.next_step) == ("row 7", "bad_input", "Mend it.")
    assert (progress.warnings, progress.phase) == (["w"], "load")
    progress = applied(*before, {"event": "result", "state": "stopped", "time": 3}, attempt(2, 9))
    assert (progress.error, progress.error_code, progress.next_step) == ("", "", "")
    assert (progress.warnings, progress.phase, progress.result) == ([], "", {})
    assert (progress.attempt, progress.started_at) == (2, 9)


def test_a_script_without_steps_has_a_share_too() -> None:
    progress = applied(
        {"event": "phase", "text": "read"}, {"event": "progress", "done": 3, "total": 4, "unit": "bytes"}
    )
    assert (progress.share, progress.unit) == (0.75, "bytes")
    progress.apply({"event": "phase", "text": "write"})
    assert progress.share is None
    assert applied({"event": "progress", "done": 9, "total": 4}).share == 1.0
    assert applied({"event": "progress", "done": 9, "total": 0}).share is None


def test_the_result_is_kept() -> None:
    assert applied({"event": "result", "state": "done", "rows": 7, "time": 1}).result == {"state": "done", "rows": 7}


def test_a_diverged_loss_is_seen_but_not_drawn() -> None:
    progress = applied(train(10, 0, 0), step(1, 1, loss=math.nan), step(2, 2, loss=0.5), step(3, 3, loss=math.inf))
    assert progress.loss == math.inf
    assert progress.losses == [(2, 0.5)]


@pytest.mark.parametrize("shift", [-86_400, 86_400])
def test_a_clock_that_is_set_meanwhile_gives_no_nonsense(shift: int) -> None:
    progress = applied(train(10, 0, 0), step(1, 1), step(2, 2), step(3, 3 + shift), step(4, 4 + shift))
    eta = progress.eta_seconds(4 + shift)
    assert eta is not None and math.isfinite(eta) and eta >= 0


def test_a_step_that_is_repeated_or_missing() -> None:
    progress = applied(train(10, 0, 0), step(1, 1), step(1, 2), {"event": "metrics", "loss": 0.1, "time": 3})
    assert progress.step == 1 and progress.loss == 0.1


@given(st.lists(st.tuples(KINDS, FIELDS), max_size=8), ANY)
def test_no_event_can_break_it(events: list[tuple[str, dict[str, Any]]], extra: object) -> None:
    progress = Progress()
    for kind, fields in events:
        progress.apply({"event": kind, **fields, "unknown": extra})
        assert progress.share is None or 0 <= progress.share <= 1
        eta = progress.eta_seconds()
        assert eta is None or eta >= 0
        assert all(math.isfinite(loss) for _, loss in progress.losses + progress.eval_losses)


def test_what_follows_an_epoch_counts_for_the_eta() -> None:
    begun = {**train(30, 0, 0), "epoch_end_seconds": 100}
    progress = applied(begun, *(step(number, 2 * number) for number in range(1, 11)))
    assert progress.eta_seconds(20) == 20 * 2 + 3 * 100, "three epochs will speak"
    progress = applied(
        begun,
        *(step(number, 2 * number) for number in range(1, 11)),
        {"event": "metrics", "step": 10, "eval_loss": 1.0, "time": 25},
        {"event": "epoch_end", "epoch": 1, "step": 10, "seconds": 60, "time": 80},
        *(step(number, 80 + 2 * (number - 10)) for number in range(11, 21)),
    )
    assert progress.seconds_per_step == pytest.approx(2, abs=0.01), "the pause is no time of steps"
    assert progress.eta_seconds(100) == pytest.approx(10 * 2 + 2 * 60, abs=1)
    progress.apply({**train(30, 20, 200), "epoch_end_seconds": 60})
    progress.apply(step(21, 202))
    assert progress.eta_seconds(202) == 9 * 2 + 60, "resumed: one epoch is left"
    for event in (*(step(n, 200 + 2 * (n - 20)) for n in range(22, 31)), {"event": "epoch_end", "epoch": 3,
                  "seconds": 50, "time": 270}):  # fmt: skip
        progress.apply(event)
    assert progress.eta_seconds(270) == 0


def test_work_that_is_counted_has_an_eta_too() -> None:
    def progress_of(done: float, time: float) -> dict[str, Any]:
        return {"event": "progress", "done": done, "total": 100, "unit": "samples", "time": time}

    progress = applied({"event": "phase", "name": "x", "time": 0}, progress_of(20, 10))
    assert progress.eta_seconds(10) is None
    progress.apply(progress_of(40, 20))
    assert progress.eta_seconds(20) == 30 and progress.eta_seconds(25) == 25
    progress.apply({"event": "phase", "name": "y", "time": 30})
    assert progress.eta_seconds(30) is None

"""Following a log: every line once, in order, whatever is in it and however it grows."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.running.follow import LONGEST_LINE, READ_BYTES, LogFile

METRIC = b'{"event": "metrics", "step": %d, "loss": 0.5}\n'
HIDDEN = b'{"event": "progress", "done": %d, "total": 10}\n'


def texts(log: LogFile) -> list[str]:
    return [log.text(index) for index in range(len(log))]


def append(file: Path, data: bytes) -> None:
    with open(file, "ab") as stream:
        stream.write(data)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_log_that_is_not_there_yet(file: Path) -> None:
    log = LogFile(file)
    assert log.poll() == ([], False)
    append(file, b"one\n")
    log.poll()
    assert texts(log) == ["one"] and log.restarts == 0


def test_lines_and_events_each_once(file: Path) -> None:
    log = LogFile(file)
    append(file, b"one\n" + METRIC % 1 + HIDDEN % 1)
    assert [event["event"] for event in log.poll_all()] == ["metrics", "progress"]
    append(file, b"two\n" + HIDDEN % 2 + METRIC % 2 + b"three\n")
    assert [event["event"] for event in log.poll_all()] == ["progress", "metrics"]
    assert texts(log) == ["one", "step 1  loss 0.5000", "two", "step 2  loss 0.5000", "three"]
    assert log.poll_all() == []


def test_a_torn_tail_is_held_back(file: Path) -> None:
    log = LogFile(file)
    line = METRIC % 7
    append(file, b"one\n" + line[:20])
    assert log.poll_all() == [] and texts(log) == ["one"]
    assert log.live == "", "half an event is not for people"
    append(file, line[20:])
    assert [event["step"] for event in log.poll_all()] == [7]
    append(file, b"half a li")
    log.poll()
    assert log.live == "half a li"
    append(file, b"ne\n")
    log.poll()
    assert (texts(log)[-1], log.live) == ("half a line", "")


def test_a_line_that_a_crash_tore_is_shown_and_the_next_event_counts(file: Path) -> None:
    log = LogFile(file)
    append(file, b'{"event": "metr\n' + METRIC % 3)
    assert [event["step"] for event in log.poll_all()] == [3]
    assert texts(log) == ['{"event": "metr', "step 3  loss 0.5000"]


def test_every_split_of_a_log_gives_the_same(file: Path) -> None:
    data = b"one\r 50%\r100%\n" + METRIC % 1 + b"\n" + "имя\n".encode() + b"\xff\xfe\n" + HIDDEN % 2 + b"end\n"
    whole = LogFile(file)
    append(file, data)
    expected = whole.poll_all(), texts(whole)
    for cut in range(1, len(data)):
        file.write_bytes(data[:cut])
        log = LogFile(file)
        found = log.poll_all()
        append(file, data[cut:])
        found += log.poll_all()
        assert (found, texts(log)) == expected


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(40, 200))
def test_any_bytes_in_any_slices(tmp_path: Path, lines: list[bytes], slice_bytes: int) -> None:
    file = tmp_path / "any"
    lines = [line.replace(b"\n", b"") for line in lines]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    log, more = LogFile(file), True
    while more:
        _, more = log.poll(slice_bytes)
    shown = [line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode("utf-8", "replace") for line in lines]
    assert texts(log) == shown


def test_the_last_state_of_a_progress_bar_is_shown(file: Path) -> None:
    bars = b"".join(b"\r%3d%%|%s| %d/5000 [00:01<00:02]" % (n // 50, b"#" * 40, n) for n in range(5001))
    assert len(bars) > LONGEST_LINE
    append(file, b"one\n" + bars)
    log = LogFile(file)
    log.poll()
    assert log.live.startswith("100%|")
    append(file, b"\ntwo\n")
    assert log.poll_all()[-1]["done"] == 5000
    assert log.text(len(log) - 1) == "two"


def test_a_cut_log_begins_anew(file: Path) -> None:
    log = LogFile(file)
    append(file, b"one\ntwo\n")
    log.poll()
    file.write_bytes(b"x\n")
    log.poll()
    assert texts(log) == ["x"] and log.restarts == 1


def test_a_replaced_log_begins_anew(file: Path) -> None:
    log = LogFile(file)
    append(file, b"one\ntwo\n")
    log.poll()
    os.rename(file, file.with_name("log.1"))
    append(file, b"three\nfour\nfive\n")
    log.poll()
    assert texts(log) == ["three", "four", "five"] and log.restarts == 1


def test_a_log_that_has_gone(file: Path) -> None:
    log = LogFile(file)
    append(file, b"one\ntwo\n")
    log.poll()
    file.unlink()
    assert log.poll() == ([], False)
    assert log.text(0) == "" and log.find("one", 0) is None


def test_garbage_is_text(file: Path) -> None:
    log = LogFile(file)
    append(file, b"\xff\xfe\x00\x1b[31m\n\xd0\n")
    log.poll()
    assert texts(log) == ["\ufffd\ufffd\x00\x1b[31m", "\ufffd"]


def test_a_giant_line_comes_in_pieces(file: Path) -> None:
    log = LogFile(file)
    size = 3 * READ_BYTES + 17
    append(file, b"one\n" + b"y" * size)
    log.poll_all()
    assert len(log.live) <= LONGEST_LINE
    append(file, b"\n" + METRIC % 1 + b"end\n")
    events = log.poll_all()
    assert [event["step"] for event in events] == [1]
    assert texts(log)[0] == "one" and texts(log)[-1] == "end"
    pieces = texts(log)[1:-2]
    assert 3 <= len(pieces) <= 5 and all(piece == "y" * len(piece) <= "y" * LONGEST_LINE for piece in pieces)


def test_a_long_line_shows_its_beginning(file: Path) -> None:
    append(file, b"begin " + b"y" * 100_000 + b" end\nnext\n")
    log = LogFile(file)
    log.poll_all()
    assert log.text(0).startswith("begin ") and len(log.text(0)) == LONGEST_LINE
    assert log.text(1) == "next"


def test_a_million_lines_cost_ten_bytes_each(file: Path) -> None:
    lines = 1_000_000
    with open(file, "wb") as stream:
        for number in range(lines):
            stream.write(b"line %d of a long story\n" % number)
    tracemalloc.start()
    log = LogFile(file)
    log.poll_all()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(log) == lines
    assert kept <= 10 * lines
    for index in (0, 1, 12_345, 500_000, 999_998, 999_999):
        assert log.text(index) == f"line {index} of a long story"
    assert log.find("LINE 999999 ", 0) == 999_999
    assert log.find("line 17 ", 999_999, backwards=True) == 17


# --- searching ---


def test_searching_both_ways(file: Path) -> None:
    log = LogFile(file)
    append(file, b"Alpha\n" + HIDDEN % 1 + b"beta\nALPHA beta\n" + METRIC % 4 + b"gamma\n")
    log.poll_all()
    assert texts(log) == ["Alpha", "beta", "ALPHA beta", "step 4  loss 0.5000", "gamma"]
    assert [log.find("alpha", start) for start in range(5)] == [0, 2, 2, None, None]
    assert [log.find("alpha", start, backwards=True) for start in range(5)] == [0, 0, 2, 2, 2]
    assert log.find("loss 0.5", 0) == 3
    assert log.find("event", 0) is None, "what is not shown is not found"
    assert log.find("progress", 0) is None
    assert log.find("x", 99) is None and log.find("x", -1) is None


@given(st.lists(st.sampled_from([b"a", b"ab", b"b\rc", b"", b"B" * 40, METRIC[:-1] % 3, HIDDEN[:-1] % 3])), st.data())
def test_searching_finds_what_is_shown(tmp_path: Path, lines: list[bytes], data: st.DataObject) -> None:
    file = tmp_path / "any"
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    log = LogFile(file)
    log.poll_all()
    shown = [text.casefold() for text in texts(log)]
    needle = data.draw(st.sampled_from(["a", "b", "c", "step", "done", "bb"]))
    start = data.draw(st.integers(0, max(0, len(shown) - 1)))
    hits = [index for index, text in enumerate(shown) if needle in text]
    assert log.find(needle, start) == min((hit for hit in hits if hit >= start), default=None)
    assert log.find(needle, start, backwards=True) == max((hit for hit in hits if hit <= start), default=None)


def test_searching_over_several_blocks(file: Path) -> None:
    with open(file, "wb") as stream:
        for number in range(60_000):
            stream.write(b"%05d %s\n" % (number, b"." * 60))
    assert file.stat().st_size > 3 * READ_BYTES
    log = LogFile(file)
    log.poll_all()
    for wanted in (0, 16_000, 17_000, 40_000, 59_999):
        assert log.find(f"{wanted:05} ", wanted) == wanted
        assert log.find(f"{wanted:05} .", 59_999, backwards=True) == wanted
    assert log.find("not there", 0) is None

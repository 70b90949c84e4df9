"""A log that explodes: a million lines from four writers with bars, garbage and escapes, followed without a loss."""

from __future__ import annotations

import random
import re
import sys
import time

from harness import IS_LONG, Place, count

from engines.running.follow import LogFile

LINES = count(1_000_000, 50_000_000)
WRITERS = 4
JOB = r"""
import os, sys
garbage = b"\xff\xfe\x00 \x1b[31mred\x1b[0m \x1b]52;c;ZXZpbA==\x07"
for writer in range(4):
    if os.fork() == 0:
        for number in range(int(sys.argv[1]) // 4):
            os.write(1, b"w%d %s\r 10%%\rW %d %d\n" % (writer, garbage, writer, number))
            if number % 5000 == 0:
                os.write(1, b'{"event": "metrics", "step": %d, "loss": %d.5}\n' % (number, writer))
        os._exit(0)
for _ in range(4):
    os.wait()
"""
LINE = re.compile(r"W (\d) (\d+)")


def test_a_million_lines(place: Place, chance: random.Random) -> None:
    run = place.runs.create("train", "a run", [sys.executable, "-c", JOB, str(LINES)])
    place.runs.start(run)
    log, metrics, longest_poll = LogFile(run.log), 0, 0.0
    while True:
        over = run.status().ended
        began = time.monotonic()
        events, more = log.poll(256 * 1024)
        longest_poll = max(longest_poll, time.monotonic() - began)
        metrics += sum(event["event"] == "metrics" for event in events)
        if over and not more:
            break
    assert run.status().state == "done"
    assert metrics == WRITERS * -(-LINES // WRITERS // 5000), "metrics were lost"
    described = metrics  # each is a line for people, too
    assert len(log) == LINES + described
    assert log.restarts == 0 and log.live == ""
    assert len(log.offsets) * log.offsets.itemsize <= 8 * len(log)
    assert longest_poll < 5.0, "one poll froze its reader"
    for index in chance.sample(range(len(log)), 2000):
        assert LINE.fullmatch(log.text(index)) or log.text(index).startswith("step "), log.text(index)
    if not IS_LONG:
        check_order(log)


def check_order(log: LogFile) -> None:
    """Each writer's lines, read at the offsets that the follower found, are all there and in order."""
    following = [0] * WRITERS
    data = log.path.read_bytes()
    for start in log.offsets:
        line = data[start : data.index(b"\n", start)]
        assert start == 0 or data[start - 1] == 10
        if line.startswith(b"w"):
            _, writer, number = line.rsplit(b"\r", 1)[1].split()
            assert int(number) == following[int(writer)]
            following[int(writer)] += 1
    assert following == [LINES // WRITERS] * WRITERS

"""The stream between a script and its engine: three dialects, hostile lines, and an emitter that never fails."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.contract import events
from engines.contract.events import Emitter, describe, parse
from engines.running.progress import Progress

ROOT = Path(__file__).resolve().parents[2]


# --- reading ---


def test_our_own_dialect() -> None:
    assert parse(b'{"event": "metrics", "step": 3, "loss": 0.5}') == {"event": "metrics", "step": 3, "loss": 0.5}
    assert parse(b'{"event":"phase","text":"load"}') == {"event": "phase", "text": "load"}


@pytest.mark.parametrize(
    "line",
    [
        b"{'loss': 2.1, 'grad_norm': 1.5, 'learning_rate': 0.0002, 'epoch': 0.5}",
        b"{'loss': '2.1', 'grad_norm': '1.5', 'learning_rate': '0.0002', 'epoch': '0.5'}",
        b"  5%|#   | 1/20 [00:01<00:19]\r{'loss': '2.1', 'grad_norm': 1.5, 'learning_rate': 2e-4, 'epoch': 0.5}\r",
    ],
)
def test_the_trainers_dialect(line: bytes) -> None:
    wanted = {"event": "metrics", "loss": 2.1, "grad_norm": 1.5, "learning_rate": 0.0002, "epoch": 0.5}
    assert parse(line.rstrip(b"\r")) == wanted


def test_a_trainer_that_diverges_is_heard() -> None:
    event = parse(b"{'loss': nan, 'grad_norm': inf, 'epoch': -inf}")
    assert event is not None and math.isnan(event["loss"])
    assert (event["grad_norm"], event["epoch"]) == (math.inf, -math.inf)


def test_the_last_state_of_a_bar() -> None:
    line = b" 10%|#         | 10/100 [00:01<00:09, 10it/s]\r 90%|######### | 90/100 [00:09<00:01, 10it/s]"
    assert parse(line) == {"event": "progress", "done": 90.0, "total": 100.0, "unit": "it"}
    assert parse(b"Map:  50%|#####     | 1.5k/3.00k [00:01<00:01, 1.2kit/s]") == {
        "event": "progress", "done": 1500.0, "total": 3000.0, "unit": "it",
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        b"", b"an ordinary line", b"{", b'{"event"', b'{"event": "metr', b'{"event": 3}', b'{"event": null}',
        b'{"other": 1}', b'["event"]', b'{"event"' + b": {" * 10_000, b'{"event": "x", "n": ' + b"9" * 10_000 + b"}",
        b"{'a': 1}", b"{'loss': []}", b"{'loss': 'x'}", b"{'loss': " + b"9" * 4000 + b"}", b"{'loss': " + b"(" * 1000,
        b"{'loss': __import__('os').system('true')}", b"{'loss': " + b"1" * 100_000 + b"}",
        b" 50%|##| 1.2.3/5 [00:00<", b" 50%|##| ./. [00:00<", b"50%|", b"\xff\xfe\x00", b"\x1b]52;c;ZXZpbA==\x07",
    ],
)  # fmt: skip
def test_lines_for_people_and_hostile_ones_are_no_events(line: bytes) -> None:
    assert parse(line) is None


@given(st.binary(max_size=300))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    for prefix in (b"", b'{"event": "metrics", ', b"{'loss': ", b" 50%|##| "):
        event = parse(prefix + line)
        if event is not None:
            describe(event)


NUMBERS = [True, 0, -1, 3, 10**400, 0.5, -0.0, 1e308, math.nan, math.inf, -math.inf]
ANY = st.sampled_from([*NUMBERS, None, "", "3", "x" * 300, "\ud800", [], [[[]]], {}])
KINDS = st.sampled_from("attempt phase progress train metrics checkpoint warning error result unknown".split())  # noqa: SIM905
FIELDS = st.dictionaries(
    st.sampled_from([*Progress.__dataclass_fields__, "first_step", "text", "time", "path", "code", "cause"]), ANY
)


@given(KINDS, FIELDS)
def test_any_event_can_be_described(kind: str, fields: dict[str, object]) -> None:
    line = json.dumps({"event": kind, **fields}).encode()
    event = parse(line)
    assert event is not None
    described = describe(event)
    assert described is None or isinstance(described, str)


def test_a_huge_line_is_read_in_bounded_time() -> None:
    event = parse(b'{"event": "warning", "text": "' + b"x" * (8 << 20) + b'"}')
    assert event is not None and len(event["text"]) == 8 << 20
    assert parse(b"{'loss': '" + b"x" * (8 << 20) + b"'}") is None
    assert parse(b"x" * (8 << 20) + b"%|") is None


def test_descriptions() -> None:
    assert describe({"event": "metrics", "step": 3, "loss": 0.51234, "learning_rate": 2e-4}) == (
        "step 3  loss 0.5123  rate 2.00e-04"
    )
    assert describe({"event": "metrics", "step": 3, "loss": math.nan}) == "step 3  loss nan"
    assert describe({"event": "attempt", "attempt": 1}) is None
    assert describe({"event": "attempt", "attempt": 2}) == "— attempt 2 —"
    assert describe({"event": "error", "cause": "bad row", "next_step": "Mend it."}) == "error: bad row. Mend it."
    assert describe({"event": "progress", "done": 1}) is None


# --- writing ---


def opened(file: Path, flags: int = 0) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | flags, 0o600)


def read_events(file: Path) -> list[events.Event | None]:
    return [parse(line) for line in file.read_bytes().splitlines() if line]


def test_an_event_is_one_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "log"
    emitter = Emitter(opened(file))
    emitter.emit("metrics", step=1, loss=0.5)
    os.write(emitter.fd, b" 50%|#####     | 5/10 [00:01<00:01]")  # a bar without an end
    emitter.emit("metrics", step=2, loss=0.4)
    found = [event for event in read_events(file) if event and event["event"] == "metrics"]
    assert [event["step"] for event in found] == [1, 2]


def test_a_line_that_a_crash_has_torn_does_not_take_the_next_one_along(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b'{"event": "metrics", "step": 1}\n{"event": "metr')
    Emitter(opened(file)).emit("metrics", step=2)
    steps = [event["step"] for event in read_events(file) if event]
    assert steps == [1, 2]


def test_what_waits_on_a_full_disk_goes_out_in_order(tmp_path: Path) -> None:
    """The file may grow to 2000 bytes, then further: a line is torn there, and none is lost."""
    code = (
        "import os, resource, sys; sys.path.insert(0, sys.argv[2])\n"
        "from engines.contract.events import Emitter\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND)\n"
        "emitter = Emitter(fd)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))\n"
        "for step in range(100): emitter.emit('metrics', step=step)\n"
        "assert emitter.waiting and not emitter.flush()\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "for step in range(100, 110): emitter.emit('metrics', step=step)\n"
        "assert not emitter.waiting\n"
    )
    file = tmp_path / "log"
    subprocess.run([sys.executable, "-c", code, str(file), str(ROOT)], check=True)
    found = read_events(file)
    assert [event["step"] for event in found if event] == list(range(110))
    assert found.count(None) <= 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_device_never_fails_a_script() -> None:
    """print, a progress bar, events and the last word, all into a full disk: the exit code stays 0."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from engines.contract.events import emit\n"
        "from engines.contract.run_protocol import run_script, write_result\n"
        "def main():\n"
        "    for step in range(1000):\n"
        "        print('line', step, flush=True)\n"
        "        sys.stderr.write('bar\\r')\n"
        "        sys.stdout.writelines(['a\\n', 'b\\n'])\n"
        "        emit('metrics', step=step)\n"
        "    write_result('done')\n"
        "run_script(main)\n"
    )
    with open("/dev/full", "wb") as full:
        for unbuffered in ("", "1"):
            env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
            done = subprocess.run([sys.executable, "-c", code, str(ROOT)], stdout=full, stderr=full, env=env)
            assert done.returncode == 0


def test_emit_without_protection_does_not_raise_either() -> None:
    code = "import os, sys; sys.path.insert(0, sys.argv[1])\nfrom engines.contract.events import emit\n"
    code += "print('x')\nemit('phase')\nos._exit(0)"
    with open("/dev/full" if Path("/dev/full").exists() else os.devnull, "wb") as full:
        env = {**os.environ, "PYTHONUNBUFFERED": ""}  # so that not print but emit meets the full disk
        assert subprocess.run([sys.executable, "-c", code, str(ROOT)], stdout=full, env=env).returncode == 0


def test_anything_can_be_emitted(tmp_path: Path) -> None:
    emitter = Emitter(opened(tmp_path / "log"))
    emitter.emit("warning", text="lone surrogate \ud800 and a line\nbreak", path=Path("/x"), value=math.nan, items={1})
    [event] = read_events(tmp_path / "log")
    assert event is not None and event["path"] == "/x" and "\n" in event["text"]


def test_a_pipe_works_too() -> None:
    reader, writer = os.pipe()
    Emitter(writer).emit("phase", text="load")
    event = parse(os.read(reader, 1000).rstrip())
    assert event is not None and event["text"] == "load"
    os.close(reader)
    Emitter(writer).emit("phase", text="nobody listens")  # EPIPE
    os.close(writer)

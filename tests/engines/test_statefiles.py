"""State files are whole or absent at any kill, private, and locks die with their holder."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.contract import statefiles

ROOT = Path(__file__).resolve().parents[2]
KILLS = 30
WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from engines.contract.statefiles import write_json
number = 0
while True:
    number += 1
    write_json(sys.argv[1], {"number": number, "padding": [number] * 20_000})
    if number == 1:
        print("ready", flush=True)
"""
HOLDER = """
import os, sys, time
sys.path.insert(0, sys.argv[2])
from engines.contract.statefiles import lock
fd = lock(sys.argv[1])
os.set_inheritable(fd, True)
if os.fork() == 0:
    time.sleep(600)
print("ready", flush=True)
time.sleep(600)
"""


def started(code: str, *argv: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", code, *argv, str(ROOT)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


def test_no_write_is_torn_by_a_kill(tmp_path: Path) -> None:
    chance, file = random.Random(1), tmp_path / "state.json"
    for _ in range(KILLS):
        writer = started(WRITER, str(file))
        time.sleep(chance.uniform(0, 0.03))
        writer.kill()
        writer.wait()
        value = statefiles.load_json(file)
        assert value["padding"] == [value["number"]] * 20_000


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    writer = started(WRITER, str(file))
    seen = {len(set(statefiles.load_json(file)["padding"])) for _ in range(200)}
    writer.kill()
    writer.wait()
    assert seen == {1}


def test_threads_of_one_process_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            for _ in range(50):
                statefiles.write_json(file, [number] * 5000)
                assert len(set(statefiles.load_json(file))) == 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert os.listdir(tmp_path) == ["state.json"]


def test_what_is_written_is_private(tmp_path: Path) -> None:
    folder = statefiles.make_private_dir(tmp_path / "a" / "b")
    statefiles.write_json(folder / "state.json", {})
    statefiles.lock(folder / "lock")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, folder.parent, *folder.iterdir())}
    assert modes == {"a": 0o700, "b": 0o700, "state.json": 0o600, "lock": 0o600}


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    statefiles.write_json(file, 1)
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[2])\n"
        "from engines.contract.statefiles import write_json\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_json(sys.argv[1], list(range(10_000)))\n"
        "except OSError as error: print(error.errno)\n"
    )
    argv = [sys.executable, "-c", code, str(file), str(ROOT)]
    assert subprocess.check_output(argv, text=True).strip() == "27"  # EFBIG
    assert statefiles.load_json(file) == 1
    assert os.listdir(tmp_path) == ["state.json"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=10,
)


@given(JSON)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    file = tmp_path_factory.getbasetemp() / "round-trip.json"
    statefiles.write_json(file, value)
    assert statefiles.read_json(file, "default") == value


def test_a_path_that_is_no_utf8_survives(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    statefiles.write_json(tmp_path / "state.json", {"source": name})
    assert statefiles.load_json(tmp_path / "state.json") == {"source": name}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b"nonsense", b'{"a": 1}trailing', b"\0" * 100]
)
def test_what_cannot_be_read_is_the_default(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(data)
    assert statefiles.read_json(file, "default") == "default"
    assert statefiles.read_object(file) == {}
    with pytest.raises(ValueError):
        statefiles.load_json(file)


def test_an_object_is_an_object(tmp_path: Path) -> None:
    for value in ([1], "text", 3, None):
        statefiles.write_json(tmp_path / "state.json", value)
        assert statefiles.read_object(tmp_path / "state.json") == {}
    assert statefiles.read_json(tmp_path / "none", 7) == 7
    assert statefiles.read_json(tmp_path, 7) == 7


def test_the_reserve_is_given_up_only_for_a_full_disk(tmp_path: Path) -> None:
    reserve = tmp_path / "reserve"
    reserve.write_bytes(b"x" * 1000)
    statefiles.write_json(tmp_path / "state.json", 1, reserve)
    assert reserve.exists()
    with pytest.raises(FileNotFoundError):
        statefiles.write_json(tmp_path / "none" / "state.json", 1, reserve)
    assert reserve.exists()


def test_a_lock_is_exclusive_and_probes_are_not(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert not statefiles.is_locked(file) and not file.exists()
    fd = statefiles.lock(file)
    assert fd is not None and statefiles.lock(file) is None
    assert statefiles.is_locked(file)
    os.close(os.open(file, os.O_RDONLY))  # with POSIX locks this would free it
    assert statefiles.is_locked(file)
    os.close(fd)
    assert not statefiles.is_locked(file)
    again = statefiles.lock(file)
    assert again is not None
    os.close(again)


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    fd = statefiles.lock(file)
    assert fd is not None
    threading.Timer(0.2, os.close, (fd,)).start()
    got = statefiles.lock(file, wait_seconds=60)
    assert got is not None
    os.close(got)


def test_a_lock_lives_as_long_as_the_last_one_that_inherited_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = started(HOLDER, str(file))
    holder.kill()
    holder.wait()
    assert statefiles.is_locked(file), "the child still holds it"
    os.killpg(holder.pid, 9)
    deadline = time.monotonic() + 60
    while statefiles.is_locked(file):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_plain_json_on_disk(tmp_path: Path) -> None:
    statefiles.write_json(tmp_path / "state.json", {"имя": "Аня"})
    assert json.loads((tmp_path / "state.json").read_text(encoding="utf-8")) == {"имя": "Аня"}
    assert "Аня" in (tmp_path / "state.json").read_text(encoding="utf-8")

"""The script as a process: dataset, report and events of real files; nothing is left of a run that fails."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from telegram_exports import OWNER, PEER, START, account, chat, dialog, message, service, write

ROOT = Path(__file__).parents[2]


def run(
    source: Path, output: Path, config: dict[str, Any] | None = None, env: dict[str, str] | None = None, **options: Any
) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and events."""
    command = [sys.executable, "-m", "finetune.prepare_dataset", str(source), str(output)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as parameters:
        json.dump({} if config is None else config, parameters)
        parameters.flush()
        command += ["--config", parameters.name]
        env = os.environ | (env or {})
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=60, **options)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, events


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def refused(folder: Path, source: Path, config: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """The error event of a run that must fail, and leave nothing behind."""
    before = set(folder.iterdir())
    code, events = run(source, folder / "out.jsonl", config, **options)
    error = events[-1]
    assert error["event"] == "error"
    assert code == {"bad_input": 3, "usage": 2, "not_found": 4, "failed": 1}[error["code"]]
    assert "\n" not in error["cause"] and not error["cause"].endswith(".")
    assert error["next_step"].endswith(".")
    assert set(folder.iterdir()) <= before
    return error


@pytest.mark.parametrize("single", [True, False])
def test_dataset_report_and_events(tmp_path: Path, single: bool) -> None:
    talk = chat(*dialog(3), message(PEER, "", media_type="sticker"), message(PEER, "пока"))
    value = talk if single else account(talk, chat(*dialog(), kind="private_group"))
    source = write(tmp_path / "result.json", value)
    output = tmp_path / "chat_dataset.jsonl"
    code, events = run(source, output)
    assert code == 0
    turns = [("user", "question"), ("assistant", "answer")] * 3
    expected = [{"role": role, "content": f"{text} {number // 2}"} for number, (role, text) in enumerate(turns)]
    assert rows(output) == [{"messages": expected, "conversation": f"200/{START}"}]

    report = json.loads((tmp_path / "chat_dataset.report.json").read_text())
    assert report["source"] == "result.json" and report["format"] == "telegram"
    assert report["bytes"] == source.stat().st_size
    found_by = "personal_chat" if single else "personal_information"
    assert report["owner"] == {"name": "Owner", "id": OWNER, "found_by": found_by}
    left_out = ({}, {}) if single else ({"private_group": 1}, {"include_groups": 1})
    assert report["chats"] == {"used": 1, "skipped": left_out[0], "by_option": left_out[1]}
    assert (report["messages_read"], report["messages_used"], report["dialogs"], report["turns"]) == (8, 6, 1, 6)
    assert report["characters"] == {"user": 30, "assistant": 24}
    assert report["dropped"] == {"sticker": 1, "unanswered": 1}
    assert (report["conversations"], report["repaired"], report["lost"], report["shortened"]) == (1, 0, 0, 0)
    assert report["config"]["max_dialog_length"] == 20
    assert report["output_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()

    kinds = [event["event"] for event in events]
    assert kinds[0] == "phase" and "progress" in kinds and kinds[-1] == "result"
    assert {key: events[-1][key] for key in report} == report
    assert events[-1]["output"] == str(output) and events[-1]["state"] == "done"
    for path in (output, tmp_path / "chat_dataset.report.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", output.name, "chat_dataset.report.json"}


def test_every_parameter_is_obeyed(tmp_path: Path) -> None:
    long = [message(PEER, "One. Two three"), message(OWNER, "yes", at=100)]
    value = account(chat(*dialog(4)), chat(*long, kind="private_group"))
    source = write(tmp_path / "result.json", value)
    output = tmp_path / "out.jsonl"

    def dialogs(**config: Any) -> list[list[str]]:
        assert run(source, output, config)[0] == 0
        return [[item["content"] for item in row["messages"]] for row in rows(output)]

    assert [len(found) for found in dialogs()] == [8]
    assert [len(found) for found in dialogs(max_dialog_length=6)] == [6, 2]
    assert [len(found) for found in dialogs(max_dialog_length=6, min_dialog_messages=4)] == [6]
    assert dialogs(owner_name="Peer")[0][:2] == ["answer 0", "question 1"]
    assert dialogs(include_groups=True)[1] == ["Peer: One. Two three", "yes"]
    assert dialogs(include_groups=True, max_message_length=12)[1] == ["Peer: One.", "yes"]
    assert len(dialogs(include_groups=True, session_gap_minutes=2)) == 2


def test_a_gap_of_a_minute_leaves_no_answer(tmp_path: Path) -> None:
    error = refused(tmp_path, write(tmp_path / "r.json", chat(*dialog(3))), {"session_gap_minutes": 1})
    assert error["cause"].startswith("no dialog with an answer of Owner was found in 6 messages (left out: ")
    assert "unanswered 3" in error["cause"] and "before_question 3" in error["cause"]


def test_only_groups_says_how_to_go_on(tmp_path: Path) -> None:
    source = write(tmp_path / "r.json", account(chat(*dialog(3), kind="private_group")))
    error = refused(tmp_path, source)
    assert "private_group 1" in error["cause"]
    assert error["next_step"] == "Include group chats, or export a personal chat."
    assert run(source, tmp_path / "out.jsonl", {"include_groups": True})[0] == 0


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"<html>", "r.json is an HTML page"),
        (b"no", "r.json is plain text, neither a chat nor a table"),
        (b"", "r.json is empty"),
        (json.dumps(chat()).encode(), "r.json contains no messages"),
        (json.dumps(chat(service())).encode(), "r.json contains no messages"),
        (json.dumps(account()).encode(), "r.json contains no messages"),
        (b'{"personal_information": {"user_id": 1}}', "r.json contains no messages"),
        (b'{"a": {"b": 1}}', "r.json is of an unknown kind: a JSON object with the keys a"),
        (
            b'{"messages": [{"role": "user"}]}',
            "none of the 1 rows of r.json can be read; line 1: message 1 has no text",
        ),
        (b"[" * 200_000, "r.json is not JSON"),
        (b'{"a":' * 200_000, "r.json is of an unknown kind"),
        (
            b'{"name": "x", "type": "personal_chat", "id": NaN, "messages": [' + b"[" * 100_000,
            "r.json contains no messages that can be read",
        ),
    ],
    ids=range(12),
)
def test_bad_input_leaves_no_output(tmp_path: Path, content: bytes, cause: str) -> None:
    source = tmp_path / "r.json"
    source.write_bytes(content)
    assert cause in refused(tmp_path, source)["cause"]


def test_wrong_owner_lists_names(tmp_path: Path) -> None:
    error = refused(tmp_path, write(tmp_path / "r.json", chat(*dialog())), {"owner_name": "Сосед"})
    assert error["cause"] == "nobody in the export is called 'Сосед'; it has messages of Peer, Owner"


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"max_dialog_length": 1}, "max_dialog_length"),
        ({"max_dialog_lenght": 4}, "max_dialog_lenght"),
        ({"max_dialog_length": 5, "min_dialog_messages": 5}, "no dialog can have at least 5 and at most 5 turns"),
        ([], "is not a JSON object"),
    ],
)
def test_bad_parameters(tmp_path: Path, config: Any, cause: str) -> None:
    error = refused(tmp_path, write(tmp_path / "r.json", chat(*dialog())), config)
    assert error["code"] == "usage" and cause in error["cause"]


def test_missing_and_forbidden_places(tmp_path: Path) -> None:
    source = write(tmp_path / "r.json", chat(*dialog()))
    assert refused(tmp_path, tmp_path / "none.json")["cause"] == "none.json does not exist"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path, tmp_path / "empty")["cause"] == "the folder empty holds no files"
    code, events = run(source, tmp_path / "no" / "out.jsonl")
    assert code == 4 and "does not exist" in events[-1]["cause"]
    before = source.read_bytes()
    code, events = run(source, source)
    assert code == 2 and "is the file to be read" in events[-1]["cause"]
    assert source.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    source = write(tmp_path / "r.json", chat(*dialog()))
    source.chmod(0)
    assert "may not be read" in refused(tmp_path, source)["cause"]


def test_no_room_leaves_the_old_dataset(tmp_path: Path) -> None:
    source = write(tmp_path / "r.json", chat(*dialog(5000)))
    output = tmp_path / "out.jsonl"
    old = write(tmp_path / "old.json", chat(*dialog(1)))
    assert run(old, output)[0] == 0
    before = output.read_bytes()
    error = refused(tmp_path, source, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert error["code"] == "failed" and "no room left" in error["cause"]
    assert output.read_bytes() == before


def test_repaired_and_lost_are_told(tmp_path: Path) -> None:
    source = write(tmp_path / "r.json", chat(*dialog(3), message(OWNER, "x@y", at=400)))
    source.write_bytes(source.read_bytes().replace(b'"x@y"', rb'"x\x0By"')[:-5])
    code, events = run(source, tmp_path / "out.jsonl")
    assert code == 0 and (events[-1]["repaired"], events[-1]["lost"]) == (1, 0)
    warnings = [event["text"] for event in events if event["event"] == "warning"]
    assert warnings[0].startswith("1 messages were not valid JSON") and "ends in the middle" in warnings[1]
    assert rows(tmp_path / "out.jsonl")[0]["messages"][-1]["content"] == "answer 2\nx\ny"


def test_ready_made_rows_and_our_own_output(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    turns = [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]
    source.write_text(
        json.dumps({"messages": turns}) + "\n{\n" + json.dumps({"messages": turns, "conversation": "4/2"})
    )
    code, events = run(source, tmp_path / "out.jsonl")
    assert code == 0 and (events[-1]["format"], events[-1]["lost"], events[-1]["owner"]) == ("messages", 1, None)
    assert any(event.get("text", "").startswith("line 2: not JSON") for event in events)
    assert [row["conversation"] for row in rows(tmp_path / "out.jsonl")] == ["0/1", "4/2"]
    code, _ = run(tmp_path / "out.jsonl", tmp_path / "again.jsonl")
    assert code == 0 and (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_under_a_supervisor(tmp_path: Path) -> None:
    source = write(tmp_path / "r.json", chat(*dialog(3)))
    folder = tmp_path / "run"
    folder.mkdir()
    env = {"FTUI_RUN_DIR": str(folder), "FTUI_ATTEMPT": "3"}
    assert run(source, tmp_path / "out.jsonl", env=env)[0] == 0
    result = json.loads((folder / "result.json").read_text())
    assert (result["attempt"], result["state"], result["dialogs"]) == (3, "done", 1)

    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "out.report.json").unlink()
    (folder / "stop.json").write_text("{}")
    assert run(source, tmp_path / "out.jsonl", env=env)[0] == 0
    assert json.loads((folder / "result.json").read_text())["state"] == "stopped"
    assert {path.name for path in tmp_path.iterdir()} == {"r.json", "run"}


def test_a_terminated_run_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "r.json", account(*[chat(*dialog(5000))] * 20), "minified")
    folder = tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-m", "finetune.prepare_dataset", str(source), str(folder / "out.jsonl")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while not any(folder.iterdir()) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []

"""The script as a process: dataset, report and events of a real small project; nothing is left of a run that fails."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from engines.config.generate import GenerateConfig
from finetune.rows import read_dialogs, split

ROOT = Path(__file__).parents[2]
SHOP = {
    "README.md": "# Shop\n\nThis shop sells garden tools.\n\n## Delivery\n\nDelivery takes two working days.\n",
    "docs/доставка.md": "# Доставка\n\nДоставка идёт два рабочих дня по всей стране.\n\n# Пусто\n\nМало.\n",
    "docs/other.md": "# Shop\n\nThis is another page about the shop.\n",
    "faq.csv": "question,answer\nIs there a guarantee?,Yes: two years on every tool.\nIs there a guarantee?,\n",
    "tz/script.md": "# Script\n\nClient: It is too dear.\nManager: The price has delivery and guarantee in it.\n",
    "shop/app.py": '@app.get("/tools")\ndef tools(kind: str) -> list:\n    """All tools of one kind, in order."""\n',
    "shop/broken.py": "def broken(:\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    for name, content in SHOP.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    with sqlite3.connect(folder / "faq.db") as database:
        database.execute("CREATE TABLE faq (question TEXT, answer TEXT)")
        database.execute("INSERT INTO faq VALUES ('Can I pay by card?', 'Yes, by every usual card.')")
    database.close()
    return folder


def run(
    source: Path, output: Path, *flags: str, config: dict[str, Any] | None = None, env: dict[str, str] | None = None
) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and events."""
    command = [sys.executable, "-m", "finetune.generate_dataset", str(source), str(output), *flags]
    if config is not None:
        path = source.parent / "config.json"
        path.write_text(json.dumps(config))
        command += ["--config", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | (env or {}), capture_output=True, timeout=60)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_dataset_report_and_events(shop: Path, tmp_path: Path) -> None:
    output = tmp_path / "shop_dataset.jsonl"
    code, events = run(shop, output)
    assert code == 0
    found = rows(output)
    assert {row["kind"] for row in found} == {"docs", "faq", "code", "sales", "escalation"}
    for row in found:
        assert list(row) == ["messages", "conversation", "source", "section", "kind"]
        assert row["conversation"] == f"{row['source']}#{row['section']}"
        roles = [turn["role"] for turn in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert row["kind"] == "escalation" or (shop / row["source"]).is_file()
    questions = [row["messages"][0]["content"] for row in found]
    assert len(set(map(str.casefold, questions))) == len(questions)

    report = json.loads((tmp_path / "shop_dataset.report.json").read_text())
    assert report["found"] == report["written"] + sum(report["dropped"].values())
    assert report["written"] == report["dialogs"] == len(found)
    assert report["turns"] == sum(len(row["messages"]) for row in found)
    assert report["conversations"] == len({row["conversation"] for row in found})
    for kind, figures in report["kinds"].items():
        assert figures["found"] == figures["written"] + sum(figures["dropped"].values())
        assert figures["written"] == sum(row["kind"] == kind for row in found)
    assert report["dropped"] == {"empty": 1, "short_answer": 1}
    assert report["kinds"]["docs"] == {"found": 5, "written": 4, "dropped": {"short_answer": 1}}
    assert report["files"]["not_parsed"] == 1
    assert report["files"]["problems"] == [{"file": "shop/broken.py", "reason": "invalid syntax, line 1"}]
    assert report["output_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert (report["format"], report["source"], report["endpoint"], report["repository"]) == (
        "project",
        "shop",
        None,
        None,
    )

    kinds = [event["event"] for event in events]
    assert kinds[0] == "phase" and "progress" in kinds and kinds[-1] == "result"
    assert [event["text"] for event in events if event["event"] == "warning"] == [
        "shop/broken.py was left out: invalid syntax, line 1"
    ]
    assert {key: events[-1][key] for key in report} == report and events[-1]["output"] == str(output)
    for path in (output, tmp_path / "shop_dataset.report.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"shop", output.name, "shop_dataset.report.json"}


def test_a_trainer_reads_it_and_keeps_sections_together(shop: Path, tmp_path: Path) -> None:
    run(shop, tmp_path / "out.jsonl")
    learned, held_out = split(read_dialogs(tmp_path / "out.jsonl"), 0.3)
    assert learned and held_out
    assert not {dialog.conversation for dialog in learned} & {dialog.conversation for dialog in held_out}


def test_the_same_seed_gives_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(shop, tmp_path / f"{name}.jsonl", config={"seed": seed})[0] == 0
    first, again, other = ((tmp_path / f"{name}.jsonl").read_bytes() for name in "abc")
    assert first == again != other
    (shop / "README.md").rename(shop / "later.md")
    (shop / "later.md").rename(shop / "README.md")
    run(shop, tmp_path / "d.jsonl", config={"seed": 1}, env={"PYTHONHASHSEED": "7"})
    assert (tmp_path / "d.jsonl").read_bytes() == first


def test_the_same_heading_in_two_files_is_asked_with_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.md").write_text(f"# Payment\n\nPayment in the shop number {number} is by card.\n")
    (folder / "copy.md").write_text("# Payment\n\nPayment in the shop number 1 is by card.\n")
    code, events = run(folder, tmp_path / "out.jsonl", config={"use_escalation": False})
    found = rows(tmp_path / "out.jsonl")
    questions = [row["messages"][0]["content"] for row in found]
    assert code == 0 and len(set(questions)) == len(questions)
    named = [row for row in found if row["source"] in row["messages"][0]["content"]]
    assert len(named) == len(found) - len({question.split(" (")[0] for question in questions})
    assert events[-1]["found"] == 13 == len(found) + sum(events[-1]["dropped"].values())


NOBODY = {"endpoint": "http://127.0.0.1:1/v1"}
PARAMETERS_ELSEWHERE = {
    "use_github": "test_project_sources", "github_url": "test_project_sources", "github_branch": "test_project_sources",
    "endpoint": "below", "endpoint_model": "below", "endpoint_api_key_variable": "below",
    "variants_per_pair": "test_project_endpoint", "judge": "test_project_endpoint", "max_requests": "below",
}  # fmt: skip


def test_every_parameter_is_obeyed(shop: Path, tmp_path: Path) -> None:
    tried = set()

    def made(**config: Any) -> list[dict[str, Any]]:
        tried.update(config)
        assert run(shop, tmp_path / "out.jsonl", config=config)[0] == 0
        return rows(tmp_path / "out.jsonl")

    everything = {row["kind"] for row in made()}
    for kind in everything:
        assert {row["kind"] for row in made(**{f"use_{kind}": False})} == everything - {kind}
    assert all("«" not in row["messages"][0]["content"] for row in made(language="en"))
    limited = made(max_per_source=1)
    assert len(limited) == len(everything)
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["dropped"]["over_limit"] and report["found"] == report["written"] + sum(report["dropped"].values())
    assert min(len(row["messages"][1]["content"]) for row in made(min_answer_characters=5)) == 5
    orders = [[row["conversation"] for row in made(seed=seed)] for seed in (1, 2)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    assert tried | PARAMETERS_ELSEWHERE.keys() == GenerateConfig.model_fields.keys()


@pytest.mark.parametrize(
    ("config", "code", "cause"),
    [
        ({"seed": -1}, 2, "seed"),
        ({"speed": 1}, 2, "speed"),
        ([], 2, "is not a JSON object"),
        (NOBODY, 2, "model is not named"),
        ({**NOBODY, "endpoint_model": "m", "endpoint_api_key_variable": "NOT_SET_AT_ALL"}, 5, "is not set"),
        ({"github_url": "https://127.0.0.1:1/owner/name"}, 1, "owner/name cannot be cloned"),
        ({"min_answer_characters": 10_000}, 3, "left out: short_answer"),
    ],
    ids=range(7),
)  # fmt: skip
def test_bad_parameters_leave_nothing(shop: Path, tmp_path: Path, config: Any, code: int, cause: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    ended, events = run(shop, folder / "out.jsonl", config=config)
    assert ended == code and cause in events[-1]["cause"] and events[-1]["event"] == "error"
    assert events[-1]["next_step"].endswith(".") and list(folder.iterdir()) == []


def test_missing_and_empty_places(shop: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "none", tmp_path / "out.jsonl")[0] == 4
    assert run(shop / "README.md", tmp_path / "out.jsonl")[0] == 4
    assert run(shop, tmp_path / "no" / "out.jsonl")[0] == 4
    (tmp_path / "empty").mkdir()
    code, events = run(tmp_path / "empty", tmp_path / "out.jsonl", config={"use_escalation": False})
    assert code == 3 and "no question with an answer was found in the 0 files of empty" in events[-1]["cause"]
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "empty", "config.json"}


def test_under_a_supervisor(shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    env = {"FTUI_RUN_DIR": str(folder), "FTUI_ATTEMPT": "3"}
    assert run(shop, tmp_path / "out.jsonl", env=env)[0] == 0
    result = json.loads((folder / "result.json").read_text())
    assert (result["attempt"], result["state"]) == (3, "done") and result["dialogs"] == len(
        rows(tmp_path / "out.jsonl")
    )

    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "out.report.json").unlink()
    (folder / "stop.json").write_text("{}")
    assert run(shop, tmp_path / "out.jsonl", env=env)[0] == 0
    assert json.loads((folder / "result.json").read_text())["state"] == "stopped"
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "run"}


# --- with an endpoint ---


class Model(BaseHTTPRequestHandler):
    """Writes one new question for each section, and supports it. A class of its own for each test."""

    asked: list[str]
    seconds: float

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][1]["content"]
        self.asked.append(text)
        time.sleep(self.seconds)
        mark = hashlib.sha256(text.encode()).hexdigest()[:12]
        is_judge = "supported" in body["messages"][0]["content"]
        said = {"supported": [1]} if is_judge else {"questions": [f"What is {mark}?"]}
        data = json.dumps({"choices": [{"message": {"content": json.dumps(said)}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def model() -> Iterator[tuple[type[Model], dict[str, Any]]]:
    """The model's class, whose `asked` and `seconds` a test may use, and a configuration that names it."""
    handler = type("OneModel", (Model,), {"asked": [], "seconds": 0.0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield handler, {"endpoint": f"http://127.0.0.1:{server.server_port}/v1", "endpoint_model": "small"}
    server.shutdown()
    server.server_close()


def test_an_endpoint_adds_variants_and_is_paid_once(
    shop: Path, tmp_path: Path, model: tuple[type[Model], dict[str, Any]]
) -> None:
    handler, named = model
    config = {**named, "endpoint_api_key_variable": "TEST_ENDPOINT_KEY"}
    env = {"TEST_ENDPOINT_KEY": "canary-key-0123456789"}
    code, events = run(shop, tmp_path / "plan.jsonl", "--preview", config=config, env=env)
    assert code == 0 and handler.asked == [] and not (tmp_path / "plan.jsonl").exists()
    planned = events[-1]["preview"]

    code, events = run(shop, tmp_path / "out.jsonl", config=config, env=env)
    assert code == 0 and len(handler.asked) == planned["requests"] == events[-1]["endpoint"]["requests"]
    assert planned["requests"] == 2 * planned["sections"] and planned["prompt_tokens"] > 0
    report = events[-1]
    assert report["found"] == report["written"] + sum(report["dropped"].values())
    written = rows(tmp_path / "out.jsonl")
    variants = [row for row in written if row["messages"][0]["content"].startswith("What is ")]
    assert len([row for row in variants if len(row["messages"][0]["content"]) == 21]) == planned["sections"]
    assert not any("escalation" in text for text in handler.asked)

    code, events = run(shop, tmp_path / "again.jsonl", config=config, env=env)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    assert len(handler.asked) == planned["requests"] == events[-1]["endpoint"]["remembered"]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"canary-key" not in path.read_bytes()


def test_a_killed_run_goes_on_without_paying_twice(
    shop: Path, tmp_path: Path, model: tuple[type[Model], dict[str, Any]]
) -> None:
    handler, config = model
    handler.seconds = 0.2
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    folder = tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-m", "finetune.generate_dataset", str(shop), str(folder / "out.jsonl")]
    memory = ["--config", str(path), "--memory", str(tmp_path / "memory")]
    process = subprocess.Popen([*command, *memory], cwd=ROOT, stdout=subprocess.DEVNULL)
    while len(handler.asked) < 4 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert list(folder.iterdir()) == []
    paid = len(list((tmp_path / "memory").iterdir()))
    assert paid >= 3

    handler.seconds = 0.0
    code, events = run(shop, folder / "out.jsonl", *memory)
    assert code == 0 and events[-1]["endpoint"]["remembered"] == paid
    assert len(set(handler.asked)) == events[-1]["endpoint"]["requests"] + paid


def test_a_stop_while_the_endpoint_is_silent(
    shop: Path, tmp_path: Path, model: tuple[type[Model], dict[str, Any]]
) -> None:
    handler, config = model
    handler.seconds = 20.0
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "finetune.generate_dataset", str(shop), str(tmp_path / "out.jsonl")]
    process = subprocess.Popen(
        [*command, "--config", str(tmp_path / "config.json")],
        cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"FTUI_RUN_DIR": str(folder)},
    )  # fmt: skip
    while not handler.asked and process.poll() is None:
        time.sleep(0.01)
    (folder / "stop.json").write_text("{}")
    began = time.monotonic()
    assert process.wait(15) == 0 and time.monotonic() - began < 10
    assert json.loads((folder / "result.json").read_text())["state"] == "stopped"
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "run", "config.json"}


def test_spent_requests_are_said(shop: Path, tmp_path: Path, model: tuple[type[Model], dict[str, Any]]) -> None:
    handler, config = model
    code, events = run(shop, tmp_path / "out.jsonl", config={**config, "max_requests": 3})
    assert code == 0 and len(handler.asked) == 3
    assert any("all 3 requests are spent" in event.get("text", "") for event in events)
    assert events[-1]["dropped"]["not_judged"] == 1 and events[-1]["endpoint"]["not_extended"] > 1

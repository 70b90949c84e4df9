"""The command line as a person or a script uses it: real processes, their output, their exit codes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.train import TrainConfig
from engines.contract.errors import EXIT_CODES
from engines.llm import SAMPLE, LLMEngine
from engines.setup import llama_cpp
from engines.workspace import Workspace
from ftui.commands.demo import next_commands


def test_version_and_help(ftui: Any) -> None:
    assert ftui("--version").stdout.strip() == "0.1.0"
    assert "Exit codes" in ftui("--help").stdout
    text = ftui("llm", "train", "--help").stdout
    for field in TrainConfig.model_fields:
        flag = f"--{field.replace('_', '-')}"
        assert flag[:26] in text, flag
    assert "For example" in ftui("llm", "prepare", "--help").stdout


def test_the_app_needs_a_terminal(ftui: Any) -> None:
    assert "needs a terminal" in ftui(code=2).stderr


def test_prepare_into_the_workspace_and_look_at_it(ftui: Any) -> None:
    done = ftui("llm", "prepare", str(SAMPLE), "--name", "chats")
    assert "Sample Owner" in done.stdout and "166" in done.stdout
    (entry,) = json.loads(ftui("data", "list", "--json").stdout)
    assert entry["name"] == "chats" and entry["report"]["dialogs"] == 166
    shown = ftui("data", "show", "chats", "--count", "2").stdout
    assert "assistant:" in shown and "— dialog 1 —" in shown
    assert json.loads(ftui("runs", "list", "--json").stdout)[0]["state"] == "done"
    assert "in the trash" in ftui("data", "delete", "chats").stdout
    assert json.loads(ftui("data", "list", "--json").stdout) == []


def test_options_of_every_command_may_stand_before_it(ftui: Any, tmp_path: Path) -> None:
    home = str(tmp_path / "other")
    for arguments in (["runs", "list", "--home", home, "--json"], ["--home", home, "--json", "runs", "list"]):
        assert ftui(*arguments).stdout == "[]\n"
    assert Path(home).is_dir()
    assert "Exit codes" in ftui(f"--home={home}", "--help").stdout
    assert "needs a terminal" in ftui("--home", home, code=2).stderr


def test_only_a_training_is_resumed(ftui: Any) -> None:
    ftui("llm", "prepare", str(SAMPLE), "--name", "chats")
    (run,) = json.loads(ftui("runs", "list", "--json").stdout)
    done = ftui("llm", "resume", run["id"], code=2)
    assert "kind prepare" in done.stderr and "Give its command again" in done.stderr and not done.stdout
    (after,) = json.loads(ftui("runs", "list", "--json").stdout)
    assert after["attempt"] == run["attempt"] == 1


@pytest.mark.parametrize("program", ["ftui", "/a/long/path/to an/environment/.venv/bin/ftui"])
def test_the_demo_ends_with_commands_that_can_be_copied(program: str, tmp_path: Path) -> None:
    for home in (Workspace().home, tmp_path / "a home with a name that is rather long"):
        for line in next_commands(program, home):
            command, what = line.rstrip().rsplit("   ", 1)
            words = shlex.split(command)
            assert words[0] == program and what and ("FILE" in words[1:]) == (what == "your own chats")
            assert (words[-1] == str(home)) == (home != Workspace().home)


def test_prepare_to_an_output_file(ftui: Any, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    ftui("llm", "prepare", str(SAMPLE), "--output", str(output), "--owner-name", "Quiz Friend (sample)")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows and all(turn["role"] in ("user", "assistant") for row in rows for turn in row["messages"])
    assert (tmp_path / "out.report.json").is_file()


@pytest.mark.parametrize(
    ("content", "arguments", "code", "cause"),
    [
        ("<html><body>Telegram</body></html>", [], 3, "HTML"),
        ("not json", [], 3, "is plain text"),
        ("", [], 3, "empty"),
        ('{"name": "x", "type": "personal_chat", "id": 1, "messages": []}', [], 3, ""),
        (None, [], 4, "no file"),
        ("{}", ["--session-gap-minutes", "0"], 2, "session_gap_minutes"),
        ("{}", ["--nonsense", "1"], 2, "nonsense"),
    ],
)
def test_refused_input(
    ftui: Any, tmp_path: Path, content: str | None, arguments: list[str], code: int, cause: str
) -> None:
    source, output = tmp_path / "in.json", tmp_path / "out.jsonl"
    if content is not None:
        source.write_text(content)
    done = ftui("llm", "prepare", str(source), "--output", str(output), *arguments, code=code)
    assert cause in done.stderr and len(done.stderr.strip().splitlines()) >= 2
    answer = json.loads(
        ftui("llm", "prepare", str(source), "--output", str(output), *arguments, "--json", code=code).stdout
    )
    assert answer["cause"] and answer["next_step"]
    assert EXIT_CODES[answer["error"]] == code
    assert not output.exists() and not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob("*.report.json"))


def test_the_wrong_owner_is_told_who_there_is(ftui: Any) -> None:
    done = ftui("llm", "prepare", str(SAMPLE), "--owner-name", "Nobody", code=3)
    assert "Sample Owner" in done.stderr


def test_train_status_log_evaluate_adapters(ftui: Any, engine: LLMEngine, tiny_model: Path, tmp_path: Path) -> None:
    """Train a tiny model from the command line, with a JSON file, a preset and flags, and use the adapter."""
    write_dataset(engine.datasets.path("talk"), dialog_rows(40))
    (tmp_path / "c.json").write_text(json.dumps({"base_model": str(tiny_model), "lora_rank": 2, "seed": 7}))
    common = ["--preset", "demo", "--config", str(tmp_path / "c.json"), "--max-steps", "3", "--lora-rank", "3"]
    done = ftui("llm", "train", "talk", "--name", "one", *common)
    assert "adapter:   one" in done.stdout and "step 3/3" in done.stderr
    run = json.loads(ftui("runs", "list", "--kind", "train", "--json").stdout)[0]
    shown = json.loads(ftui("runs", "show", run["id"], "--json").stdout)
    assert (shown["config"]["lora_rank"], shown["config"]["seed"]) == (3, 7)
    assert shown["config"]["gradient_accumulation_steps"] == 4  # the preset's
    assert shown["data_fingerprint"] and shown["packages"]["torch"] and shown["base_model"] == str(tiny_model)
    text = ftui("runs", "show", run["id"]).stdout
    assert f"packages.torch: {shown['packages']['torch']}\n" in text and "code.version: 0.1.0" in text
    assert json.loads((engine.workspace.training_config).read_text())["lora_rank"] == 3

    assert "✓ done" in ftui("llm", "status").stdout
    assert json.loads(ftui("llm", "status", "--json").stdout)["progress"]["step"] == 3
    assert "step 3" in ftui("llm", "log").stdout
    events = [json.loads(line) for line in ftui("llm", "log", "--json").stdout.splitlines()]
    assert {"attempt", "train", "metrics", "result"} <= {event["event"] for event in events}

    wanted = ["--prompt", "Hello?", "--answers", "1", "--max-new-tokens", "3", "--output", str(tmp_path / "r.md")]
    conditions = ["--fail-if", "perplexity > 1", "--fail-if", "loss > 1000"]
    result = json.loads(ftui("llm", "evaluate", "one", *wanted, *conditions, "--json", code=1).stdout)["result"]
    assert result["answers"][0]["prompt"] == "Hello?"
    assert [failure["expression"] for failure in result["gate"]["failures"]] == ["perplexity > 1"]
    assert "Gate: **failed**" in (tmp_path / "r.md").read_text()
    assert "fail_if" in ftui("llm", "evaluate", "one", "--fail-if", "nonsense > 1", code=2).stderr
    answer = json.loads(
        ftui("llm", "chat", "--adapter", "one", "--prompt", "Hi", "--max-new-tokens", "4", "--json").stdout
    )
    assert [said["adapter"] for said in answer["answers"]] == ["one"]

    assert "✗" not in ftui("adapters", "list").stdout
    assert "one is active" in ftui("adapters", "activate", "one").stdout
    assert "--yes" in ftui("adapters", "delete", "one", code=6).stderr
    ftui("adapters", "delete", "one", "--yes")
    assert not (engine.adapters.folder / ".active").exists()
    assert "is back" in ftui("adapters", "restore", "one").stdout
    assert json.loads(ftui("adapters", "deactivate", "--json").stdout) == {"done": True, "active": None, "servers": []}
    ftui("llm", "resume", run["id"], code=6)
    ftui("llm", "stop", run["id"], code=6)


def test_stop_and_resume_from_the_command_line(ftui: Any, engine: LLMEngine, tiny_model: Path) -> None:
    write_dataset(engine.datasets.path("talk"), dialog_rows(40))
    base = ["--base-model", str(tiny_model), "--preset", "demo", "--max-steps", "2000", "--save-steps", "500"]
    run = json.loads(ftui("llm", "train", "talk", *base, "--detach", "--json").stdout)
    assert run["state"] == "running"
    queued = json.loads(ftui("llm", "train", "talk", *base, "--detach", "--json").stdout)
    assert queued["state"] == "queued"
    assert "waits for its device" in ftui("runs", "delete", queued["id"], code=6).stderr
    ftui("runs", "stop", queued["id"])
    assert "■ stopped" in ftui("llm", "stop", run["id"]).stdout
    assert "running" in json.loads(ftui("llm", "resume", run["id"], "--detach", "--json").stdout)["state"]
    stopped = json.loads(ftui("llm", "stop", run["id"], "--json").stdout)
    assert stopped["state"] == "stopped" and stopped["attempt"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "cause"),
    [
        (["llm", "train"], 4, "no dataset"),
        (["llm", "train", "none"], 4, "no dataset none"),
        (["llm", "status"], 4, "nothing has been trained"),
        (["adapters", "activate", "none"], 4, "no adapter none"),
        (["adapters", "activate", "../x"], 2, "not a name"),
        (["adapters", "restore", "none"], 4, "in the trash"),
        (["runs", "show", "none"], 4, "no run none"),
        (["setup", "tts", "--python", "/bin/false"], 5, "does not run"),
        (["tts", "samples", "show", "none"], 4, "no sample none"),
        (["tts", "samples", "delete", "../x"], 2, "not a name"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_errors_are_a_cause_and_a_next_step(ftui: Any, arguments: list[str], code: int, cause: str) -> None:
    done = ftui(*arguments, code=code)
    assert cause in done.stderr and done.stdout == ""
    answer = json.loads(ftui(*arguments, "--json", code=code).stdout)
    assert set(answer) == {"error", "cause", "next_step"}


def test_a_conversation_cannot_be_one_json_document(ftui: Any) -> None:
    assert "--prompt" in json.loads(ftui("llm", "chat", "--json", code=2).stdout)["cause"]


def test_doctor(ftui: Any, engine: LLMEngine) -> None:
    assert "training environment" in ftui("doctor").stdout
    assert "ftui setup tts" in ftui("doctor").stdout
    facts = json.loads(ftui("doctor", "--json").stdout)
    assert facts["environment"]["ready"] and facts["environment"]["packages"]["torch"]
    assert facts["if_wanted"]["llama"] is False
    assert "llama, export-gguf\n    get: ftui setup WHAT" in ftui("doctor").stdout
    llama_cpp.folder(engine.workspace).mkdir(parents=True)
    assert "✓ for servers and exports: llama" in ftui("doctor").stdout
    broken = engine.workspace.home / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    engine.environments.choose("llm", broken)
    assert "ftui setup llm" in ftui("doctor", code=5).stdout


def test_foreign_text_never_reaches_the_terminal_raw(ftui: Any, engine: LLMEngine) -> None:
    rows = dialog_rows(1)
    rows[0]["messages"][0]["content"] = "look \x1b]52;c;ZXZpbA==\x07 here \x9b2J \u202e"
    write_dataset(engine.datasets.path("evil"), rows)
    shown = ftui("data", "show", "evil").stdout
    assert "\x1b" not in shown and "\x9b" not in shown and "\u202e" not in shown and "look" in shown
    assert "\x1b" not in ftui("data", "show", "evil", "--json").stdout


def test_nothing_private_is_readable_by_others_and_no_token_is_written(
    ftui: Any, engine: LLMEngine, tiny_model: Path
) -> None:
    canary = "hf_canary_0123456789"
    write_dataset(engine.datasets.path("talk"), dialog_rows(40)).chmod(0o600)
    base = ["--base-model", str(tiny_model), "--preset", "demo", "--max-steps", "1"]
    ftui("llm", "train", "talk", *base, "--name", "one", HF_TOKEN=canary)
    files = [path for path in engine.workspace.home.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert canary.encode() not in path.read_bytes(), path
    everything = [engine.workspace.home, *engine.workspace.home.rglob("*")]
    assert [path for path in everything if path.stat().st_mode & 0o077] == []


def test_help_fills_its_lines_and_keeps_commands_whole(ftui: Any) -> None:
    text = ftui("llm", "chat", "--help", COLUMNS="60").stdout
    assert "\n  ftui llm chat --base --adapter me-v1 --adapter me-v2 --temperature 0.7 --seed 3\n" in text
    lines = text[text.index("A running server") : text.index("\n\nFor example")].split("\n")
    assert len(lines) > 4 and all(30 < len(line.rstrip()) <= 60 for line in lines[:-1])

"""How much less a chat export costs to prepare than with json.load and a loop.

    python -m benchmarks.telegram [--megabytes 500] [--larger 500] [--runs 3]

Writes a synthetic export, of a full account and of a single chat, then runs our script and the
plain loop on it in turn, each as a process of its own. Both must write the same bytes and count the
same. Then our script with one and with two processes on the single chat, by the clock, which tells
something where two cores are idle only (measured, too); they must write the same bytes.
Ends with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SMALLEST_RATIO = 9.0
LARGEST_MEGABYTES = 64.0
LEAST_FASTER = 1.7
IDLE_CORES = 1.9  # times the work of one core: below it the clock tells of the machine and not of us

LATIN = "so then i will see you at the station and we can talk about it on the way home maybe bring some bread"
CYRILLIC = "ну тогда я завтра зайду и мы всё решим может быть после работы если не будет дождя а пока напиши мне"
MARKS = [".", "!", "?", "", "", " 🙂", ")"]
OWNER, OWNER_NAME = "user100", "Owner"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$)")
MOST_TURNS, MOST_CHARACTERS = 20, 4000  # as the defaults are


def write_export(path: Path, megabytes: float, seed: int = 7) -> None:
    """A full account export as Telegram Desktop lays it out: one space per level, ten chats of six kinds."""
    random_ = random.Random(seed)
    kinds = ["personal_chat"] * 5 + [
        "bot_chat",
        "private_group",
        "public_supergroup",
        "saved_messages",
        "private_channel",
    ]
    share = megabytes * 1e6 / len(kinds)
    with open(path, "w", encoding="utf-8") as file:
        file.write('{\n "about": "Here is the data you requested.",\n "personal_information": {\n  "user_id": 100,\n')
        file.write(
            f'  "first_name": "{OWNER_NAME}",\n  "last_name": ""\n }},\n "chats": {{\n  "about": "",\n  "list": [\n'
        )
        for position, kind in enumerate(kinds):
            name = "" if kind == "saved_messages" else f'    "name": "Peer {position}",\n'
            chat_id = 100 if kind == "saved_messages" else 200 + position
            file.write(",\n" if position else "")
            file.write(f'   {{\n{name}    "type": "{kind}",\n    "id": {chat_id},\n    "messages": [')
            write_messages(file, random_, share, f"user{200 + position}", position)
            file.write("\n    ]\n   }")
        file.write("\n  ]\n }\n}\n")


def write_messages(file: Any, random_: random.Random, share: float, peer: str, position: int) -> None:
    written, number, time, author = 0.0, 0, 1_500_000_000, peer
    words = (CYRILLIC if position % 2 else LATIN).split()
    while written < share:
        number += 1
        time += random_.choice([5, 20, 60, 600]) if random_.random() < 0.95 else 20_000
        if random_.random() < 0.4:
            author = OWNER if author == peer else peer
        text = json.dumps(_message(random_, number, time, author, position, words), ensure_ascii=False, indent=1)
        text = text.replace("\n", "\n     ")
        file.write(f"{',' if number > 1 else ''}\n     {text}")
        written += len(text.encode())


def _message(
    random_: random.Random, number: int, time: int, author: str, position: int, words: list[str]
) -> dict[str, Any]:
    head: dict[str, Any] = {"id": number, "type": "message", "date": "2020-01-01T12:00:00", "date_unixtime": str(time)}
    name = OWNER_NAME if author == OWNER else f"Peer {position}"
    kind = random_.random()
    if kind < 0.02:
        actor = {"actor": name, "actor_id": author, "action": "phone_call", "text": "", "text_entities": []}
        return {**head, "type": "service", **actor}
    head |= {"from": name, "from_id": author}
    if random_.random() < 0.15:
        head["reply_to_message_id"] = max(1, number - 3)
    if random_.random() < 0.03:
        head["forwarded_from"] = "Somebody"
    if kind < 0.12:
        file = "(File not included. Change data exporting settings to download.)"
        media = {"file": file, "file_name": "sticker.webp", "file_size": 20480, "thumbnail": file}
        media |= {"media_type": random_.choice(["sticker", "voice_message"]), "width": 512, "height": 512}
        return {**head, **media, "text": "", "text_entities": []}
    sentences = []
    for _ in range(random_.choice([1, 1, 1, 2, 3])):
        sentences.append(" ".join(random_.choices(words, k=random_.randint(2, 12))) + random_.choice(MARKS))
    text = " ".join(sentences)
    plain = {"type": "plain", "text": text}
    if kind < 0.18:
        link = {"type": "link", "text": "https://example.org/a"}
        return {**head, "text": [text + " ", link], "text_entities": [plain, link]}
    return {**head, "text": text, "text_entities": [plain]}


def plain_loop(source: Path, output: Path) -> None:
    """What our script does with default parameters, as one writes it without thinking of memory or speed.

    The same rules: control characters removed, overlong messages cut after a sentence, and all counted for a report.
    """
    with open(source, encoding="utf-8") as file:
        export = json.load(file)
    chats = export["chats"]["list"] if "chats" in export else [export]
    report: dict[str, Any] = {"messages_read": 0, "messages_used": 0, "dialogs": 0, "turns": 0}
    report |= {name: Counter() for name in ("characters", "dropped", "months")}
    with open(output, "w", encoding="utf-8") as out:
        for chat in chats:
            if chat["type"] == "personal_chat":
                for began, turns in _plain_sessions(chat["messages"], report):
                    for row in _plain_rows(turns, f"{chat['id']}/{began}", began, report):
                        out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
    output.with_suffix(".report.json").write_text(json.dumps(report))


def _plain_rows(turns: list[dict[str, Any]], name: str, began: int, report: dict[str, Any]) -> Any:
    while turns and turns[-1]["role"] == "user":
        report["dropped"]["unanswered"] += len(turns.pop()["parts"])
    for start in range(0, len(turns), MOST_TURNS):
        some = turns[start : start + MOST_TURNS]
        messages = [{"role": turn["role"], "content": "\n".join(turn["parts"])} for turn in some]
        report["dialogs"] += 1
        report["turns"] += len(messages)
        report["months"][datetime.fromtimestamp(began, UTC).strftime("%Y-%m")] += 1
        for turn, message in zip(some, messages, strict=True):
            report["messages_used"] += len(turn["parts"])
            report["characters"][message["role"]] += len(message["content"])
        yield {"messages": messages, "conversation": name}


def _plain_sessions(messages: list[dict[str, Any]], report: dict[str, Any]) -> Any:
    began, last, turns = 0, 0, []
    dropped = report["dropped"]
    for message in messages:
        report["messages_read"] += 1
        if message["type"] != "message":
            dropped[message["type"]] += 1
            continue
        text = message["text"]
        if isinstance(text, list):
            text = "".join(part if isinstance(part, str) else part["text"] for part in text)
        text = CONTROL.sub("", text.replace("\r\n", "\n")).strip()
        role = "assistant" if message["from_id"] == OWNER else "user"
        if not text:
            dropped[message.get("media_type") or "empty"] += 1
            continue
        if role == "assistant" and ("forwarded_from" in message or "saved_from" in message):
            dropped["forwarded_by_owner"] += 1
            continue
        if len(text) > MOST_CHARACTERS:
            ends = [found.end() for found in SENTENCE_END.finditer(text[:MOST_CHARACTERS])]
            text = text[: ends[-1]] if ends else ""
            if not text:
                dropped["too_long"] += 1
                continue
        time = int(message["date_unixtime"])
        if time - last >= 180 * 60:
            yield began, turns
            began, turns = time, []
        last = time
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"].append(text)
        elif turns or role == "user":
            turns.append({"role": role, "parts": [text]})
        else:
            dropped["before_question"] += 1
    yield began, turns


def measure(command: list[str]) -> tuple[float, float]:
    """CPU seconds and peak MB of one process. Raises SystemExit if it fails."""
    return end_of(subprocess.Popen(command, stdout=subprocess.DEVNULL))


def end_of(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """The same of one that runs; its children count, too."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{process.args!r} ended with {process.returncode}")
    to_megabytes = 1e6 if sys.platform == "darwin" else 1e3
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / to_megabytes


def write_single_chat(path: Path, megabytes: float) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write('{\n "name": "Peer",\n "type": "personal_chat",\n "id": 200,\n "messages": [')
        write_messages(file, random.Random(7), megabytes * 1e6, "user200", 0)
        file.write("\n ]\n}\n")


def ours_in(processes: int, source: Path, output: Path) -> list[str]:
    """The command that prepares `source` in so many processes."""
    parameters = output.with_name(f"{processes}.json")
    parameters.write_text(json.dumps({"processes": processes}))
    return [sys.executable, "-m", "finetune.prepare_dataset", str(source), str(output), "--config", str(parameters)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=500)
    parser.add_argument("--larger", type=float, default=0, help="also measure our memory at this size, in MB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--plain", nargs=2, type=Path, metavar=("IN", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plain:
        plain_loop(*arguments.plain)
        return 0
    missed = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, write in (("a full account", write_export), ("a single chat", write_single_chat)):
            write(folder / "result.json", arguments.megabytes)
            print(f"\n{name}, ", end="")
            missed += compare(folder, arguments.runs)
        missed += compare_processes(folder, arguments.runs)
        if arguments.larger:
            missed += larger(folder, arguments.larger)
    return int(missed > 0)


def compare(folder: Path, runs: int) -> bool:
    """Is a goal missed?"""
    source, ours, plain = folder / "result.json", folder / "ours.jsonl", folder / "plain.jsonl"
    commands = {
        "ours": ours_in(1, source, ours),
        "json.load": [sys.executable, "-m", "benchmarks.telegram", "--plain", str(source), str(plain)],
    }
    print(f"{source.stat().st_size / 1e6:.0f} MB, {runs} runs each\n{'':12}{'CPU s':>8}{'peak MB':>10}")
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            measured[name].append(measure(command))
            print(f"{name:12}{measured[name][-1][0]:8.2f}{measured[name][-1][1]:10.0f}", flush=True)
        check_same(ours, plain)
    cpu = {name: statistics.median(seconds for seconds, _ in values) for name, values in measured.items()}
    memory = max(peak for _, peak in measured["ours"])
    ratio = cpu["json.load"] / cpu["ours"]
    print(f"median CPU: ours {cpu['ours']:.2f} s, json.load {cpu['json.load']:.2f} s: {ratio:.1f} times less")
    print(f"the same {ours.stat().st_size / 1e6:.0f} MB and the same counts")
    fits = ratio >= SMALLEST_RATIO and memory <= LARGEST_MEGABYTES
    print(f"goals: {SMALLEST_RATIO:.0f} times less CPU, {LARGEST_MEGABYTES:.0f} MB: {'met' if fits else 'MISSED'}")
    return not fits


def check_same(ours: Path, plain: Path) -> None:
    """Raises SystemExit where rows or counts differ."""
    if not filecmp.cmp(ours, plain, shallow=False):  # reading them would grow this process, and so its children
        raise SystemExit("the two outputs differ")
    counted, expected = (json.loads(path.with_suffix(".report.json").read_text()) for path in (ours, plain))
    for name, value in expected.items():
        if counted[name] != value:
            raise SystemExit(f"{name} differs: {counted[name]} and {value}")


def larger(folder: Path, megabytes: float) -> bool:
    source = folder / "result.json"
    write_export(source, megabytes)
    seconds, peak = measure(ours_in(1, source, folder / "ours.jsonl"))
    print(f"\na full account of {source.stat().st_size / 1e6:.0f} MB: {seconds:.2f} s, {peak:.0f} MB")
    return peak > LARGEST_MEGABYTES


def compare_processes(folder: Path, runs: int) -> bool:
    """One and two processes on the single chat. Is a goal missed?

    Beside them two runs at once that know nothing of each other: what two cores of this machine give at the most.
    """
    source = folder / "result.json"
    alone, apart, both = (folder / f"{name}.jsonl" for name in ("alone", "apart", "both"))
    jobs = {
        "one": [ours_in(1, source, alone)],
        "two at once": [ours_in(1, source, alone), ours_in(1, source, apart)],
        "two": [ours_in(2, source, both)],
    }
    clock: dict[str, list[float]] = {name: [] for name in jobs}
    memory = 0.0
    for _ in range(runs):
        for name, commands in jobs.items():
            began = time.monotonic()
            running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
            memory = max(memory, *(end_of(process)[1] for process in running))
            clock[name].append(time.monotonic() - began)
        if not filecmp.cmp(alone, both, shallow=False):
            raise SystemExit("one process and two write different bytes")
    one, two_at_once, two = (statistics.median(seconds) for seconds in clock.values())
    allowed = 2 * one / two_at_once
    print(
        f"\nsingle chat: one process {one:.2f} s, two {two:.2f} s: {one / two:.2f} times faster, {memory:.0f} MB each"
    )
    print(f"two runs at once, each by itself: {allowed:.2f} times as much work in the same time")
    if allowed < IDLE_CORES:
        print(f"goal: {LEAST_FASTER} times faster: not judged, this machine has no two whole cores just now")
        return memory > LARGEST_MEGABYTES
    fits = one / two >= LEAST_FASTER and memory <= LARGEST_MEGABYTES
    print(f"goals: {LEAST_FASTER} times faster, {LARGEST_MEGABYTES:.0f} MB: {'met' if fits else 'MISSED'}")
    return not fits


if __name__ == "__main__":
    raise SystemExit(main())

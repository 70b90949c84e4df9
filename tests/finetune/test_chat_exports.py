"""WhatsApp and Discord: what the programs write, in the layouts of phones and languages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.formats import detect
from finetune.formats.discord import Discord
from finetune.formats.telegram_message import Message
from finetune.formats.whatsapp import WhatsApp

IOS = """\u200e[31.12.24, 21:15:02] Peer: \u200eMessages are end-to-end encrypted.
[31.12.24, 21:15:10] Peer: first line
second line: with a colon
[31.12.24, 21:16:00] ~\u202fOwner: answer
\u200e[01.01.25, 00:00:01] Peer: \u200e<attached: 00000012-PHOTO.jpg>
[01.01.25, 00:01:01] Peer: later \u200e<This message was edited>
"""
ANDROID = """12/31/24, 9:15\u202fPM - Messages and calls are end-to-end encrypted.
12/31/24, 9:15\u202fPM - Peer: first line
second line: with a colon
12/31/24, 9:16\u202fPM - Owner: answer
1/1/25, 12:00\u202fAM - Peer: <Media omitted>
1/1/25, 12:01\u202fAM - Peer: later
"""
RUSSIAN = """31.12.2024, 21:15 - Сообщения защищены сквозным шифрованием.
31.12.2024, 21:15 - Peer: first line
second line: with a colon
31.12.2024, 21:16 - Owner: answer
01.01.2025, 00:00 - Peer: <Без медиафайлов>
01.01.2025, 00:01 - Peer: later
"""


def messages(export: WhatsApp | Discord) -> list[Any]:
    return [message for _, batch, _ in export.batches() for message in batch]


@pytest.mark.parametrize("text", [IOS, ANDROID, RUSSIAN])
def test_whatsapp(tmp_path: Path, text: str) -> None:
    path = tmp_path / "_chat.txt"
    path.write_text(text, encoding="utf-8")
    assert detect(path).name == "whatsapp"
    export = WhatsApp(path)
    said = [item for item in messages(export) if isinstance(item, Message)]
    texts = [(item.author, item.text) for item in said if item.text and "encrypted" not in item.text]
    assert texts == [("Peer", "first line\nsecond line: with a colon"), ("Owner", "answer"), ("Peer", "later")]
    moments = [datetime.fromtimestamp(item.time, UTC) for item in said]
    assert (moments[-1].year, moments[-1].month, moments[-1].day) == (2025, 1, 1)
    assert moments == sorted(moments)
    assert [item.media() for item in said if not item.text] == ["media"]
    assert export.bytes_read == path.stat().st_size


def test_whatsapp_finds_the_order_of_day_and_month_in_the_dates(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text("1/5/24, 10:00 - Peer: hi\n2/3/24, 10:00 - Peer: hi\n")
    assert WhatsApp(path).order == "mdy"
    path.write_text("5/1/24, 10:00 - Peer: hi\n3/2/24, 10:00 - Peer: hi\n")
    assert WhatsApp(path).order == "dmy"


@given(st.lists(st.tuples(st.sampled_from(["Peer", "Owner"]), st.text(max_size=30)), min_size=2, max_size=20))
def test_whatsapp_loses_no_message(tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("w") / "chat.txt"
    lines = [f"[01.02.24, 10:{n:02}:00] {who}: {' '.join(text.split())}" for n, (who, text) in enumerate(said)]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    assert len(messages(WhatsApp(path))) == len(said)


def discord(kind: str = "DirectTextChat") -> dict[str, Any]:
    def said(number: int, who: str, text: str, **more: Any) -> dict[str, Any]:
        author = {"id": {"Peer": "10", "Owner": "20", "Bot": "30"}[who], "name": who, "isBot": who == "Bot"}
        stamp = f"2024-01-01T10:{number:02}:00.123+03:00"
        return {"id": str(number), "type": "Default", "timestamp": stamp, "content": text, "author": author, **more}

    return {
        "guild": {"id": "0", "name": "Direct Messages"},
        "channel": {"id": "1", "type": kind, "name": "Peer"},
        "dateRange": {"after": None, "before": None},
        "messages": [
            said(1, "Peer", "q"),
            said(2, "Bot", "beep"),
            said(3, "Owner", "a", type="Reply"),
            said(4, "Peer", "", type="ChannelPinnedMessage"),
            said(5, "Owner", "not mine", forwardedMessage={"content": "x"}),
            said(6, "Peer", "", attachments=[{"id": "1"}]),
        ],
        "messageCount": 6,
    }


@pytest.mark.parametrize("indent", [None, 2])
def test_discord(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "channel.json"
    path.write_text(json.dumps(discord(), indent=indent))
    assert detect(path).name == "discord"
    found = messages(Discord(path))
    assert [(item.author, item.text, item.media()) for item in found if isinstance(item, Message)] == [
        ("Peer", "q", "empty"), ("Bot", "", "bot"), ("Owner", "a", "empty"), ("Owner", "not mine", "empty"),
        ("Peer", "", "attachment"),
    ]  # fmt: skip
    assert found[4].is_forward() and not found[0].is_forward()
    assert found[2].time - found[0].time == 120


def test_a_truncated_discord_export_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "channel.json"
    path.write_text(json.dumps(discord())[:-400])
    export = Discord(path)
    assert 3 <= len(messages(export)) < 6 and export.truncated

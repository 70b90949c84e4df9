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
from finetune.formats.telegram_message import Message, Service
from finetune.formats.whatsapp import WhatsApp, name_of
from finetune.formats.whatsapp_words import SYSTEM, what_is_said

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
    assert [item.media() for item in said if not item.text] == ["photo" if text is IOS else "media"]
    assert export.bytes_read == path.stat().st_size


def test_whatsapp_finds_the_order_of_day_and_month_in_the_dates(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text("1/5/24, 10:00 - Peer: hi\n2/3/24, 10:00 - Peer: hi\n")
    assert WhatsApp(path).order == "mdy"
    path.write_text("5/1/24, 10:00 - Peer: hi\n3/2/24, 10:00 - Peer: hi\n")
    assert WhatsApp(path).order == "dmy"


@pytest.mark.parametrize(
    ("lines", "order"),
    [
        (["1/2/24, 9:15 PM - A: x", "1/3/24, 9:15 PM - A: x"], "mdy"),
        (["1/2/24, 21:15 - A: x", "1/3/24, 21:15 - A: x"], "mdy"),
        (["1/2/24, 21:15 - A: x", "2/2/24, 21:15 - A: x"], "dmy"),
        (["1/2/24, 9:15 PM - A: x", "2/2/24, 9:15 PM - A: x"], "dmy"),
        (["1/2/24, 9:15 PM - A: x", "1/2/24, 9:16 PM - A: x"], "mdy"),
        (["1/2/24, 9:15 pm - A: x", "1/2/24, 9:16 pm - A: x"], "dmy"),
        (["1/2/24, 9:15 p. m. - A: x"], "dmy"),
        (["1/2/24, 21:15 - A: x"], "dmy"),
        (["2024-01-02, 21:15 - A: x"], "ymd"),
        (["[12.3.2022 klo 14.08.18] A: x"], "dmy"),
    ],
)
def test_whatsapp_where_both_orders_are_possible(tmp_path: Path, lines: list[str], order: str) -> None:
    path = tmp_path / "c"
    path.write_text("\n".join(lines))
    assert detect(path).name == "whatsapp"
    assert WhatsApp(path).order == order


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("hello", ("", "hello")),
        ("an image, omitted", ("", "an image, omitted")),
        ("I saw notes.txt (see below)", ("", "I saw notes.txt (see below)")),
        ("<3", ("", "<3")),
        ("IMG-1.jpg (file attached)", ("photo", "")),
        ("\u200eIMG-20250302-WA0035.jpg (arquivo anexado)", ("photo", "")),
        ("IMG-1.jpg (файл добавлен)\nна море", ("photo", "на море")),
        ("PTT-20240101-WA0001.opus (something in a language we do not know)", ("voice_message", "")),
        ("Ann.vcf (archivo adjunto)", ("contact", "")),
        ("plan (final).pdf (Datei angehängt)\nplan (final).pdf", ("file", "")),
        ("2015-08-04-PHOTO-00004762.jpg <attached>", ("photo", "")),
        ("\u200e<Anhang: 00000012-PHOTO-2024-12-31.jpg>", ("photo", "")),
        ("look at this \u200e<attached: 00000012-PHOTO.jpg>", ("photo", "look at this")),
        ("Plan.pdf • \u200e3 pages \u200e<attached: 00000012-Plan.pdf>", ("file", "")),
        ("Plan.pdf • \u200e3 pages \u200edocument omitted", ("file", "")),
        ("\u200eimage omitted", ("photo", "")),
        ("\u200eизображение отсутствует", ("photo", "")),
        ("Bild weggelassen", ("photo", "")),
        ("Kontaktkarte ausgelassen", ("contact", "")),
        ("imagen omitida", ("photo", "")),
        ("audio omesso", ("audio_file", "")),
        ("<Medien ausgeschlossen>", ("media", "")),
        ("<Medien ausgeschlossen>\n4Bit Adder.mod", ("file", "")),
        ("<Multimedia omitido>\nlook", ("media", "look")),
        ("<Mídia oculta>", ("media", "")),
        ("<Médias omis>", ("media", "")),
        ("<Без медиафайлов>", ("media", "")),
        ("Diese Nachricht wurde gelöscht.", ("deleted", "")),
        ("Eliminaste este mensaje.", ("deleted", "")),
        ("\u200eThis message was deleted.", ("deleted", "")),
        ("Данное сообщение удалено", ("deleted", "")),
        ("You deleted it, did you?", ("", "You deleted it, did you?")),
        ("POLL:\nWhere?\nOPTION: here (1 vote)", ("poll", "")),
        ("\u200eUMFRAGE:\nWo?\n\u200eOPTION: hier (\u200e1 Stimme)", ("poll", "")),
        ("Poll: who comes?", ("", "Poll: who comes?")),
        ("location: https://maps.google.com/?q=1,2", ("location", "")),
        ("\u200eStandort: https://maps.google.com/?q=1,2", ("location", "")),
        ("Missed voice call", (SYSTEM, "")),
        ("Verpasster Sprachanruf", (SYSTEM, "")),
        ("\u200eMissed voice call. \u200eTap to call back.", (SYSTEM, "")),
        ("\u200eNobody knows this sentence", (SYSTEM, "")),
        ("later <This message was edited>", ("", "later")),
        ("später \u200e<Diese Nachricht wurde bearbeitet.>", ("", "später")),
        ("what \u200e<was it in a language we do not know>", ("", "what")),
    ],
)
def test_whatsapp_tells_its_own_words_from_those_that_are_said(raw: str, expected: tuple[str, str]) -> None:
    assert what_is_said(raw) == expected


def test_what_whatsapp_says_itself_makes_no_group(tmp_path: Path) -> None:
    path = tmp_path / "c"
    said = "[1.2.24, 10:01:00] Ann: hi\n[1.2.24, 10:02:00] Bob: yo\n"
    path.write_text(f"[1.2.24, 10:00:00] Trip: \u200eAnn created this group\n{said}")
    export = WhatsApp(path)
    (chat, *_), *_ = export.batches()
    assert chat.kind == "personal_chat" and export.lost == 0
    path.write_text(f"the end of something\n{said}")
    export = WhatsApp(path)
    assert len(messages(export)) == 2 and export.lost == 1


def test_whatsapp_chats_are_called_as_their_files() -> None:
    assert name_of("WhatsApp Chat with Ann.txt") == "WhatsApp Chat with Ann"
    assert name_of("WhatsApp Chat - Ann/_chat.txt") == "WhatsApp Chat - Ann"
    assert name_of("_chat.txt") == "_chat"


SAID = st.tuples(st.sampled_from(["Peer", "Owner", "Al: Bo"]), st.text(max_size=30))
STAMPS = ["[01.02.24, 10:{:02}:00] {}: {}", "01.02.24, 10:{:02} - {}: {}", "2/1/24, 10:{:02}\u202fPM - {}: {}"]


@given(st.lists(SAID, min_size=2, max_size=20), st.sampled_from(STAMPS))
def test_whatsapp_loses_no_message(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]], stamp: str
) -> None:
    path = tmp_path_factory.mktemp("w") / "chat.txt"
    lines = [stamp.format(n, who, " ".join(text.split())) for n, (who, text) in enumerate(said)]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    export = WhatsApp(path)
    found = messages(export)
    assert len(found) == len(said) and export.lost == 0
    for message, (who, text) in zip(found, said, strict=True):
        if isinstance(message, Message) and who != "Al: Bo" and text.isalnum() and not message.media_type:
            assert (message.author, message.text) == (who, text)


@given(st.binary(max_size=400), st.integers(0, 300))
def test_whatsapp_reads_anything(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    path = tmp_path_factory.mktemp("w") / "chat.txt"
    whole = IOS.encode()
    path.write_bytes(whole[:at] + junk + whole[at:])
    export = WhatsApp(path)
    assert all(isinstance(item, (Message, Service)) for item in messages(export))
    assert all(0 <= item.time < 1 << 48 or item.time < 0 for item in messages(export) if isinstance(item, Message))


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


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["id", "type", "timestamp", "content", "author", "reference", "attachments", "forwardedMessage", "isBot"]


@given(st.lists(st.tuples(st.sampled_from(["10", "20"]), TEXTS), max_size=12), st.sampled_from([None, 1, 4]))
def test_discord_reads_every_text(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]], indent: int | None
) -> None:
    export = discord()
    export["messages"] = [
        {"id": "1", "type": "Default", "timestamp": "2024-01-01T10:00:00+00:00", "content": text, "author": {"id": who}}
        for who, text in said
    ]
    path = tmp_path_factory.mktemp("d") / "c.json"
    path.write_text(json.dumps(export, indent=indent, ensure_ascii=False), encoding="utf-8")
    found = messages(reader := Discord(path))
    assert [(item.author_id, item.text) for item in found] == said
    assert (reader.repaired, reader.lost, reader.truncated) == (0, 0, False)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES) | VALUES, max_size=6))
def test_discord_counts_what_it_cannot_read(tmp_path_factory: pytest.TempPathFactory, odd: list[Any]) -> None:
    export = discord()
    count = len(export["messages"])
    export["messages"][2:2] = odd
    path = tmp_path_factory.mktemp("d") / "c.json"
    path.write_text(json.dumps(export))
    reader = Discord(path)
    found = messages(reader)
    assert len(found) + reader.lost == count + len(odd)
    assert [item.text for item in found if isinstance(item, Message)][-1] == ""


@given(st.integers(0, 10_000), st.binary(max_size=6), st.integers(0, 40))
def test_a_damaged_discord_export_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes, removed: int
) -> None:
    whole = json.dumps(discord()).encode()
    begin = whole.index(b'"messages": [') + len(b'"messages": [')
    at = begin + at % (len(whole) - begin)
    path = tmp_path_factory.mktemp("d") / "c.json"
    path.write_bytes(whole[:at] + junk + whole[at + removed :])
    reader = Discord(path)
    found = messages(reader)
    assert len(found) + reader.lost >= 6 - bool(removed) or reader.truncated


def test_one_broken_message_of_discord_is_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(discord()).replace('"content": "a"', '"content": "a" b"'))
    export = Discord(path)
    assert len(messages(export)) == 5 and (export.lost, export.truncated) == (1, False)
    path.write_text(json.dumps(discord()).replace('"content": "a"', r'"content": "a\q"'))
    export = Discord(path)
    assert messages(export)[2].text == r"a\q" and export.repaired == 1

"""Telegram's export, read in blocks, is what json.load would read; broken files lose only what is broken."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telegram_exports import LAYOUTS, OWNER, PEER, START, account, chat, dialog, message, service, write

from engines.contract.errors import UserError
from finetune.formats import telegram
from finetune.formats.owner import find_owner
from finetune.formats.telegram import Export
from finetune.formats.telegram_message import Message, Service, Unsupported, mend

NASTY = [
    '"},\n  {\n   "id": 1,\n   "type": "message"',
    '}, {"id": 2, "type": "message", "text": "x"}',
    '"messages": [',
    '\\"messages\\": [{"id": 1',
    "]}]}",
    "{[{[",
    "\\",
    '"',
    'a\\"b\\\\',
    "Сосед, привет",
    "🙂\u2028line",
    "\t\n  \r\n",
    "\x00\x1b[0m",
]


def texts(export: Export) -> list[tuple[str, str]]:
    """(kind of chat, text) of every message."""
    return [
        (chat_.kind, item.joined_text() if isinstance(item, Message) else type(item).__name__)
        for chat_, batch, _ in export.batches()
        for item in batch
    ]


def reference(value: dict[str, Any]) -> list[tuple[str, str]]:
    """The same from the parsed document."""
    chats = [value] if "messages" in value else value["chats"]["list"] + value["left_chats"]["list"]
    found = []
    for chat_ in chats:
        for item in chat_["messages"]:
            text = item.get("text", "")
            if isinstance(text, list):
                text = "".join(part if isinstance(part, str) else part["text"] for part in text)
            name = {"service": "Service", "unsupported": "Unsupported"}.get(item["type"], text)
            found.append((chat_["type"] or ("personal_chat" if chat_ is value else "unknown"), name))
    return found


def random_text(source: random.Random) -> Any:
    pieces = [source.choice(NASTY) for _ in range(source.randint(0, 3))]
    if source.random() < 0.3:
        return [piece if source.random() < 0.5 else {"type": "bold", "text": piece} for piece in pieces]
    return "".join(pieces)


def random_chat(source: random.Random, number: int) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for _ in range(source.choice([0, 0, 1, 2, 5])):
        choice = source.random()
        if choice < 0.1:
            items.append(service())
        elif choice < 0.2:
            items.append({"id": 9, "type": "unsupported"})
        else:
            items.append(
                message(PEER, random_text(source), reactions=[{"type": "emoji", "recent": [{"from_id": OWNER}]}])
            )
    kind = source.choice(["personal_chat", "saved_messages", "private_group", None])
    return chat(*items, kind=kind, id=number, name=source.choice([*NASTY, None]))


@pytest.mark.parametrize("seed", range(40))
def test_blocks_of_any_size_read_what_json_load_reads(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    chats = [random_chat(source, number) for number in range(source.randint(1, 4))]
    value = account(*chats, left=(random_chat(source, 9),)) if source.random() < 0.7 else chats[0]
    for layout in LAYOUTS:
        path = write(tmp_path / "result.json", value, layout)
        for block in (1, 17, source.randint(20, 900), 1 << 20):
            export = Export(path, block)
            assert texts(export) == reference(value), (layout, block)
            assert (export.repaired, export.lost, export.truncated) == (0, 0, False)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=30)), max_size=6
    ),
    st.sampled_from(list(LAYOUTS)),
    st.integers(5, 400),
)
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, parts: list[str], layout: str, block: int) -> None:
    value = chat(*(message(PEER, part) for part in parts), name="".join(parts))
    path = write(tmp_path_factory.mktemp("export") / "result.json", value, layout)
    assert texts(Export(path, block)) == reference(value)


def test_positions_count_over_both_lists(tmp_path: Path) -> None:
    value = account(chat(*dialog()), chat(kind="replies"), left=(chat(*dialog(), kind="private_channel"),))
    seen = {(item.position, item.kind) for item, _, _ in Export(write(tmp_path / "r.json", value)).batches()}
    assert seen == {(0, "personal_chat"), (1, "replies"), (2, "private_channel")}


@pytest.mark.parametrize("block", [64, 1 << 20])
def test_unwanted_chats_are_passed_over(tmp_path: Path, block: int) -> None:
    groups = chat(*dialog(5), kind="private_group")
    value = account(groups, chat(message(PEER, "one")), groups, groups, chat(message(PEER, "two")), groups)
    export = Export(write(tmp_path / "r.json", value), block)
    batches = list(export.batches(lambda item: item.kind == "personal_chat"))
    assert [item.text for _, batch, _ in batches for item in batch] == ["one", "two"]  # type: ignore[union-attr]
    assert len({id(item) for item, _, _ in batches}) == 6
    assert not export.truncated


@pytest.mark.parametrize("chunk", [7, 100_000])
def test_sorted_keys_are_read_the_slow_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("finetune.formats.json_stream.JsonStream.__init__.__defaults__", (chunk,))
    value = account(chat(*dialog(3)), chat(message(PEER, NASTY[0])), left=(chat(*dialog(2), kind="private_group"),))
    path = tmp_path / "sorted.json"
    path.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
    export = Export(path)
    assert not export.plain_layout
    assert sorted(texts(export)) == sorted(reference(value))
    assert find_owner(export).id == OWNER


@pytest.mark.parametrize("chunk", [7, 100_000])
def test_sorted_keys_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("finetune.formats.json_stream.JsonStream.__init__.__defaults__", (chunk,))
    path = tmp_path / "sorted.json"
    whole = json.dumps(
        chat(*(message(PEER, str(number)) for number in range(5)), message(OWNER, "answer")), sort_keys=True
    )
    for broken, repaired, lost in [("\\x0B3", 1, 0), ('3" "', 0, 1), ("3\\q", 1, 0)]:
        path.write_text(whole.replace('"text": "3"', f'"text": "{broken}"'))
        export = Export(path)
        found = [text for _, text in texts(export)]
        assert found[:3] == ["0", "1", "2"] and found[-2:] == ["4", "answer"]
        assert (export.repaired, export.lost, export.truncated) == (repaired, lost, False)
        assert len(found) == 6 - lost
    path.write_text(whole.replace('}, {"date"', '} ?! {"date"', 2).replace('}, {"date"', '} {"date"', 1))
    export = Export(path)
    assert len(texts(export)) == 6 and export.lost == 2  # what stands between them
    for length in range(whole.index('"text": "2"'), len(whole) - 3, 97):
        path.write_text(whole[:length])
        export = Export(path)
        found = [text for _, text in texts(export)]
        assert found == ["0", "1", "2", "3", "4", "answer"][: len(found)] and len(found) >= 2
        assert export.truncated and export.lost <= 1
        if "answer" in found:
            assert find_owner(Export(path)).id == OWNER


def test_fields_of_a_message(tmp_path: Path) -> None:
    items = [
        message(PEER, "hi", forwarded_from=None),
        message(PEER, "hi", saved_from="x"),
        message(PEER, "", media_type="sticker", file="(File not included…)", sticker_emoji="🙂"),
        message(PEER, "", photo="(File not included…)"),
        message(PEER, "", poll={"question": "?", "answers": []}),
        message(PEER, "", location_information={"latitude": 1.5}),
        message(PEER, ""),
        message(None, "gone"),
    ]
    path = write(tmp_path / "r.json", chat(*items))
    read = [item for _, batch, _ in Export(path).batches() for item in batch if isinstance(item, Message)]
    assert [item.is_forward() for item in read] == [True, True, False, False, False, False, False, False]
    assert [item.media() for item in read[2:7]] == ["sticker", "photo", "poll", "location", "empty"]
    assert read[0].time == START and read[0].author == "Peer" and read[0].author_id == PEER
    assert read[7].author is None and read[7].author_id is None


def test_old_export(tmp_path: Path) -> None:
    items = dialog()
    for item in items:
        del item["date_unixtime"]
        item["from_id"] = int(item["from_id"].removeprefix("user"))
        item["edited"] = "1970-01-01T01:00:00"
    path = write(tmp_path / "r.json", chat(*items))
    first = next(item for _, batch, _ in Export(path).batches() for item in batch)
    assert isinstance(first, Message) and first.time == 0 and first.time_of_date() == START
    owner = find_owner(Export(path))
    assert owner.id == OWNER and 100 in owner.ids
    assert Message(date="yesterday").time_of_date() == 0


RAW = '{"name":"Peer","type":"personal_chat","id":200,"messages":[%s]}'


def raw_message(number: int, text: str, more: str = "") -> str:
    return f'{{"id":{number},"type":"message","date_unixtime":"{START}","from_id":"user200"{more},"text":{text}}}'


@pytest.mark.parametrize(
    ("broken", "read"),
    [
        (rb'"a\x0Bb"', "a\x0bb"),
        (rb'"a\\x0Bb"', "a\\x0Bb"),
        (rb'"path \q"', "path \\q"),
        (b'"a\\u2028\x80\xa8b"', "a\u2028b"),
        (b'"a\xff\xfeb"', "a\ufffd\ufffdb"),
        (b'"raw \x01 control"', "raw \x01 control"),
        (rb'"half \ud83d pair"', "half \ud83d pair"),
        (rb'"ok","file_size":NaN,"x":"\x1F"', "ok"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("block", [40, 1 << 20])
def test_invalid_json_is_repaired_without_its_neighbours(
    tmp_path: Path, broken: bytes, read: str, place: int, block: int
) -> None:
    items = [raw_message(number, '"fine"').encode() for number in range(3)]
    items[place] = raw_message(place, "@").encode().replace(b"@", broken)
    path = tmp_path / "r.json"
    path.write_bytes(RAW.encode().replace(b"%s", b",\n".join(items)))
    export = Export(path, block)
    expected = ["fine"] * 3
    expected[place] = read
    assert [text for _, text in texts(export)] == expected
    assert (export.repaired, export.lost) == (0 if rb"\\x" in broken else 1, 0)


@pytest.mark.parametrize(
    "more",
    [
        ',"x":' + "[" * 100_000 + "]" * 100_000,
        ',"date_unixtime":' + "9" * 5000,
        ',"from":17',
        ',"x":{"unclosed":1',
        ',"x":"unclosed',
    ],
    ids=range(5),
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_cannot_be_read_is_lost_alone(tmp_path: Path, more: str, place: int) -> None:
    items = [raw_message(number, f'"{number}"', more if number == place else "") for number in range(3)]
    path = tmp_path / "r.json"
    path.write_text(RAW.replace("%s", ",".join(items)))
    export = Export(path)
    assert [text for _, text in texts(export)] == [str(number) for number in range(3) if number != place]
    assert export.lost == 1


def test_an_endless_message_is_lost_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telegram, "MAX_MESSAGE_BYTES", 5000)
    items = [message(PEER, "one"), message(PEER, "x" * 50_000), message(PEER, "two"), message(PEER, "three")]
    path = write(tmp_path / "r.json", account(chat(*items), chat(message(PEER, "next"))))
    export = Export(path, 512)
    assert [text for _, text in texts(export)] == ["one", "two", "three", "next"]
    assert export.lost == 1


def test_truncated_file_keeps_what_decodes(tmp_path: Path) -> None:
    value = chat(*dialog(5))
    whole = write(tmp_path / "whole.json", value).read_bytes()
    complete = reference(value)
    path = tmp_path / "r.json"
    for length in range(len(whole) - 4, 150, -61):
        path.write_bytes(whole[:length])
        export = Export(path, 300)
        found = texts(export)
        assert found == complete[: len(found)]
        assert export.lost <= 1
        assert export.truncated
    assert len(found) < 3


def test_mend_leaves_valid_json_alone() -> None:
    valid = json.dumps(NASTY).encode()
    assert mend(valid) == valid


@pytest.mark.parametrize("export", [[], {}, {"messages": [{}]}, {"chats": {"list": [{"messages": [{"id": 1}]}]}}])
def test_odd_documents_do_not_crash(tmp_path: Path, export: Any) -> None:
    path = write(tmp_path / "r.json", export)
    if isinstance(export, dict) and export:
        assert texts(Export(path)) == []


UNUSUAL: list[dict[str, Any]] = [
    {"id": "x7"},
    {"id": 10**30},
    {"file": None},
    {"media_type": None},
    {"photo": {"width": 1}},
    {"text": ["x", {"type": "bold", "text": None}, None]},
    {"reply_to_message_id": "none"},
    {"date_unixtime": None},
    {"date_unixtime": "abc"},
    {"date_unixtime": 1.5},
    {"date_unixtime": "99999999999999999"},
    {"date_unixtime": "253402300800"},
    {"date_unixtime": "-5"},
    {"forwarded_from": {"id": 1}},
    {"extra": {"messages": [{"id": 1, "type": "message", "text": "inner"}]}},
    {"messages": [{"id": 1, "type": "message", "text": "inner"}]},
]


@pytest.mark.parametrize("unusual", UNUSUAL, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("layout", ["telegram", "minified"])
@pytest.mark.parametrize("block", [60, 1 << 20])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_fields_that_are_not_as_they_should_be_lose_no_message(
    tmp_path: Path, unusual: dict[str, Any], layout: str, block: int, is_sorted: bool
) -> None:
    items = dialog(3)
    items[2] |= {"text": "x", **unusual}
    path = write(tmp_path / "r.json", account(chat(*items), chat(*dialog())), layout)
    if is_sorted:
        path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    export = Export(path, block)
    read = [item for _, batch, _ in export.batches() for item in batch if isinstance(item, Message)]
    assert [item.joined_text() for item in read[:6]] == [
        "question 0",
        "answer 0",
        "x",
        "answer 1",
        "question 2",
        "answer 2",
    ]
    assert len(read) == 8 and (export.repaired, export.lost, export.truncated) == (0, 0, False)
    assert read[2].is_forward() is ("forwarded_from" in unusual)
    assert (read[2].time or read[2].time_of_date()) in (START, START + 120)


@pytest.mark.parametrize(
    ("odd", "lost"),
    [
        ({"id": 5, "type": "story", "date": "2024-01-01T00:00:00"}, 0),
        ({"id": "5", "type": "story"}, 0),
        ({"type": "message", "id": 5, "text": "x"}, 0),
        ({"type": "message", "text": "x"}, 0),
        ({"id": 5, "type": "message", "text": 5}, 1),
        ({"id": 5, "type": "message", "text": {"type": "bold", "text": "x"}}, 1),
        ({"id": 5}, 1),
        (None, 1),
        ("x", 1),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("place", [0, 2, 6])
@pytest.mark.parametrize("block", [60, 1 << 20])
def test_whatever_stands_between_two_messages_is_read_or_counted_alone(
    tmp_path: Path, odd: Any, lost: int, place: int, block: int
) -> None:
    items: list[Any] = dialog(3)
    items.insert(place, odd)
    export = Export(write(tmp_path / "r.json", account(chat(*items), chat(*dialog()))), block)
    read = [item for _, batch, _ in export.batches() for item in batch]
    assert len(read) + export.lost == 9 and not export.truncated
    assert sum(isinstance(item, Message) and item.joined_text() != "x" for item in read) == 8
    assert export.lost == lost


def test_a_missing_comma_loses_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", chat(*dialog(3)), "minified")
    path.write_text(path.read_text().replace('},{"id"', '}{"id"', 2).replace('},{"id"', '}] {"id"', 1))
    export = Export(path)
    assert len(texts(export)) == 6 and export.lost == 0


def test_a_chat_whose_head_is_gone_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", account(chat(*dialog(3)), chat(*dialog(2), kind="bot_chat"), chat(*dialog())))
    whole = path.read_bytes()
    at = whole.index(b'"bot_chat"')
    for block in (60, 1000, 1 << 20):
        path.write_bytes(whole[:at] + whole[at:].replace(b'"messages"', b'"m', 1))
        counted = [(item.kind, len(batch)) for item, batch, _ in Export(path, block).batches()]
        assert sum(number for kind, number in counted if kind == "personal_chat") == 6 + 2
        assert ("unknown", 0) in counted


@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize(
    ("writers", "id", "kind", "owner"),
    [
        ([PEER, OWNER], 200, "personal_chat", OWNER),
        ([PEER, OWNER], 999, "personal_chat", None),
        ([PEER, OWNER], 0, "personal_chat", None),
        ([PEER, OWNER, "user300"], 200, "private_group", None),
    ],
)
def test_a_single_chat_that_does_not_say_what_it_is(
    tmp_path: Path, writers: list[str], id: int, kind: str, owner: str | None, is_sorted: bool
) -> None:
    value = chat(*(message(writer, "hi", at) for at, writer in enumerate(writers * 3)), service(), kind=None, id=id)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(value, sort_keys=is_sorted))
    assert {item.kind for item, _, _ in Export(path).batches()} == {kind}
    if owner:
        assert find_owner(Export(path)).id == owner
    else:
        with pytest.raises(UserError, match="does not tell whose it is"):
            find_owner(Export(path))
    in_account = write(tmp_path / "account.json", account(value))
    assert {item.kind for item, _, _ in Export(in_account).batches()} == {"unknown"}


class TestOwner:
    def owner(self, tmp_path: Path, value: Any, wanted: str = "", layout: str = "telegram") -> Any:
        return find_owner(Export(write(tmp_path / "r.json", value, layout), 500), wanted)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_full_export_names_it(self, tmp_path: Path, layout: str) -> None:
        owner = self.owner(tmp_path, account(chat(*dialog())), layout=layout)
        assert (owner.id, owner.name, owner.found_by) == (OWNER, "Owner", "personal_information")

    def test_personal_chat_has_the_peers_id(self, tmp_path: Path) -> None:
        owner = self.owner(tmp_path, chat(*[message(PEER, "hi")] * 20, *dialog()))
        assert (owner.id, owner.name, owner.found_by) == (OWNER, "Owner", "personal_chat")

    def test_saved_messages_have_the_owners_id(self, tmp_path: Path) -> None:
        items = [message(PEER, "forwarded", forwarded_from="Peer"), message(OWNER, "note")]
        assert self.owner(tmp_path, chat(*items, kind="saved_messages", id=100)).found_by == "saved_messages"

    def test_account_without_personal_information(self, tmp_path: Path) -> None:
        value = account(chat(*dialog(), kind="private_group"), chat(*dialog()), user_id=None)
        assert self.owner(tmp_path, value).found_by == "personal_chat"

    @pytest.mark.parametrize("wanted", ["Peer", "  Peer ", "peer", "PEER", "user200", "200"])
    def test_a_given_name_overrides(self, tmp_path: Path, wanted: str) -> None:
        owner = self.owner(tmp_path, account(chat(*dialog())), wanted)
        assert (owner.id, owner.name) == (PEER, "Peer")
        assert owner.found_by == ("id" if wanted.endswith("200") else "name")

    def test_exact_name_goes_before_other_case(self, tmp_path: Path) -> None:
        items = [message("user1", "a", **{"from": "PEER"}), message("user2", "a", **{"from": "Peer"})]
        assert self.owner(tmp_path, chat(*items, kind="private_group"), "Peer").id == "user2"

    def test_name_of_two_accounts(self, tmp_path: Path) -> None:
        items = [message("user1", "a", **{"from": "Same"}), message("user2", "a", **{"from": "Same"})]
        with pytest.raises(UserError, match=r"more than one account: user1 \(1 messages\), user2"):
            self.owner(tmp_path, chat(*items, kind="private_group"), "Same")

    @pytest.mark.parametrize("wanted", ["", "Nobody", "user999"])
    def test_the_names_there_are_listed(self, tmp_path: Path, wanted: str) -> None:
        items = [message(f"user{n}", "a", **{"from": f"N{n}"}) for n in range(13) for _ in range(20 - n)]
        with pytest.raises(UserError) as caught:
            self.owner(tmp_path, chat(*items, kind="private_group"), wanted)
        assert "N0, N1, N2, N3, N4, N5, N6, N7, N8, N9 and 3 more" in caught.value.cause
        assert "N10" not in caught.value.cause

    def test_service_and_unsupported_do_not_count(self, tmp_path: Path) -> None:
        path = write(tmp_path / "r.json", chat(service(), {"id": 1, "type": "unsupported"}, *dialog()))
        kinds = [type(item) for _, batch, _ in Export(path).batches() for item in batch]
        assert kinds[:2] == [Service, Unsupported]
        assert find_owner(Export(path)).id == OWNER

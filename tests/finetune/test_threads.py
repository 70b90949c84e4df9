"""Replies hold a conversation together: over pauses, between other conversations, and in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
from telegram_exports import OWNER, PEER, START
from test_dialogs import Dialogs, build, message

from finetune import threads
from finetune.formats.discord import to_message
from finetune.formats.telegram_message import AnyMessage, Message

DAY = 86_400


def said(author: str | None, text: str, at: int, id: int, reply: int = 0, **more: Any) -> AnyMessage:
    replied = {"reply_to_message_id": reply} if reply else {}
    return message(author, text, at, id=id, **replied, **more)


def threaded(*messages: AnyMessage, kind: str = "personal_chat", **config: Any) -> list[list[str]]:
    """The texts of the dialogs, in the order of their conversations' beginnings."""
    return texts(build((kind, list(messages)), thread_replies=True, include_groups=True, **config)[0])


def texts(found: Dialogs) -> list[list[str]]:
    return [[text for _, text in turns] for _, turns in sorted(found, key=lambda item: item[0])]


LATE = [
    said(PEER, "January?", 0, 1),
    said(PEER, "February?", 31 * DAY, 2),
    said(OWNER, "yes, February", 31 * DAY + 60, 3),
    said(OWNER, "no, not January", 60 * DAY, 4, reply=1),
    said(PEER, "a pity", 60 * DAY + 60, 5),
    said(OWNER, "indeed", 60 * DAY + 90, 6),
]


def test_a_late_reply_answers_its_question() -> None:
    found, builder = build(("personal_chat", LATE), thread_replies=True)
    assert texts(found) == [["January?", "no, not January", "a pity", "indeed"], ["February?", "yes, February"]]
    assert {key for key, _ in found} == {f"200/{START}", f"200/{START + 31 * DAY}"}
    assert builder.dropped == {} and builder.messages_used == 6
    plain, builder = build(("personal_chat", LATE))  # off by default: the reply's question is long gone
    assert texts(plain) == [["February?", "yes, February"], ["a pity", "indeed"]]
    assert builder.dropped == {"unanswered": 1, "before_question": 1}


def test_the_owner_answers_people_of_a_group_one_by_one() -> None:
    group = [
        said("user1", "how much?", 0, 1),
        said("user2", "how far?", 10, 2),
        said("user1", "and when?", 20, 3),
        said(OWNER, "five", 30, 4, reply=1),
        said(OWNER, "a mile", 40, 5, reply=2),
        said("user2", "thanks", 50, 6, reply=5),
        said("user1", "too much", 60, 7, reply=4),
        said(OWNER, "as you like", 70, 8),
    ]
    found = threaded(*group, kind="private_group")
    assert sorted(found) == [
        ["Name of user1: how much?\nName of user1: and when?", "five", "Name of user1: too much", "as you like"],
        ["Name of user2: how far?", "a mile"],
    ]


def test_what_is_taken_out_of_a_question_can_be_replied_to() -> None:
    group = [
        said("user1", "one", 0, 1),
        said("user2", "two", 10, 2),
        said(OWNER, "to one", 20, 3, reply=1),
        said(OWNER, "to two", 30, 4, reply=2),
        said("user3", "one, too", 40, 5, reply=1),
        said(OWNER, "good", 50, 6, reply=5),
    ]
    one, two = sorted(threaded(*group, kind="private_group"))
    assert one == ["Name of user1: one", "to one", "Name of user3: one, too", "good"]
    assert two == ["Name of user2: two", "to two"]


def test_a_reply_to_another_chat_or_to_nothing_known_is_as_any_message() -> None:
    for more in ({"reply": 77}, {"reply": 1, "reply_to_peer_id": "channel5"}):
        messages = [said(PEER, "q", 0, 1), said(OWNER, "a", DAY, 2, **more)]
        assert threaded(*messages, said(PEER, "r", DAY, 3), said(OWNER, "b", DAY, 4)) == [["r", "b"]]


def test_replies_do_not_cross_chats() -> None:
    chats = [("personal_chat", [said(PEER, "q", 0, 1)]), ("personal_chat", [said(OWNER, "a", 5, 2, reply=1)])]
    found, builder = build(*chats, thread_replies=True)
    assert found == [] and builder.dropped == {"unanswered": 1, "before_question": 1}


def test_memory_is_bounded_and_a_written_conversation_goes_on_under_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_OPEN", 3)
    talk = [
        said(author, f"{author} {day}", day * DAY, 2 * day + 2 + (author == OWNER))
        for day in range(10)
        for author in (PEER, OWNER)
    ]
    late = [said(PEER, "and?", 20 * DAY, 90, reply=2), said(OWNER, "and so on", 20 * DAY, 91)]
    found, builder = build(("personal_chat", [*talk, *late]), thread_replies=True)
    assert len(found) == 11 and builder.dropped == {}
    assert sorted(key for key, _ in found)[:2] == [f"200/{START}"] * 2  # the late one has the name of the first
    monkeypatch.setattr(threads, "MAX_REMEMBERED", 4)
    found, _ = build(("personal_chat", [*talk, *late]), thread_replies=True)
    assert sorted(key for key, _ in found)[-1] == f"200/{START + 20 * DAY}"  # forgotten: begins by itself
    monkeypatch.setattr(threads, "MAX_WAITING", 1)
    assert len(build(("personal_chat", [*talk, *late]), thread_replies=True)[0]) == 11


def test_discord_tells_replies_too() -> None:
    read = to_message(
        {"id": "12", "type": "Reply", "author": {"id": "1"}, "content": "x", "reference": {"messageId": "7"}}
    )
    assert isinstance(read, Message) and (read.id, read.reply_to) == (12, 7)
    odd = to_message({"id": None, "author": {"id": "1"}, "content": "x", "reference": {"messageId": "²"}})
    assert isinstance(odd, Message) and (odd.id, odd.reply_to) == (0, 0)

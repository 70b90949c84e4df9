"""What becomes of messages: sessions, turns, dialogs, and the count of what was left out."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from telegram_exports import OWNER, PEER, START
from telegram_exports import message as export_message

from engines.config.prepare import PrepareConfig
from finetune import dialogs
from finetune.dialogs import DialogBuilder
from finetune.formats.dialog import Dialog
from finetune.formats.telegram_message import Chat, FullMessage, Service, Unsupported
from finetune.plain_text import first_sentences, harmless

KEY = f"200/{START}"  # of the conversation that begins there in the first chat
Dialogs = list[tuple[str, list[tuple[str, str]]]]


def message(author: str | None, text: Any, at: int = 0, **more: Any) -> FullMessage:
    return msgspec.convert(export_message(author, text, at, **more), FullMessage, strict=False)


def build(*chats: tuple[str, list[FullMessage]], owner: str = OWNER, **config: Any) -> tuple[Dialogs, DialogBuilder]:
    """Dialogs as (conversation, [(role, text)])."""
    rows: list[Dialog] = []
    builder = DialogBuilder(PrepareConfig(**config), {owner}, rows.extend)
    for position, (kind, messages) in enumerate(chats):
        chat = Chat("Chat", kind, 200 + position, position)
        builder.add(chat, [])
        if builder.uses(chat):
            for item in messages:
                builder.add(chat, [item])
    builder.end_session()
    assert builder.messages_read == builder.messages_used + builder.dropped.total()
    assert builder.dialogs == len(rows)
    return [(row.conversation, [(turn.role, turn.content) for turn in row.turns]) for row in rows], builder


def personal(*messages: FullMessage, **config: Any) -> tuple[Dialogs, DialogBuilder]:
    return build(("personal_chat", list(messages)), **config)


def turns(count: int) -> list[FullMessage]:
    return [message(OWNER if number % 2 else PEER, str(number), at=number) for number in range(count)]


def test_messages_of_one_author_join() -> None:
    found, builder = personal(
        message(PEER, "hi"), message(PEER, "there"), message(OWNER, "hello"), message(OWNER, ["you ", {"text": "too"}])
    )
    assert found == [(KEY, [("user", "hi\nthere"), ("assistant", "hello\nyou too")])]
    assert builder.characters == {"user": 8, "assistant": 13}
    assert (builder.turns, builder.conversations, builder.messages_used) == (2, 1, 4)


@pytest.mark.parametrize(("pause", "sessions"), [(179 * 60, 1), (180 * 60, 2), (26 * 3600, 2), (20 * 86400 + 5, 2)])
def test_a_pause_ends_the_session(pause: int, sessions: int) -> None:
    found, builder = personal(*turns(2), message(PEER, "again", at=1 + pause), message(OWNER, "yes", at=2 + pause))
    assert [key for key, _ in found] == [KEY, f"200/{START + 1 + pause}"][:sessions]
    assert builder.conversations == sessions


def test_a_late_answer_does_not_answer_an_old_question() -> None:
    found, builder = personal(message(PEER, "January?"), message(OWNER, "March.", at=60 * 86400))
    assert found == []
    assert builder.dropped == {"unanswered": 1, "before_question": 1}


def test_dialogs_start_with_a_question_and_end_with_an_answer() -> None:
    found, builder = personal(
        message(OWNER, "a"), message(OWNER, "b"), *turns(2), message(PEER, "c"), message(PEER, "d")
    )
    assert found == [(KEY, [("user", "0"), ("assistant", "1")])]
    assert builder.dropped == {"before_question": 2, "unanswered": 2}


def test_forwards_are_not_the_owners_words() -> None:
    found, builder = personal(
        message(PEER, "look", forwarded_from="Somebody"),
        message(OWNER, "not mine", forwarded_from=None),
        message(OWNER, "mine"),
    )
    assert found == [(KEY, [("user", "look"), ("assistant", "mine")])]
    assert builder.dropped == {"forwarded_by_owner": 1}


def test_media_without_text_is_counted_by_reason() -> None:
    found, builder = personal(
        message(PEER, "", media_type="voice_message", file="(File not included…)"),
        message(PEER, " \n ", photo="p.jpg"),
        message(PEER, "caption", photo="p.jpg"),
        Service(),
        Unsupported(),
        message(OWNER, "ok"),
        message(OWNER, "", media_type="sticker", sticker_emoji="🙂"),
    )
    assert found == [(KEY, [("user", "caption"), ("assistant", "ok")])]
    assert builder.dropped == {"voice_message": 1, "photo": 1, "service": 1, "unsupported": 1, "sticker": 1}


def test_media_of_others_stand_as_markers_if_wanted() -> None:
    def some(author: str) -> list[FullMessage]:
        kinds = ["voice_message", "sticker", "video_file", "of a new kind"]
        media = [message(author, "", media_type=kind, file="(File not included…)") for kind in kinds]
        photo, poll = message(author, "", photo="p.jpg"), message(author, "", poll={"question": "?"})
        return [photo, poll, *media, message(author, "caption", photo="p.jpg"), message(author, "")]

    talk = [*some(PEER), Service(), *some(OWNER)]
    found, builder = personal(*talk, media_markers=True)
    shown = "[photo]\n[poll]\n[voice message]\n[sticker]\n[video]\ncaption"
    assert found == [(KEY, [("user", shown), ("assistant", "caption")])]
    assert builder.dropped == {
        "photo": 1, "poll": 1, "voice_message": 1, "sticker": 1, "video_file": 1, "of a new kind": 2, "empty": 2,
        "service": 1,
    }  # fmt: skip
    assert personal(*talk)[0] == [(KEY, [("user", "caption"), ("assistant", "caption")])]
    (_, turns_), *_ = build(("private_group", talk), include_groups=True, media_markers=True)[0]
    assert turns_[0][1].startswith("Peer: [photo]\nPeer: [poll]")
    found, _ = personal(message(PEER, "", photo="p", forwarded_from="X"), *turns(2), media_markers=True)
    assert found[0][1][0] == ("user", "[photo]\n0")


@pytest.mark.parametrize(
    "kind",
    ["saved_messages", "bot_chat", "private_channel", "public_channel", "verification_codes", "replies", "unknown"],
)
@pytest.mark.parametrize("groups", [False, True])
def test_other_chats_are_left_out(kind: str, groups: bool) -> None:
    found, builder = build((kind, turns(2)), ("personal_chat", turns(2)), include_groups=groups)
    assert [key for key, _ in found] == [f"201/{START}"]
    assert (builder.chats_used, builder.chats_skipped) == (1, {kind: 1})


@pytest.mark.parametrize("kind", ["private_group", "private_supergroup", "public_supergroup"])
def test_groups_name_their_speakers(kind: str) -> None:
    messages = [
        message("user1", "hi", **{"from": "One\n"}),
        message("user1", "again", **{"from": "One"}),
        message("user2", "hey", **{"from": None}),
        message(OWNER, "hello both"),
    ]
    assert build((kind, messages))[1].chats_skipped == {kind: 1}
    found, _ = build((kind, messages), include_groups=True)
    user = "One: hi\nOne: again\nDeleted account: hey"
    assert found == [(KEY, [("user", user), ("assistant", "hello both")])]


def test_sessions_do_not_cross_chats() -> None:
    found, builder = build(("personal_chat", [message(PEER, "q")]), ("personal_chat", [message(OWNER, "a", at=1)]))
    assert found == []
    assert builder.dropped == {"unanswered": 1, "before_question": 1}


@pytest.mark.parametrize(("longest", "lengths"), [(4, [4, 4, 2]), (5, [4, 4, 2]), (2, [2] * 5), (20, [10])])
def test_long_dialogs_are_cut_at_turns(longest: int, lengths: list[int]) -> None:
    found, builder = personal(*turns(11), max_dialog_length=longest)
    assert [len(rows) for _, rows in found] == lengths
    assert {key for key, _ in found} == {KEY}
    for _, rows in found:
        assert [role for role, _ in rows] == ["user", "assistant"] * (len(rows) // 2)
    assert [text for _, rows in found for _, text in rows] == [str(number) for number in range(10)]
    assert builder.dropped == {"unanswered": 1}
    assert builder.conversations == 1


def test_messages_that_are_not_joined_stay_turns_of_their_own() -> None:
    talk = [
        *[message(PEER, f"q{number}") for number in range(3)],
        *[message(OWNER, f"a{number}") for number in range(2)],
        message(PEER, "more"),
        message(OWNER, "yes"),
    ]
    found, builder = personal(*talk, join_messages=False)
    roles = ["user"] * 3 + ["assistant"] * 2 + ["user", "assistant"]
    texts = ["q0", "q1", "q2", "a0", "a1", "more", "yes"]
    assert found == [(KEY, list(zip(roles, texts, strict=True)))]
    assert (builder.turns, builder.messages_used) == (7, 7)

    found, builder = personal(*talk, join_messages=False, max_dialog_length=6)  # is cut at a question
    assert [[text for _, text in rows] for _, rows in found] == [texts[:5], texts[5:]]
    found, builder = personal(*talk, join_messages=False, max_dialog_length=4)  # of each side two
    assert [[text for _, text in rows] for _, rows in found] == [texts[1:5], texts[5:]]
    assert builder.dropped == {"endless_turn": 1}


def test_short_dialogs_are_left_out() -> None:
    found, builder = personal(*turns(10), min_dialog_messages=3, max_dialog_length=4)
    assert [len(rows) for _, rows in found] == [4, 4]
    assert builder.dropped == {"short_dialog": 2}


def test_a_long_message_ends_at_a_sentence() -> None:
    found, builder = personal(message(PEER, "q"), message(OWNER, "First one. Second one! Third"), max_message_length=24)
    assert found[0][1][1] == ("assistant", "First one. Second one!")
    assert builder.shortened == 1
    found, builder = personal(message(PEER, "q" * 30), *turns(2), max_message_length=24)
    assert found[0][1][0] == ("user", "0")
    assert builder.dropped == {"too_long": 1}
    assert builder.shortened == 0


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("One. Two. Three.", 9, "One. Two."),
        ("One. Two. Three.", 8, "One."),
        ("One. Two. Three.", 3, ""),
        ("Version 3.11 is out", 12, ""),
        ("Он сказал: «Да!» И ушёл", 18, "Он сказал: «Да!»"),
        ("wait... what", 7, "wait..."),
        ("wait... what", 6, ""),
        ("a line\nanother line", 10, "a line"),
        ("是。好", 2, ""),
        ("Да. " * 1000, 2000, ("Да. " * 500).strip()),
    ],
)
def test_first_sentences(text: str, limit: int, kept: str) -> None:
    assert first_sentences(text, limit) == kept
    assert len(kept) <= limit


def test_harmless() -> None:
    assert harmless("a\x00b\x1b[31m\x7f\x9b\tc\r\nd\x0be\ud83d 🙂") == "ab[31m\tc\nd\ne\ufffd 🙂"
    found, _ = personal(message(PEER, "\x1b]52;c;x\x07"), message(OWNER, "\x02"), message(OWNER, "ok\u200d\udc00"))
    assert found == [(KEY, [("user", "]52;c;x"), ("assistant", "ok\u200d\ufffd")])]


def test_an_endless_turn_keeps_what_touches_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogs, "MAX_TURN_MESSAGES", 10)
    questions = [message(PEER, f"q{number}") for number in range(57)]
    answers = [message(OWNER, f"a{number}") for number in range(57)]
    found, builder = personal(*questions, *answers)
    (_, ((_, question), (_, answer))) = found[0]
    assert question.endswith("q55\nq56") and 5 <= question.count("\n") + 1 <= 10
    assert answer == "\n".join(f"a{number}" for number in range(10))
    assert builder.dropped["endless_turn"] == 57 * 2 - builder.messages_used


def test_order_and_time_oddities_do_not_break() -> None:
    found, _ = personal(
        message(PEER, "q", at=100), message(OWNER, "a", at=50), message(PEER, "r", date_unixtime="0", date="nonsense")
    )
    assert found == [(f"200/{START + 100}", [("user", "q"), ("assistant", "a")])]


@pytest.mark.parametrize("seed", range(40))
def test_rules_hold_for_any_chat(seed: int) -> None:
    source = random.Random(seed)
    config = {"max_dialog_length": source.randint(2, 9), "max_message_length": 12, "include_groups": True}
    config |= {"thread_replies": source.random() < 0.5, "join_messages": source.random() < 0.5}
    chats = []
    for _ in range(4):
        time, messages = 0, []
        for _ in range(source.randint(0, 60)):
            time += source.choice([1, 60, 11_000])
            author = source.choice([OWNER, PEER, "user3", None])
            text = source.choice(["", "ok", "One. Two three four", "x" * 20, "\x1b"])
            more = {"forwarded_from": None} if source.random() < 0.2 else {}
            if messages and source.random() < 0.3:
                more["reply_to_message_id"] = getattr(source.choice(messages), "id", 7)
            messages.append(message(author, text, time, **more) if source.random() < 0.9 else Service())
        chats.append((source.choice(["personal_chat", "private_group"]), messages))
    found, _ = build(*chats, **config)
    for _, rows in found:
        assert 2 <= len(rows) <= config["max_dialog_length"]
        roles = [role for role, _ in rows]
        assert (roles[0], roles[-1]) == ("user", "assistant")
        if config["join_messages"]:
            assert roles == ["user", "assistant"] * (len(rows) // 2)
        assert all(text.strip() for _, text in rows)

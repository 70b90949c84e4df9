"""Ready-made dialogs: mended, counted, and told by their place; talks with an assistant: cut."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engines.config.prepare import PrepareConfig
from finetune.dialog_counts import DialogCounts
from finetune.formats.dialog import Dialog, Talk, Turn
from finetune.formats.records import RecordBatch
from finetune.ready_dialogs import ReadyDialogs


def turns(*said: tuple[str, str]) -> list[Turn]:
    return [Turn(*turn) for turn in said]


def added(*dialogs: Dialog, **config: Any) -> tuple[list[Dialog], DialogCounts, ReadyDialogs]:
    rows: list[Dialog] = []
    counts = DialogCounts()
    ready = ReadyDialogs(PrepareConfig(**config), counts, rows.extend)
    ready.add(RecordBatch(dialogs, range(1, len(dialogs) + 1), has_talks=any(isinstance(row, Talk) for row in dialogs)))
    assert counts.messages_read == counts.messages_used + counts.dropped.total()
    return rows, counts, ready


ANSWERED = [
    ("system", "be"),
    ("system", "brief"),
    ("assistant", "early"),
    ("user", "q"),
    ("user", "q2"),
    ("assistant", "a"),
]
REST = [("user", "r"), ("assistant", ""), ("assistant", "b"), ("user", "last")]


def test_ready_made_dialogs_are_mended_and_counted() -> None:
    half = Dialog([Turn("user", "q"), Turn("assistant", "no", 0), Turn("assistant", "yes")], "k")
    rows, counts, _ = added(
        Dialog(turns(*ANSWERED, *REST), "key"), Dialog(turns(("system", "only")), "other"), half, max_dialog_length=2
    )
    assert [row.conversation for row in rows] == ["key", "k"]
    assert [turn.content for turn in rows[0].turns] == ["be\nbrief", "q\nq2", "a", "r", "b"]
    assert [(turn.content, turn.weight) for turn in rows[1].turns] == [("q", 1), ("no", 0), ("yes", 1)]
    assert counts.dropped == {"before_question": 1, "empty": 1, "unanswered": 1, "unused_system": 1}
    assert counts.joined == 2

    rows, counts, _ = added(Dialog(turns(*ANSWERED), "apart"), join_messages=False)
    assert [turn.content for turn in rows[0].turns] == ["be\nbrief", "q", "q2", "a"]
    assert counts.joined == 1


def test_what_is_wrong_with_a_dialog_is_told_with_its_place() -> None:
    sound = Dialog(turns(("user", "q"), ("assistant", "a")))
    tool = Dialog(turns(("user", "q"), ("tool", ""), ("assistant", "a")))
    wrong = [Dialog(turns(*ANSWERED, *REST)), sound, tool, Dialog(turns(("user", "q"), ("assistant", " ")))]
    _, _, ready = added(*wrong)
    assert ready.flaws == [
        (
            1,
            "roles do not alternate: turns joined to the one before 2; turns without text 1; "
            "answers before the first question 1; questions at the end without an answer 1",
        ),
        (
            4,
            "turns without text 1; questions at the end without an answer 1; "
            "too few turns are left, so the row was left out",
        ),
    ]
    many = [Dialog(turns(("user", "q"), ("user", "r"), ("assistant", "a"))) for _ in range(50)]
    _, _, ready = added(*many)
    assert (len(ready.flaws), ready.flawed) == (20, 50)


def talk(exchanges: int, *before: tuple[str, str], **about: Any) -> Talk:
    said = [(role, f"{role[0]}{number}") for number in range(exchanges) for role in ("user", "assistant")]
    return Talk(turns(*before, *said), "c", **about)


def contents(rows: list[Dialog]) -> list[str]:
    return [" ".join(turn.content for turn in row.turns) for row in rows]


def test_talks_are_cut_and_opened_as_chats_are() -> None:
    rows, counts, ready = added(talk(5), max_dialog_length=4)
    assert contents(rows) == ["u0 a0 u1 a1", "u2 a2 u3 a3", "u4 a4"]
    assert {row.conversation for row in rows} == {"c"} and type(rows[0]) is Dialog
    assert (counts.dialogs, counts.conversations, counts.turns, ready.flaws) == (3, 1, 10, [])
    rows, counts, _ = added(talk(5), max_dialog_length=4, min_dialog_messages=4)
    assert len(rows) == 2 and counts.dropped == {"short_dialog": 2}

    prompt = {"system_prompt": "{contact} on {date}"}
    rows, counts, _ = added(talk(2, name="Tea\nand cake", began=86400), max_dialog_length=2, **prompt)
    assert contents(rows) == ["Tea and cake on 1970-01-02 u0 a0", "Tea and cake on 1970-01-02 u1 a1"]
    assert counts.months() == {"1970-01": 2} and counts.characters == {"user": 4, "assistant": 4}
    rows, counts, _ = added(talk(2, ("system", "its own")), max_dialog_length=2, **prompt)
    assert contents(rows) == ["its own u0 a0", "its own u1 a1"]
    assert counts.messages_used == 5


def test_a_question_is_not_parted_from_its_answers() -> None:
    said = turns(*[("user", f"q{n}") for n in range(3)], *[("assistant", f"a{n}") for n in range(3)], ("user", "z"))
    rows, counts, _ = added(Talk([*said, Turn("assistant", "y")]), join_messages=False, max_dialog_length=2)
    assert contents(rows) == ["q0 q1 q2 a0 a1 a2", "z y"] and counts.joined == 0


roles = st.sampled_from(["system", "user", "assistant", "tool"])
some_turns = st.lists(st.builds(Turn, roles, st.sampled_from(["", " ", "a", "b\x07"])), max_size=12)


@given(
    st.lists(st.builds(Dialog, some_turns) | st.builds(Talk, some_turns), min_size=1, max_size=5),
    st.booleans(),
    st.integers(1, 4),
)
def test_every_message_is_used_or_dropped(dialogs: list[Dialog], joins: bool, pairs: int) -> None:
    rows, counts, _ = added(*dialogs, join_messages=joins, max_dialog_length=2 * pairs)
    assert counts.dialogs == len(rows) - counts.texts
    for row in rows:
        said = [turn.role for turn in row.turns if turn.role != "system"]
        assert said[0] == "user" and said[-1] == "assistant"

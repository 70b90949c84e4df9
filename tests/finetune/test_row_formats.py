"""Every shape of records: recognised by content, read into the same turns, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.formats import ROW_FORMATS, detect, recognise
from finetune.formats.column_map import column_format, template_format
from finetune.formats.dialog import BadRow, Dialog, Talk
from finetune.formats.layout import Layout
from finetune.formats.records import Rows

TURNS = [("user", "q"), ("assistant", "a")]
ASKED = {"role": "user", "content": "q"}
ANSWERED = {"role": "assistant", "content": "a"}


def said(dialog: Dialog) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in dialog.turns]


def tree() -> dict[str, Any]:
    """A question with two answers, of which the second is the one that was kept."""

    def node(parent: str | None, children: list[str], message: Any) -> dict[str, Any]:
        return {"parent": parent, "children": children, "message": message}

    def said(role: str, *parts: Any, **more: Any) -> dict[str, Any]:
        content = {"content_type": more.pop("kind", "text"), "parts": list(parts)}
        return {"author": {"role": role}, "content": content, "metadata": more.pop("metadata", {}), **more}

    return {
        "title": "t",
        "conversation_id": "tree",
        "current_node": "kept",
        "mapping": {
            "root": node(None, ["hidden"], None),
            "hidden": node("root", ["q"], said("system", "", metadata={"is_visually_hidden_from_conversation": True})),
            "q": node("hidden", ["first", "thought"], said("user", "q")),
            "first": node("q", [], said("assistant", "not this one")),
            "thought": node("q", ["kept"], said("assistant", "hm", kind="thoughts")),
            "kept": node("thought", [], said("assistant", {"content_type": "image"}, "a")),
        },
    }


EXAMPLES: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    ("messages", {"messages": [ASKED, ANSWERED]}, TURNS),
    ("messages", {"messages": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}]}, TURNS),
    ("messages", {"messages": [{"role": "developer", "content": "s"}, ASKED, ANSWERED]}, [("system", "s"), *TURNS]),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ANSWERED]}, TURNS),
    ("sharegpt", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, TURNS),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
        [("system", "s"), *TURNS],
    ),
    ("alpaca", {"instruction": "q", "output": "a"}, TURNS),
    ("alpaca", {"instruction": "q", "input": "more", "output": "a"}, [("user", "q\nmore"), ("assistant", "a")]),
    ("alpaca", {"instruction": "q", "input": "", "output": "a", "history": [["x", "y"]], "system": "s"},
     [("system", "s"), ("user", "x"), ("assistant", "y"), *TURNS]),
    ("alpaca", {"instruction": "q", "output_text": "a"}, TURNS),
    ("alpaca", {"question": "q", "answer": "a"}, TURNS),
    ("alpaca", {"вопрос": "q", "ответ": "a"}, TURNS),
    ("input_output_text", {"input_text": "q", "output_text": "a"}, TURNS),
    ("prompt_completion", {"prompt": "q", "completion": "a"}, TURNS),
    ("prompt_completion", {"prompt": [ASKED], "completion": [ANSWERED]}, TURNS),
    ("prompt_completion", {"prompt": "q", "response": "a"}, TURNS),
    (
        "vertex",
        {"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}],
         "systemInstruction": {"parts": [{"text": "s"}]}},
        [("system", "s"), *TURNS],
    ),
    ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, TURNS),
    ("preference", {"chosen": [ASKED, ANSWERED], "rejected": [ASKED]}, TURNS),
    ("preference", {"prompt": [ASKED], "chosen": [ASKED, ANSWERED], "rejected": []}, TURNS),
    ("preference", {"prompt": "q", "completion": "a", "label": True}, TURNS),
    ("preference", {"prompt": "q", "completion": "a", "label": False}, []),
    ("preference", {"input": {"messages": [ASKED]}, "preferred_output": [ANSWERED], "non_preferred_output": []}, TURNS),
    ("text_label", {"text": "q", "label": "a"}, TURNS),
    ("text_label", {"text": "q", "label": 1}, [("user", "q"), ("assistant", "1")]),
    ("claude", {"uuid": "u", "chat_messages": [
        {"sender": "human", "text": "q"},
        {"sender": "assistant", "text": "old", "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "tool_use", "name": "x"}, {"type": "text", "text": "a"}]},
    ]}, TURNS),
    ("chatgpt", tree(), TURNS),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "turns"), EXAMPLES, ids=range(len(EXAMPLES)))
@pytest.mark.parametrize("layout", ["lines", "array", "pretty array", "member", "pretty objects"])
def test_formats_in_every_layout(
    tmp_path: Path, layout: str, name: str, row: dict[str, Any], turns: list[tuple[str, str]]
) -> None:
    path = tmp_path / "data.bin"
    texts = {
        "lines": "\n".join(json.dumps(row, ensure_ascii=False) for _ in range(3)),
        "array": json.dumps([row] * 3),
        "pretty array": json.dumps([row] * 3, indent=4),
        "member": json.dumps({"about": {"n": 1}, "data": [row] * 3}, indent=1),
        "pretty objects": "\n".join(json.dumps(row, indent=2) for _ in range(3)),
    }
    path.write_text(texts[layout], encoding="utf-8")
    found = detect(path)
    assert found.name == name
    rows = Rows(path, ROW_FORMATS, found.layout)
    assert [said(dialog) for dialog in rows.dialogs()] == [turns] * 3
    assert (rows.good, rows.bad, rows.shapes) == (3, 0, {name: 3})


def test_nothing_of_a_prompt_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_text(json.dumps({"prompt": [ASKED, ANSWERED, ASKED], "completion": [ANSWERED]}))
    (dialog,) = Rows(path, ROW_FORMATS).dialogs()
    assert said(dialog) == TURNS * 2 and [turn.weight for turn in dialog.turns] == [1, 0, 1, 1]


def test_text_is_text(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text('{"text": "Once upon a time."}\n' * 2)
    assert detect(path).name == "text"
    assert [(said(item), item.text) for item in Rows(path, ROW_FORMATS).dialogs()] == [([], "Once upon a time.")] * 2


def test_the_older_claude_export_is_one_conversation(tmp_path: Path) -> None:
    fence = "```\nThis block is not supported on your current device yet.\n```\n"
    rows = [{"sender": "User", "userInput": "q"}, {"sender": "Claude", "claudeOutputText": fence + "a"}]
    path = tmp_path / "c.json"
    path.write_text(json.dumps(rows * 2))
    assert detect(path).name == "claude"
    assert [said(item) for item in Rows(path, ROW_FORMATS).dialogs()] == [TURNS * 2]


def test_talks_have_a_title_and_a_beginning() -> None:
    turn = {"sender": "human", "text": "q"}
    claude = {"chat_messages": [turn], "name": "Tea", "created_at": "2024-01-01T10:00:00.5+00:00"}
    chatgpt = {**tree(), "title": "Tea", "create_time": 1704103200.5}
    for row, more in ((claude, {"created_at": "soon"}), (chatgpt, {"create_time": 1e300})):
        form = recognise(row)
        assert form is not None
        talk, other = form.read(row), form.read(row | more)
        assert isinstance(talk, Talk) and (talk.name, talk.began) == ("Tea", 1704103200)
        assert isinstance(other, Talk) and other.began == 0


def test_a_record_larger_than_the_head_is_recognised(tmp_path: Path) -> None:
    large = tree()
    large["mapping"]["q"]["message"]["content"]["parts"] = ["q" * 400_000]
    path = tmp_path / "c.json"
    path.write_text(json.dumps([large, tree()]))
    found = detect(path)
    assert found.name == "chatgpt"
    assert len(list(Rows(path, ROW_FORMATS, found.layout).dialogs())) == 2


def test_tools_and_weights() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    row = {"messages": [ASKED, call, {"role": "tool", "content": "42"}, {**ANSWERED, "weight": 0}, ASKED, ANSWERED]}
    form = recognise(row)
    assert form is not None
    dialog = form.read(row)
    assert said(dialog) == [("user", "q"), ("tool", ""), ("tool", "42"), ("assistant", "a"), *TURNS]
    assert [turn.weight for turn in dialog.turns] == [1, 1, 1, 0, 1, 1]


def test_mixed_files_and_trailing_commas(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"prompt": "q", "completion": "a"},\n{"instruction": "q", "output": "a"}\n{"x": 1}\n')
    rows = Rows(path, ROW_FORMATS, Layout("lines"))
    assert [said(item) for item in rows.dialogs()] == [TURNS, TURNS]
    assert rows.shapes == {"prompt_completion": 1, "alpaca": 1}
    assert (rows.repaired, rows.bad) == (1, 1)
    assert rows.problems == ["line 3: found {x}, expected alpaca"]


def test_columns_and_templates() -> None:
    row = {"q": "Why?", "a": 7, "s": "Be brief."}
    dialog = column_format(["system=s", "user=Q", "assistant=a"]).read(row)
    assert said(dialog) == [("system", "Be brief."), ("user", "Why?"), ("assistant", "7")]
    assert (
        template_format("### Question: {q} ### Answer: {a} {{}}").read(row).text
        == "### Question: Why? ### Answer: 7 {}"
    )
    with pytest.raises(BadRow, match="expected a text in the column none"):
        template_format("{none}").read(row)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["messages", "conversations", "role", "from", "value", "content", "text", "label", "prompt", "completion",
         "chosen", "rejected", "contents", "parts", "mapping", "current_node", "parent", "message", "chat_messages",
         "sender", "instruction", "output", "input", "history", "system", "input_text", "output_text",
         "preferred_output", "author", "metadata", "tool_calls", "weight", "userInput"]), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


@given(json_values)
def test_no_record_breaks_a_reader(value: Any) -> None:
    """Whatever a record holds, it is read into turns of text or refused in words."""
    form = recognise(value)
    if form is None:
        return
    try:
        dialog = form.read(value)
    except BadRow as problem:
        assert str(problem)
        return
    assert all(role in ("system", "user", "assistant", "tool") and isinstance(text, str) for role, text in said(dialog))
    assert isinstance(dialog.text, str) and isinstance(dialog.label, str) and isinstance(dialog.conversation, str)

"""Rows as the model sees them: what is learned, what is held out, what is cut and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_rows import dialog_rows, write_dataset

from engines.config.prepare import PrepareConfig
from engines.contract import fingerprints
from engines.contract.dataset_files import part_paths
from engines.contract.errors import UserError
from finetune import base_model, rows
from finetune.prepare_dataset import prepare
from finetune.rows import IGNORED, Dialog, encode, read_dialogs, split


@pytest.fixture(scope="module")
def tokenizer(embedded_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(embedded_model)


def talk(*contents: str, conversation: str = "0") -> Dialog:
    roles = ("user", "assistant")
    return Dialog([{"role": roles[i % 2], "content": text} for i, text in enumerate(contents)], conversation)


def test_only_answers_with_their_end_of_turn_are_learned(tokenizer: Any) -> None:
    encoded = encode([talk("Hello there", "hi ~", "And you?", "fine .. thanks ~")], tokenizer, 512)
    learned = [label for label in encoded.labels[0] if label != IGNORED]
    assert tokenizer.decode(learned) == "hi ~<|im_end|>fine .. thanks ~<|im_end|>"
    assert learned.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 2
    assert encoded.learned_tokens == len(learned)


def test_the_rendering_is_the_templates_own(tokenizer: Any) -> None:
    dialog = talk("Привет, как дела?", "нормально .. а ты? ~")
    encoded = encode([dialog], tokenizer, 512)
    assert encoded.input_ids[0] == tokenizer.apply_chat_template(dialog.messages, return_dict=True)["input_ids"]


def test_the_tokens_of_an_answer_are_those_that_generation_would_produce(tokenizer: Any) -> None:
    dialog = talk("Hello", "hi there ~")
    encoded = encode([dialog], tokenizer, 512)
    prompt = tokenizer.apply_chat_template(dialog.messages[:1], add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    assert encoded.input_ids[0][: len(prompt)] == prompt
    assert all(label == IGNORED for label in encoded.labels[0][: len(prompt)])
    assert encoded.labels[0][len(prompt)] != IGNORED


def assert_prompts_are_those_of_generation(dialog: Dialog, tokenizer: Any) -> None:
    """Each answer is learned from its first token on, and before it stands what generation begins with."""
    encoded = encode([dialog], tokenizer, 512)
    ids, labels = encoded.input_ids[0], encoded.labels[0]
    for place in range(1, len(dialog.messages), 2):
        prompt = tokenizer.apply_chat_template(dialog.messages[:place], add_generation_prompt=True, return_dict=True)
        before = prompt["input_ids"]
        assert ids[: len(before)] == before
        assert labels[len(before) - 1] == IGNORED and labels[len(before)] == ids[len(before)]
    learned = tokenizer.decode([label for label in labels if label != IGNORED]).split(tokenizer.eos_token)
    assert [text.strip() for text in learned] == [*(turn["content"] for turn in dialog.messages[1::2]), ""]


@pytest.mark.parametrize(
    "template",
    [
        "### Question: {user} ### Answer: {assistant}",
        "Text: {user} Label:\t{assistant}",
        "Q: {user}\nA:\n{assistant}",
        "{system}Q{user}A  {assistant}",
    ],
)
def test_the_first_token_of_an_answer_is_learned_with_a_text_template(embedded_model: Path, template: str) -> None:
    tokenizer = base_model.load_tokenizer(str(embedded_model), template)
    assert_prompts_are_those_of_generation(talk("Who?", "It is 1.", "What?", "negative"), tokenizer)


def test_of_a_prompt_that_ends_with_a_blank_no_token_reaches_into_the_answer(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some models' own templates write such a prompt."""
    own = "{% for m in messages %}{% if m.role == 'user' %}{{ 'USER: ' + m.content + ' ASSISTANT: ' }}"
    own += "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", own)
    assert_prompts_are_those_of_generation(talk("Who?", "It is 1."), tokenizer)


def test_a_row_without_turns_is_dropped_and_counted(tokenizer: Any) -> None:
    encoded = encode([Dialog([], "0"), talk("a", "b"), Dialog([], "1", text="words")], tokenizer, 512)
    assert (encoded.dropped, len(encoded.input_ids)) == (1, 2)


def test_turns_that_were_not_joined_are_each_learned_or_refused_in_words(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = ["user", "user", "assistant", "assistant"]
    dialog = Dialog([{"role": role, "content": f"t{number}"} for number, role in enumerate(roles)], "0")
    learned = [label for label in encode([dialog], tokenizer, 512).labels[0] if label != IGNORED]
    assert tokenizer.decode(learned) == "t2<|im_end|>t3<|im_end|>"
    strict = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    strict += "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", strict)
    with pytest.raises(UserError, match="refuses a dialog: roles must alternate"):
        encode([dialog], tokenizer, 512)


def test_a_long_dialog_loses_whole_turns_and_is_counted(tokenizer: Any) -> None:
    long = talk(*["word " * 20] * 8)
    encoded = encode([long, talk("a", "b")], tokenizer, 120)
    assert (encoded.shortened, encoded.dropped, len(encoded.input_ids)) == (1, 0, 2)
    assert len(encoded.input_ids[0]) <= 120
    learned = [label for label in encoded.labels[0] if label != IGNORED]
    assert tokenizer.decode(learned).endswith("<|im_end|>")


def test_a_dialog_whose_first_answer_does_not_fit_is_dropped_and_counted(tokenizer: Any) -> None:
    encoded = encode([talk("word " * 300, "yes")], tokenizer, 64)
    assert (encoded.dropped, encoded.input_ids) == (1, [])


def test_the_split_keeps_conversations_whole_and_is_stable() -> None:
    dialogs = [talk("q", "a", conversation=f"c{i // 3}") for i in range(300)]
    train, held_out = split(dialogs, 0.1)
    names = {dialog.conversation for dialog in held_out}
    assert len(names) == 10 and not names & {dialog.conversation for dialog in train}
    assert len(train) + len(held_out) == 300
    assert names <= {dialog.conversation for dialog in split(dialogs, 0.2)[1]}
    assert names == {dialog.conversation for dialog in split(list(reversed(dialogs)), 0.1)[1]}
    assert split(dialogs, 0)[1] == []


def test_a_small_dataset_still_holds_something_out() -> None:
    dialogs = [talk("q", "a", conversation=str(i)) for i in range(4)]
    train, held_out = split(dialogs, 0.1)
    assert (len(train), len(held_out)) == (3, 1)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"messages": [{"role": "user"}]}', "line 1"),
        ('{"role": "assistant": "x"}', "line 1 is not JSON"),
        ("[1]", "line 1"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "no assistant turn"),
        ("", "is empty"),
        ('{"messages": ' + "[" * 100000, "line 1 is not JSON"),
    ],
)
def test_a_broken_file_is_explained(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "d.jsonl").write_text(text)
    with pytest.raises(UserError) as raised:
        read_dialogs(tmp_path / "d.jsonl")
    assert part in raised.value.cause and raised.value.next_step


def test_a_missing_and_a_binary_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_dialogs(tmp_path / "none.jsonl")
    (tmp_path / "d.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_dialogs(tmp_path / "d.jsonl")


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "d.jsonl", dialog_rows(3))
    first = fingerprints.of_dataset(path)
    write_dataset(path, dialog_rows(4))
    assert fingerprints.of_dataset(path) != first and len(first) == 16


def test_a_row_without_a_conversation_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"messages": row["messages"]}) + "\n" for row in dialog_rows(3)))
    assert [dialog.conversation for dialog in read_dialogs(path)] == ["1", "2", "3"]


def test_text_is_learned_whole_and_long_text_is_cut_into_rows(tokenizer: Any) -> None:
    text = "The river was low that summer. " * 20
    encoded = encode([Dialog([], "0", text=text)], tokenizer, 64)
    assert encoded.labels == encoded.input_ids and len(encoded.input_ids) > 1
    ids = [token for row in encoded.input_ids for token in row]
    assert tokenizer.decode(ids) == text + tokenizer.eos_token
    assert max(map(len, encoded.input_ids)) <= 64 and encoded.dropped == 0


def test_an_answer_with_weight_0_is_context(tokenizer: Any, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad", "weight": 0},
             {"role": "user", "content": "r"}, {"role": "assistant", "content": "good"}]  # fmt: skip
    file = tmp_path / "d.jsonl"
    file.write_text(json.dumps({"messages": turns, "conversation": "0"}) + "\n")
    encoded = encode(read_dialogs(file), tokenizer, 512)
    learned = tokenizer.decode([label for label in encoded.labels[0] if label != IGNORED])
    assert learned == "good<|im_end|>" and "bad" in tokenizer.decode(encoded.input_ids[0])


def test_a_dataset_that_brings_its_split_is_split_so(tmp_path: Path) -> None:
    file = write_dataset(tmp_path / "d_dataset.jsonl", dialog_rows(10))
    assert [len(part) for part in rows.read_parts(file, 0.2)] == [8, 2]
    alone = fingerprints.of_dataset(file)
    lines = file.read_text().splitlines(keepends=True)
    (tmp_path / "d_dataset_train.jsonl").write_text("".join(lines[:5]))
    (tmp_path / "d_dataset_eval.jsonl").write_text("".join(lines[5:]))
    train, held_out = rows.read_parts(file, 0.2)
    assert (len(train), len(held_out)) == (5, 5)
    assert rows.read_parts(file, 0)[1] == []
    assert fingerprints.of_dataset(file) != alone


def test_a_split_that_nobody_asked_for_is_the_one_of_a_training(tmp_path: Path) -> None:
    """The parts in the workspace are what a training holds out; another share and edits are obeyed nevertheless."""
    source = write_dataset(tmp_path / "rows.jsonl", dialog_rows(40))
    file = tmp_path / "d_dataset.jsonl"
    report = prepare(str(source), file, PrepareConfig(), home=tmp_path)
    assert report["split"] == {"train": 36, "eval": 4, "conversations_held_out": 4}
    own = [[dialog.conversation for dialog in rows.read_dialogs(part)] for part in part_paths(file)]
    assert [[dialog.conversation for dialog in part] for part in rows.read_parts(file, 0.1)] == own
    assert [len(part) for part in rows.read_parts(file, 0.25)] == [30, 10]
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:20]))
    assert [len(part) for part in rows.read_parts(file, 0.1)] == [18, 2]
    prepare(str(source), file, PrepareConfig(split=0), home=tmp_path)
    assert not any(part.exists() for part in part_paths(file))
    part_paths(file)[0].write_text("somebody's own\n")
    part_paths(file)[1].write_text("somebody's own\n")
    assert [len(part) for part in rows.read_parts(file, 0.1)] == [36, 4]
    prepare(str(source), file, PrepareConfig(split=0.2), home=tmp_path)
    assert [len(part) for part in rows.read_parts(file, 0.1)] == [32, 8]


def test_one_conversation_is_not_split_by_itself(tmp_path: Path) -> None:
    source = write_dataset(tmp_path / "rows.jsonl", [{**row, "conversation": "0"} for row in dialog_rows(3)])
    file = tmp_path / "d_dataset.jsonl"
    assert prepare(str(source), file, PrepareConfig(), home=tmp_path)["split"] is None
    assert not any(part.exists() for part in part_paths(file))


def test_a_training_holds_out_of_every_label_its_share() -> None:
    labels = ["often"] * 40 + ["seldom"] * 10
    dialogs = [rows.Dialog([], str(number), "text", label=label) for number, label in enumerate(labels)]
    train, held_out = rows.split(dialogs, 0.2)
    assert [sum(dialog.label == "seldom" for dialog in part) for part in (train, held_out)] == [8, 2]
    assert len(held_out) == 10

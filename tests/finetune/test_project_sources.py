"""Each source on small real files: what it finds, what it leaves alone, what it counts."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from engines.config.generate import GenerateConfig
from engines.contract.errors import UserError
from finetune.project import SOURCES, code, docs, escalation, faq, sales
from finetune.project.context import Context, Source
from finetune.project.files import decoded
from finetune.project.github import Repository, read
from finetune.project.markdown import parts, sections
from finetune.project.pair import Pair
from finetune.project.questions import language_of


def nothing() -> None:
    """Nobody asks to stop."""


def project(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def found(source: Source, folder: Path, **values: Any) -> tuple[list[Pair], Context]:
    context = Context(folder, GenerateConfig(**values), nothing)
    return list(source(context)), context


def asked(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.question, pair.turns[-1][1]) for pair in pairs]


def test_the_registry_has_every_source_in_order() -> None:
    assert list(SOURCES) == ["sales", "faq", "docs", "code", "escalation", "github"]
    assert {f"use_{name}" for name in SOURCES} == {name for name in GenerateConfig.model_fields if name[:4] == "use_"}


# --- files ---


def test_files_that_are_not_the_projects_own_are_left_out_and_counted(tmp_path: Path) -> None:
    outside = project(tmp_path / "outside", {"secret.md": "# Secret\n\nnot ours"})
    folder = project(
        tmp_path / "shop",
        {
            "README.md": "# Shop\n\nWhat we sell.",
            "node_modules/x/README.md": "# X\n\nx",
            "my-env/pyvenv.cfg": "",
            "my-env/lib.py": "def f(): pass",
            ".git/config": "",
            ".env": "KEY=1",
            ".gitignore": "generated/\n*.log.md\n!kept\n",
            "generated/a.md": "# A\n\na",
            "run.log.md": "# Log\n\nl",
            "large.md": "# L\n\n" + "x" * (1 << 20),
            "picture.md": b"\x89PNG\0\0",
            "picture.png": b"\x89PNG\0\0",
            "requirements.txt": "shop==1.0\n",
        },
    )
    (folder / "link.md").symlink_to(outside / "secret.md")
    (folder / "linked").symlink_to(outside)
    os.mkfifo(folder / "pipe.md")
    pairs, context = found(docs.find, folder)
    assert [pair.source for pair in pairs] == ["README.md"]
    assert context.files.figures() == {
        "found": 15,
        "read": 1,
        "skipped": {
            "foreign_folder": 2, "hidden": 3, "ignored": 2, "symbolic_link": 2, "special": 1, "too_large": 1,
            "no_text": 1, "no_document": 1, "other_kind": 1,
        },
    }  # fmt: skip


def test_a_file_that_becomes_a_link_or_a_pipe_after_it_was_listed_is_not_followed(tmp_path: Path) -> None:
    outside = project(tmp_path, {"secret.md": "# Secret\n\nnot ours"})
    folder = project(tmp_path / "shop", {"a.md": "# A\n\nours", "b.md": "# B\n\nours"})
    context = Context(folder, GenerateConfig(), nothing)
    for name in ("a.md", "b.md"):
        (folder / name).unlink()
    (folder / "a.md").symlink_to(outside / "secret.md")
    os.mkfifo(folder / "b.md")
    assert list(docs.find(context)) == []
    assert context.files.figures()["skipped"] == {"unreadable": 1, "special": 1}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("\ufeffпривет".encode(), "привет"),
        ("привет".encode("utf-16"), "привет"),
        ("Вопрос;Ответ\r\n".encode("cp1251"), "Вопрос;Ответ\n"),
        (b"\xff\xfe\xfd\xc3\x28", None),
        (b"a\0b", None),
        (b"one\x1b]52;c;x\x07two", "one]52;c;xtwo"),
    ],
    ids=range(6),
)
def test_text_is_read_as_it_was_written(data: bytes, text: str | None) -> None:
    assert decoded(data) == text


def test_the_language_of_a_text_with_program_names() -> None:
    assert language_of("Запустите pip install shop, затем shop start") == "ru"
    assert language_of("Run the shop") == language_of("") == "en"


# --- documents ---

DOCUMENT = """---
title: front matter
---
[![build](a.svg)](https://example.org) ![x](y.svg)

Before any heading.

# Shop *guide*

Intro.

## Install

```bash
# not a heading
pip install shop
```

<!-- a note for editors -->

## Install

Again.

Часть по-русски
---------------

Текст раздела о доставке товаров по стране.

### Empty
"""


def test_sections_are_those_of_the_headings() -> None:
    found = sections(DOCUMENT, "guide")
    assert [(section.path, section.text) for section in found] == [
        ("guide", "Before any heading."),
        ("Shop guide", "Intro."),
        ("Shop guide › Install", "```bash\n# not a heading\npip install shop\n```"),
        ("Shop guide › Install (2)", "Again."),
        ("Shop guide › Часть по-русски", "Текст раздела о доставке товаров по стране."),
    ]


def test_a_question_holds_the_headings_and_the_answer_is_the_section(tmp_path: Path) -> None:
    pairs, _ = found(docs.find, project(tmp_path, {"docs/guide.md": DOCUMENT}))
    assert [pair.section in pair.question for pair in pairs] == [True] * 5
    assert len({pair.question for pair in pairs}) == 5
    assert {pair.conversation for pair in pairs} >= {"docs/guide.md#Shop guide › Install (2)"}
    assert language_of(pairs[4].question.split("«")[0]) == "ru" and language_of(pairs[3].question) == "en"
    english, _ = found(docs.find, tmp_path, language="en")
    assert "«" not in english[4].question


def test_the_seed_chooses_the_words(tmp_path: Path) -> None:
    folder = project(tmp_path, {"a.md": "\n\n".join(f"# Part {number}\n\nText." for number in range(20))})
    first, again, other = (asked(found(docs.find, folder, seed=seed)[0]) for seed in (1, 1, 2))
    assert first == again != other


def test_long_sections_are_cut_between_paragraphs_and_fences_stay_whole(tmp_path: Path) -> None:
    fence = "```\n" + "\n\n".join(f"line {number}" for number in range(400)) + "\n```"
    paragraphs = [f"{letter * 900}." for letter in "abcd"]
    text = "# Long\n\n" + "\n\n".join([*paragraphs, fence])
    pairs, _ = found(docs.find, project(tmp_path, {"long.md": text}))
    answers = [answer for _, answer in asked(pairs)]
    assert answers == ["\n\n".join(paragraphs[:2]), "\n\n".join(paragraphs[2:]), fence]
    assert all(f"{number} of 3" in pair.question for number, pair in enumerate(pairs, 1))
    assert {pair.conversation for pair in pairs} == {"long.md#Long"}


def test_one_long_paragraph_is_cut_at_a_sentence() -> None:
    (section,) = sections("A sentence of some words. " * 200, "x")
    cut = parts(section.blocks, 500)
    assert max(map(len, cut)) <= 500 and all(part.endswith("words.") for part in cut)
    assert " ".join(cut) == section.text


def test_hostile_markdown_takes_no_long_time() -> None:
    began = time.monotonic()
    for piece in ("[", "![", "![a](b)", "<!--", "<!-- a -->", "`", "*", "*a ", "> ", "- ", "# [\n", "|a", "1. ", "_"):
        for section in sections(piece * (200_000 // len(piece)) + "x", "x"):
            sales.spoken(section.blocks)
            list(faq.marked(section.blocks))
    assert time.monotonic() - began < 30


# --- questions with answers ---

ENGLISH = [("How long does delivery take?", "Two days."), ("Is there a guarantee?", "Yes, two years.")]
RUSSIAN = [("Сколько идёт доставка?", "Два дня."), ("Есть ли гарантия?", "Да, два года.")]


FORMS: list[tuple[str, str | bytes, list[tuple[str, str]]]] = [
    (
        "a.csv",
        'id,Question,Answer\n1,"How long does delivery take?",Two days.\n2,Is there a guarantee?,"Yes, two years."\n',
        ENGLISH,
    ),
    (
        "a.csv",
        "Вопрос;Ответ\nСколько идёт доставка?;Два дня.\nЕсть ли гарантия?;Да, два года.\n".encode("cp1251"),
        RUSSIAN,
    ),
    (
        "a.tsv",
        "answer\tquestion text\nTwo days.\tHow long does delivery take?\nYes, two years.\tIs there a guarantee?\n",
        ENGLISH,
    ),
    (
        "a.json",
        '{"faq": {"delivery": [{"question": "How long does delivery take?", "answer": "Two days."}],'
        ' "other": {"q": "Is there a guarantee?", "a": "Yes, two years."}}}',
        ENGLISH,
    ),
    (
        "a.jsonl",
        '{"вопрос": "Сколько идёт доставка?", "ответ": "Два дня."}\n\n'
        '{"Вопрос": "Есть ли гарантия?", "Ответ": "Да, два года."}',
        RUSSIAN,
    ),
    ("a.md", "# How long does delivery take?\n\nTwo days.\n\n# 2. Is there a guarantee?\n\nYes, two years.", ENGLISH),
    (
        "a.md",
        "**Q: How long does delivery take?**\n**A:** Two days.\n\n- Q: Is there a guarantee?\n- A: Yes, two years.",
        ENGLISH,
    ),
    (
        "a.txt",
        "В: Сколько идёт доставка?\nО: Два дня.\n\nВопрос 2: Есть ли гарантия?\n\nОтвет: Да,\nдва года.",
        [RUSSIAN[0], (RUSSIAN[1][0], "Да,\nдва года.")],
    ),
]


@pytest.mark.parametrize(("name", "content", "expected"), FORMS, ids=range(len(FORMS)))
def test_questions_are_found_in_every_form(
    tmp_path: Path, name: str, content: str | bytes, expected: list[tuple[str, str]]
) -> None:
    pairs, context = found(faq.find, project(tmp_path, {name: content}))
    assert asked(pairs) == expected
    assert context.unread_count == 0 and all(pair.source == name for pair in pairs)


def test_a_lettered_list_holds_no_questions(tmp_path: Path) -> None:
    text = "# Порядок\n\nа) первый шаг\nб) второй шаг\nв) третий шаг\nо) последний шаг\n"
    assert found(faq.find, project(tmp_path, {"a.md": text}))[0] == []


def test_a_database_is_read_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        assert database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        database.execute('CREATE TABLE "my ""faq""" (id INTEGER, "Вопрос" TEXT, "Ответ" TEXT)')
        database.executemany('INSERT INTO "my ""faq""" VALUES (1, ?, ?)', RUSSIAN)
        database.execute("CREATE TABLE orders (id INTEGER)")
    database.close()
    (tmp_path / "not.sqlite").write_bytes(b"something else")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    context = Context(tmp_path, GenerateConfig(), nothing)
    reading = faq.find(context)
    pairs = [next(reading)]
    assert {path.name for path in tmp_path.iterdir()} == before.keys()
    pairs += reading
    assert asked(pairs) == RUSSIAN and pairs[1].section == 'my "faq" 2'
    assert context.unread == [{"file": "not.sqlite", "reason": "not a SQLite database"}]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_that_are_not_what_they_say_are_counted(tmp_path: Path) -> None:
    files = {
        "a.json": "{",
        "b.jsonl": '{"q": "Question?", "a": "Answer"}\n{\n',
        "c.json": '{"a":' * 200_000,
        "d.sqlite": b"SQLite format 3\0" + b"x" * 2000,
        "e.csv": "name,price\nx,1\n",
    }
    pairs, context = found(faq.find, project(tmp_path, files))
    assert asked(pairs) == [("Question?", "Answer")]
    assert [item["file"] for item in context.unread] == ["a.json", "b.jsonl", "c.json", "d.sqlite"]
    assert context.unread[1]["reason"] == "1 lines are not JSON"


def test_documents_do_not_ask_again_what_the_faq_has(tmp_path: Path) -> None:
    folder = project(tmp_path, {"a.md": "# Guide\n\nText.\n\n# Is it free?\n\nNo.\n"})
    context = Context(folder, GenerateConfig(), nothing)
    assert asked(list(faq.find(context))) == [("Is it free?", "No.")]
    assert [pair.section for pair in docs.find(context)] == ["Guide"]
    assert [pair.section for pair in found(docs.find, folder)[0]] == ["Guide", "Is it free?"]


# --- sales ---

SCRIPT = """# Возражения

## Дорого

**Менеджер:** Добрый день!
**Клиент:** Это дорого.
Очень дорого.

**Менеджер:** Понимаю. В цену входит доставка.

Клиент: А рассрочка?
Менеджер: Да, на год.
Клиент: Подумаю.

Правило: не спорить с клиентом.

---

```
Client: Can I pay later?
Manager: Yes, within a month.
```

*Покупатель (по телефону)* — Где вы?
Продавец 2 – У реки.

## Условия

Договор подписывают до начала работ.
"""


@pytest.mark.parametrize("name", ["tz/intro.md", "ТЗ_проект.md", "docs/sales-2.md", "скрипты/a.txt"])
def test_scripts_become_dialogs_and_their_other_sections_answers(tmp_path: Path, name: str) -> None:
    pairs, context = found(sales.find, project(tmp_path, {name: SCRIPT, "notes/typescript.md": SCRIPT}))
    assert {pair.source for pair in pairs} == {name}
    assert [pair.turns for pair in pairs[:2]] == [
        [
            ("user", "Это дорого.\nОчень дорого."),
            ("assistant", "Понимаю. В цену входит доставка."),
            ("user", "А рассрочка?"),
            ("assistant", "Да, на год."),
        ],
        [
            ("user", "Can I pay later?"),
            ("assistant", "Yes, within a month."),
            ("user", "Где вы?"),
            ("assistant", "У реки."),
        ],
    ]
    assert context.dropped_turns == {"before_question": 1, "unanswered": 1}
    assert [pair.turns[-1][1] for pair in pairs[2:]] == [
        "Правило: не спорить с клиентом.",
        "Договор подписывают до начала работ.",
    ]
    assert "Возражения › Условия" in pairs[3].question
    assert [file.path for file, _ in docs.documents(context)] == ["notes/typescript.md"]


# --- code ---

MODULE = '''"""Orders of the shop."""
from fastapi import APIRouter
router = APIRouter(prefix="/orders")


@router.get("/{number}")
async def read_order(number: int, *, full: bool = False) -> dict:
    """One order by its number."""


@app.route("/pay", methods=["POST", "PUT"])
def pay():
    return 1


@mock.patch("module.name")
def helper(a, b=2): return a


def _private(): pass


class Order(BaseModel):
    """What a client has ordered."""
    __tablename__ = "orders"
    number: int
    price: float = Field(default=0, ge=0)
    client = relationship("Client")

    def total(self) -> float:
        """With taxes."""

if True:
    def conditional():
        """Only sometimes."""
'''


def test_code_tells_functions_classes_fields_and_routes(tmp_path: Path) -> None:
    pairs, context = found(code.find, project(tmp_path, {"app/orders.py": MODULE}), language="en")
    answers = {
        (pair.section.removeprefix("app.orders").lstrip("."), pair.question): pair.turns[-1][1] for pair in pairs
    }
    by_name: dict[str, list[str]] = {}
    for (name, _), answer in answers.items():
        by_name.setdefault(name, []).append(answer)
    assert list(by_name) == ["", "read_order", "pay", "helper", "Order", "Order.total", "conditional"]
    assert by_name[""] == ["Orders of the shop.\n\nIt holds: read_order, pay, helper, Order\n\napp/orders.py, line 1."]
    route, function = by_name["read_order"]
    assert "GET /orders/{number} is handled by `app.orders.read_order`" in route
    assert "async def read_order(number: int, *, full: bool=False) -> dict" in function
    assert function.startswith("One order by its number.") and function.endswith("app/orders.py, line 7.")
    questions = " ".join(question for _, question in answers)
    assert "POST /pay" in questions and "PUT /pay" in questions and "module.name" not in questions
    assert '@mock.patch("module.name")\ndef helper(a, b=2): return a' in by_name["helper"][0]
    about, fields = by_name["Order"]
    assert "class Order(BaseModel)" in about and "- `def total(self) -> float`" in about
    listed = ["number: int", "price: float = Field(default=0, ge=0)", "client = relationship('Client')"]
    assert fields.startswith("Fields of Order:\n\n" + "\n".join(f"- `{field}`" for field in listed))
    assert "Its table: `orders`." in fields and "app/orders.py, line 23." in fields
    assert context.unread_count == 0


def test_code_that_does_not_parse_is_counted_with_the_reason(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    files = {
        "old.py": 'print "x"\n',
        "deep.py": "x = " + "(" * 5000,
        "deeper.py": "x = " + "-" * 50_000 + "1",
        "escape.py": 'def f():\n    """A \\d escape."""\n',
    }
    pairs, context = found(code.find, project(tmp_path, files))
    assert [pair.source for pair in pairs] == ["escape.py"]
    reasons = {item["file"]: item["reason"] for item in context.unread}
    assert reasons.keys() == {"old.py", "deep.py", "deeper.py"}
    assert reasons["deeper.py"] == "nested too deeply" and reasons["deep.py"].startswith("too many nested")
    assert not recwarn.list  # foreign escapes are not our users' business
    assert "Missing parentheses" in reasons["old.py"] and reasons["old.py"].endswith("line 1")


def test_russian_code_is_asked_about_in_russian(tmp_path: Path) -> None:
    pairs, _ = found(code.find, project(tmp_path, {"a.py": 'def f():\n    """Считает сумму заказа."""\n'}))
    ((question, answer),) = asked(pairs)
    assert language_of(question) == "ru" and answer.endswith("a.py, строка 1.")


# --- handing over ---


def test_handing_over_speaks_the_projects_language(tmp_path: Path) -> None:
    def languages(**values: Any) -> set[str]:
        return {language_of(pair.question) for pair in found(escalation.find, tmp_path, **values)[0]}

    assert languages(language="ru") == {"ru"} and languages(language="en") == {"en"}
    assert languages() == {"ru", "en"}
    context = Context(tmp_path, GenerateConfig(), nothing)
    context.languages = {"ru"}
    pairs = list(escalation.find(context))
    assert {language_of(pair.question) for pair in pairs} == {"ru"}
    assert not any("{" in text for pair in pairs for _, text in pair.turns)


OWN = """{"values": {"contact": "Desk {project}"}, "dialogs": [
  {"section": "own", "openings": ["Help!", "Помогите!"],
   "messages": [{"role": "assistant", "content": "Ask {contact}; {unknown}."}]}]}"""


def test_the_projects_own_templates_replace_ours(tmp_path: Path) -> None:
    folder = project(tmp_path / "shop", {".ftui/escalation.json": OWN})
    pairs, _ = found(escalation.find, folder)
    assert asked(pairs) == [(text, "Ask Desk {project}; {unknown}.") for text in ("Help!", "Помогите!")]
    assert {pair.conversation for pair in pairs} == {".ftui/escalation.json#own"}


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"dialogs": [{"section": "a", "messages": []}]}', OWN.replace("assistant", "user"), "{}"]
)
def test_own_templates_that_cannot_be_used_are_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"\.ftui/escalation_en\.json cannot be used"):
        found(escalation.find, project(tmp_path, {".ftui/escalation_en.json": content}))


def test_own_templates_do_not_lead_out_of_the_project(tmp_path: Path) -> None:
    project(tmp_path / "outside", {"escalation.json": OWN})
    folder = project(tmp_path / "shop", {"a.md": ""})
    (folder / ".ftui").symlink_to(tmp_path / "outside")
    assert {pair.source for pair in found(escalation.find, folder, language="en")[0]} == {
        "templates/escalation_en.json"
    }


# --- a repository ---


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, timeout=30)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with a hook, a symbolic link that leads out, a submodule and two branches."""
    (tmp_path / "secret.md").write_text("# Secret\n\nnot for the dataset")
    other = project(tmp_path / "other", {"sub.md": "# Sub\n\nsub"})
    for folder in (other, project(tmp_path / "origin", {"README.md": "# Tool\n\nWhat it does."})):
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", "first")
    origin = tmp_path / "origin"
    git(origin, "submodule", "add", "-q", f"file://{other}", "module")
    git(origin, "checkout", "-q", "-b", "second")
    (origin / "tool.py").write_text('def run():\n    """Runs the tool."""\n')
    (origin / "link.md").symlink_to(tmp_path / "secret.md")
    git(origin, "add", ".")
    git(origin, "commit", "-q", "-m", "second")
    git(origin, "checkout", "-q", "main")
    return origin


def test_a_repository_is_cloned_read_and_gone(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    context = Context(project(tmp_path / "empty", {"x": ""}), GenerateConfig(language="en"), nothing)
    with Repository(f"file://{origin}", "second", nothing, protocol="file") as repository:
        assert not (repository.folder / "link.md").is_symlink()
        assert not any((repository.folder / "module").iterdir())
        pairs = list(read(context, repository))
    assert not list((tmp_path / "temporary").iterdir())
    name = f"{tmp_path.name}/origin"
    assert {(pair.kind, pair.source) for pair in pairs} == {
        ("github", f"{name}/README.md"), ("github", f"{name}/tool.py"), ("github", f"{name}/link.md"),
    }  # fmt: skip
    assert not any("not for the dataset" in text for pair in pairs for _, text in pair.turns)
    assert {pair.section for pair in pairs} >= {"Tool", "tool.run"}
    assert len(str(context.repository["commit"])) == 40


def test_the_branch_is_obeyed_and_an_unknown_one_is_an_error(origin: Path) -> None:
    with Repository(f"file://{origin}", "", nothing, protocol="file") as repository:
        assert not (repository.folder / "tool.py").exists()
    with (
        pytest.raises(UserError, match=r"origin cannot be cloned: .*none"),
        Repository(f"file://{origin}", "none", nothing, protocol="file"),
    ):
        pass


def test_a_repository_too_large_or_too_slow_is_ended(origin: Path) -> None:
    with (
        pytest.raises(UserError, match="larger than 0 MB"),
        Repository(f"file://{origin}", "", nothing, protocol="file", max_bytes=1000),
    ):
        pass
    with (
        pytest.raises(UserError, match="was not cloned within -1 s"),
        Repository(f"file://{origin}", "", nothing, protocol="file", seconds=-1),
    ):
        pass


def test_a_stop_ends_the_clone(origin: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Repository(f"file://{origin}", "", stop, protocol="file"):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a/b", "file:///etc", "git@example.org:a/b", "ssh://example.org/a/b", "ext::sh -c id",
        "--upload-pack=id", "https://user:password@example.org/a/b", "https://example.org", "https://example.org/-a/b",
        "https://example.org/a/../b", "https://example.org/a/b?x=1", "https://example.org/a b", "https://example.org/a/b\n",
    ],
)  # fmt: skip
def test_only_plain_https_urls_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="https://host/owner/name"):
        GenerateConfig(github_url=url)
    if not url.startswith("https://"):
        with pytest.raises(UserError, match="is not an https URL"):
            Repository(url, "", nothing)


@pytest.mark.parametrize("branch", ["-x", "--upload-pack=id", "a..b", "a b", "a\n"])
def test_a_branch_is_a_name(branch: str) -> None:
    with pytest.raises(ValueError, match="name of a branch"):
        GenerateConfig(github_branch=branch)

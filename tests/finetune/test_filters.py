"""What is left out of a dataset, and for which reason."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest

from engines.contract.errors import UserError
from finetune.filters import Filters, bands
from finetune.formats.dialog import Dialog, Turn
from finetune.modes import rows_of
from finetune.tokens import estimate_row_tokens, estimate_tokens

WORDS = [f"word{number}" for number in range(400)]


def dialog(*texts: str, system: str = "") -> Dialog:
    """A dialog of these texts, the first of which is a question."""
    turns = [Turn("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    return Dialog([Turn("system", system)] * bool(system) + turns, "0/1")


def reasons(filters: Filters, *rows: Dialog) -> list[str | None]:
    found: list[str | None] = []
    for row in rows:
        before = filters.counts.copy()
        kept = filters.kept([row])
        assert kept in ([], [row])
        found.append(next(iter(filters.counts - before), None))
        assert (found[-1] is None) is bool(kept)
    assert filters.counts.total() == len(found) - found.count(None)
    return found


def test_without_parameters_everything_is_kept() -> None:
    filters = Filters()
    assert not filters
    assert reasons(filters, dialog("q", "a"), dialog("q", "a"), dialog("", "")) == [None] * 3


def test_duplicates() -> None:
    filters = Filters(drop_duplicates=True)
    assert filters
    rows = [
        dialog("How are you?", "Fine"),
        dialog("how  are\nyou? ", "FINE"),
        dialog("How are you?", "Fine", "And you?", "Fine"),
        dialog("How are you? Fine", ""),
        dialog("How are you?", "Fine", system="Be brief"),
        dialog("\ud800", "a"),
        dialog("\ud801", "a"),
    ]
    assert reasons(filters, *rows) == [None, "duplicate", None, None, None, None, None]
    assert reasons(Filters(drop_duplicates=True), rows[1]) == [None]


def test_near_duplicates() -> None:
    text = " ".join(WORDS[:100])
    changed = text.replace("word50 ", "other ")
    rows = [
        dialog(text, "Yes, it is."),
        dialog(changed, "yes — it is!"),
        dialog(" ".join(WORDS[100:200]), "Yes, it is."),
    ]
    assert reasons(Filters(near_duplicates=0.85), *rows) == [None, "near_duplicate", None]
    assert reasons(Filters(near_duplicates=0.99), *rows) == [None, None, None]


def test_what_has_no_words_is_never_a_near_duplicate() -> None:
    rows = [dialog("🙂", "!!"), dialog("??", "🙂"), dialog("ok", ""), dialog("", "OK."), dialog("no", "")]
    assert reasons(Filters(near_duplicates=0.85), *rows) == [None, None, None, "near_duplicate", None]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 0.95])
def test_near_duplicates_are_those_that_counting_finds(threshold: float) -> None:
    """Each text and a changed copy of it, far from all others; wrong answers only near the threshold."""
    source = random.Random(5)
    wrong = 0
    for number in range(300):
        words = [f"{word}x{number}" for word in source.sample(WORDS, 120)]
        copy = words.copy()
        for place in source.sample(range(120), source.randint(0, 25)):
            copy[place] += "y"
        runs, copied = (set(zip(some, some[1:], some[2:], strict=False)) for some in (words, copy))
        shared = len(runs & copied) / len(runs | copied)
        found = reasons(Filters(near_duplicates=threshold), dialog(" ".join(words), ""), dialog(" ".join(copy), ""))
        assert found[0] is None
        wrong += (found[1] is not None) != (shared >= threshold)
        if abs(shared - threshold) > 0.15:
            assert (found[1] is not None) == (shared >= threshold), shared
    assert wrong < 30


@pytest.mark.parametrize(("threshold", "count"), [(1.0, 1), (0.85, 16), (0.5, 64), (0.05, 128)])
def test_a_signature_is_cut_as_the_threshold_wants(threshold: float, count: int) -> None:
    assert bands(threshold) == count


ENGLISH = dialog("Are you coming to the station with us tomorrow morning?", "I think so, if the train is on time")
RUSSIAN = dialog("Ты завтра поедешь с нами на вокзал?", "Думаю, что да, если не будет дождя")
UKRAINIAN = dialog("Ти завтра поїдеш з нами на вокзал?", "Думаю, що так, якщо не буде дощу")
GERMAN = dialog("Kommst du morgen früh mit uns zum Bahnhof?", "Ich glaube schon, wenn der Zug pünktlich ist")


@pytest.mark.parametrize(
    ("languages", "kept"),
    [(["en"], [ENGLISH]), (["ru"], [RUSSIAN]), (["DE", " uk "], [UKRAINIAN, GERMAN]), (["fr"], [])],
)
def test_other_languages(languages: list[str], kept: list[Dialog]) -> None:
    rows = [ENGLISH, RUSSIAN, UKRAINIAN, GERMAN]
    expected = [None if row in kept else "other_language" for row in rows]
    assert reasons(Filters(languages=languages), *rows) == expected


def test_a_language_that_cannot_be_told_is_kept() -> None:
    link = "https://example.org/the/station/tomorrow/morning"
    rows = [
        dialog("Как дела?", "Норм"),
        dialog("🙂" * 50, "12345 67890"),
        dialog(link, "[telegram_handle] [passport_ru]"),
    ]
    assert reasons(Filters(languages=["de"]), *rows, RUSSIAN) == [None, None, None, "other_language"]
    german = "\n".join(turn.content for turn in GERMAN.turns)
    assert reasons(Filters(languages=["ru"]), dialog("Как дела?", "Норм", system=german)) == [None]


def test_a_language_nobody_knows_is_an_error() -> None:
    with pytest.raises(UserError, match="klingon, xx"):
        Filters(languages=["ru", "xx", "Klingon"])


def test_length_in_tokens() -> None:
    rows = [dialog("a" * 40, "b" * 40), dialog("a" * 400, "b" * 400), dialog("a" * 4000, "b" * 4000)]
    tokens = [estimate_row_tokens(row) for row in rows]
    assert tokens == [30, 206, 1970]
    assert reasons(Filters(min_tokens=206), *rows) == ["too_few_tokens", None, None]
    assert reasons(Filters(max_tokens=206), *rows) == [None, None, "too_many_tokens"]
    assert reasons(Filters(min_tokens=207, max_tokens=1969), *rows) == ["too_few_tokens"] * 2 + ["too_many_tokens"]


@pytest.mark.parametrize(
    ("blocked", "text", "is_blocked"),
    [
        (["ёлка"], "наша ЕЛКА стоит", True),
        (["елка"], "Ёлка!", True),
        (["ель"], "дверь и ельник", False),
        (["c++"], "I like C++, too", True),
        (["a.b"], "a-b aab", False),
        (["straße"], "STRASSE", True),
        (["new  year"], "happy new\nyear", True),
        (["new year"], "a new school year", False),
        (["one", "two"], "three two", True),
        (["", " "], "a  b", False),
        (["key_"], "key", False),
    ],
)
def test_blocked_words(blocked: list[str], text: str, is_blocked: bool) -> None:
    rows = [dialog(text, "ok"), dialog("ok", text), dialog("ok", "ok", system=text), dialog("ok", "ok")]
    expected = ["blocked_word" if is_blocked else None] * 3 + [None]
    assert reasons(Filters(blocked_words=blocked), *rows) == expected


def test_one_word_answers() -> None:
    rows = [
        dialog("How are you today?", "Fine.", "Sure?", " Yes\n"),
        dialog("How are you today?", "Fine.", "Sure?", "Yes, I am"),
        dialog("ok", "Quite well"),
        dialog("Look at this", "🙂"),
    ]
    expected = ["one_word_answers", None, None, "one_word_answers"]
    assert reasons(Filters(drop_one_word_answers=True), *rows) == expected


def test_answers_that_are_not_learned_do_not_count() -> None:
    context = Dialog([Turn("user", "q"), Turn("assistant", "a long one", weight=0), Turn("assistant", "ok")], "0/1")
    assert reasons(Filters(drop_one_word_answers=True), context) == ["one_word_answers"]


def test_rows_without_answers_are_filtered_by_their_text() -> None:
    text = "The outdoor tap froze solid last night"
    plain, other = Dialog([], "0/1", text=text), Dialog([], "0/2", text=f"{text}.")
    labels = [Dialog([Turn("user", text)], "0/3", label=label) for label in ("cold", "warm", "cold")]
    assert reasons(Filters(drop_duplicates=True), plain, other, *labels) == [None] * 4 + ["duplicate"]
    assert reasons(Filters(near_duplicates=0.85), plain, other) == [None, "near_duplicate"]
    assert reasons(Filters(languages=["ru"]), plain, labels[0]) == ["other_language"] * 2
    assert reasons(Filters(blocked_words=["tap"]), plain, labels[0]) == ["blocked_word"] * 2
    assert reasons(Filters(max_tokens=8), plain, labels[0]) == ["too_many_tokens"] * 2
    assert reasons(Filters(drop_one_word_answers=True), plain, labels[0]) == [None] * 2


def test_near_duplicates_among_the_windows_of_a_dialog_are_kept() -> None:
    start = [*WORDS[:30]]
    first, second = (dialog(" ".join(start), "Yes, it is.", f"And {more}?", "No") for more in ("here", "there"))
    filters = Filters(near_duplicates=0.5, drop_duplicates=True, whole_dialogs=True)
    windows = [list(rows_of(row, "conversational", 6)) for row in (first, second)]
    assert filters.kept(windows[0], first) == windows[0]
    assert filters.kept(windows[1], second) == []
    assert filters.counts == {"near_duplicate": 2}


def test_the_first_reason_counts_and_the_later_filters_do_not_see_the_row() -> None:
    filters = Filters(
        drop_duplicates=True,
        near_duplicates=0.85,
        languages=["en"],
        min_tokens=12,
        max_tokens=1000,
        blocked_words=["station"],
        drop_one_word_answers=True,
    )
    plain = dialog("Shall we go for a walk this evening?", "Yes, if it does not rain again")
    rows = [
        dialog("Shall we?", "Yes"),
        dialog("🙂", ". ."),
        dialog("a b " * 2000, "c d"),
        ENGLISH,
        RUSSIAN,
        plain,
        plain,
        dialog("Shall we go for a walk this evening!", "Yes, if it does not rain again"),
        RUSSIAN,
    ]
    expected = ["one_word_answers", None, "too_many_tokens", "blocked_word", "other_language", None]
    expected += ["duplicate", "near_duplicate", "other_language"]
    assert reasons(filters, *rows) == expected
    assert filters.counts["other_language"] == 2


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("?", 1, 1),
        ("The outdoor tap froze solid last night, and I would like to know what to do about it.", 17, 25),
        ("Привет! Ты дома? У нас свет пропал.", 24, 32),
        ("🙂", 1, 1),
    ],
)
def test_tokens_are_estimated(text: str, least: int, most: int) -> None:
    assert least <= estimate_tokens(text) <= most


@pytest.mark.parametrize(
    ("made", "loaded"),
    [
        ("blocked_words=['a'], drop_duplicates=True, min_tokens=1", set()),
        ("near_duplicates=0.85", {"rensa"}),
        ("languages=['en']", {"py3langid", "numpy"}),
    ],
)
def test_a_filter_that_is_off_loads_nothing(made: str, loaded: set[str]) -> None:
    code = f"import sys; from finetune.filters import Filters; Filters({made}); print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    found = set(re.findall(r"(?:^|\s)(rensa|py3langid|numpy|torch|re2)(?=\s)", modules))
    assert found == loaded

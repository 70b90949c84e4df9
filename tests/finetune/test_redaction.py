"""Personal data becomes marks; everything that only looks like it stays."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.personal_data import KINDS, RULES
from finetune.redaction import Redactor

PERSONAL = {
    "email": ["kim@example.org", "first.last+tag@mail.example.co.uk", "ким@пример.рф", "KIM_1@EXAMPLE.ORG"],
    "phone": [
        "+7 900 000-00-00",
        "+79000000000",
        "8 (900) 000-00-00",
        "89000000000",
        "79000000000",
        "8-800-000-00-00",
        "8 (495) 000-00-00",
        "(495) 000-00-00",
        "(4950) 00-00-00",
        "900 000-00-00",
        "+7\u00a0900\u00a0000‑00‑00",
        "+49 30 1234567",
        "+34 612 345 678",
        "+1 (555) 010-0000",
        "(555) 234-5678",
        "555-234-5678",
    ],
    "card": ["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "378282246310005", "2200000000000004"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947"],
    "ip": ["192.0.2.7", "10.1.2.3", "2001:db8::1", "2001:db8:0:0:0:0:0:1"],
    "url_credentials": ["user:pa55@example.org", "user:p:w@example.org:8080", ":token@example.org"],
    "key": [
        "sk-abcdefghij0123456789XYZ",
        "ghp_abcdefghij0123456789abcdefghij012345",
        "AKIAABCDEFGHIJ234567",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "123456789:AAabcdefghij0123456789abcdefghij012",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\nBBBB\n-----END RSA PRIVATE KEY-----",
    ],
    "passport_ru": ["4500 № 000000", "45 00 №000000"],
    "inn_ru": ["500100732259"],
    "snils_ru": ["112-233-445 95", "112-233-445-95"],
    "address": [
        "ул. Ленина, д. 5, кв. 12",
        "улица Академика Примерова 12к2",
        "улице Мира, 7",
        "пр-т Мира 10/3",
        "Примерный переулок, дом 4",
        "ул ленина д 5",
        "221B Baker Street",
        "10 North Sample Ave., Apt. 4",
    ],
    "telegram_handle": ["@sample_user", "https://t.me/sample_user", "t.me/sample_user"],
}
PLANTED = [(kind, text) for kind, texts in PERSONAL.items() for text in texts]

AFTER_A_WORD = [
    ("API_KEY=9f8a7b6c5d4e3f2a1b0c", "API_KEY=[key]"),
    ('"token": "Zm9vYmFy1Zm9vQ2Jhc"', '"token": "[key]"'),
    ("Authorization: Bearer a1B2c3D4e5F6g7H8", "Authorization: Bearer [key]"),
    ("токен: 9f8a7b6c5d4e3f2a1b0c", "токен: [key]"),
    ("пароль: qwerty123, запомни", "пароль: [key], запомни"),
    ("Password=hunter2x", "Password=[key]"),
    ("паспорт 4500 000000", "паспорт [passport_ru]"),
    ("Паспорт: серия 45 00 номер 000000 выдан", "Паспорт: серия [passport_ru] выдан"),
    ("ИНН: 7707083893", "ИНН: [inn_ru]"),
    ("снилс 11223344595", "снилс [snils_ru]"),
    ("ssh://user:pa55@example.org/path", "ssh://[url_credentials]/path"),
]

HARMLESS = """
in 1999 and 2024, from 12.10.2024 to 2024-10-12, at 12:30:45 or 9-15
it costs 1 234 567 руб, 99.90 or $1,000,000.00; +100 000 000 a year
order 12345, order 1234567890, parcel 20240101123045, 84951234567, 1736574953, 7707083893
4111 1111 1111 1112, DE89 3704 0044 0532 0130 01, 500100732258, 112-233-445 96, 11223344595
version 1.2.3, v1.2.3.4, 120.0.6099.109, localhost 127.0.0.1, 255.255.255.0, a::b, std::vector, 1.2.3.4.5
kim at example dot org, a@b, 5 @ 3, @abc, @types/node, user@host, t.me/joinchat/AAAAAAAA
http://example.org:8080/@x and http://example.org/a:b
key performance-indicator-2024, token: aaaaaaaaaaaaaaa1, my key is under the mat, password is secret, sk-learn
пароль: забыла, ключ от квартиры 12345, паспорт получил в 2020 году
на улице 5 градусов, На улице Света 5 минут ждала, улов рыбы, дом 5, ул. Ленина, стул 5, 5 Big Apples on Street
Я живу в доме 5, квартира 12. Глава 4500 123456, 4500 000000
-----BEGIN CERTIFICATE-----
1/2, 16:9, 3x4, 10-15, 100%, 8 900 раз, 7 900 000, 8 900 000 000 руб, 2.5e-3
"""


@pytest.mark.parametrize(("kind", "text"), PLANTED)
@pytest.mark.parametrize("around", ["{}", "see {}", "see {}, ok", "({})", "вот {} и всё", "первая\n{}\nтретья", "{}."])
def test_a_span_becomes_a_mark(kind: str, text: str, around: str) -> None:
    prefix = "https://" if kind == "url_credentials" else ""
    redactor = Redactor()
    assert redactor.redact(around.format(prefix + text)) == around.format(f"{prefix}[{kind}]")
    assert redactor.counts == {kind: 1}
    others = [other for other in KINDS if other != kind]
    assert f"[{kind}]" not in Redactor(others).redact(around.format(prefix + text))


@pytest.mark.parametrize(("text", "redacted"), AFTER_A_WORD)
def test_some_data_is_known_by_the_word_before_it(text: str, redacted: str) -> None:
    assert Redactor().redact(text) == redacted


@pytest.mark.parametrize("text", HARMLESS.strip().splitlines())
def test_what_only_looks_personal_stays(text: str) -> None:
    redactor = Redactor()
    assert redactor.redact(text) == text
    assert not redactor.counts


def test_every_kind_has_examples() -> None:
    assert set(PERSONAL) == set(KINDS)


def test_several_spans_are_counted_by_kind() -> None:
    redactor = Redactor()
    text = "kim@example.org or lee@example.org, +7 900 000-00-00 10 января"
    assert redactor.redact(text) == "[email] or [email], [phone] 10 января"
    redactor.redact("@sample_user")
    assert redactor.counts == {"email": 2, "phone": 1, "telegram_handle": 1}


def test_of_spans_that_overlap_the_first_and_longest_wins() -> None:
    assert Redactor().redact("https://user:a1@example.org") == "https://[url_credentials]"
    assert Redactor(["email"]).redact("https://user:a1@example.org") == "https://user:[email]"
    key = "-----BEGIN PRIVATE KEY-----\nkim@example.org"
    assert Redactor().redact(key) == "[key]"


def test_a_mark_that_was_there_before_is_text() -> None:
    redactor = Redactor()
    assert redactor.redact("[email] and [phone]") == "[email] and [phone]"
    assert not redactor.counts


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="shoe_size"):
        Redactor(["email", "shoe_size"])
    assert Redactor([]).redact("kim@example.org") == "kim@example.org"


def test_few_random_numbers_are_taken_for_personal_data() -> None:
    source = random.Random(3)
    for digits, most in [
        (5, 0),
        (6, 0),
        (7, 0),
        (8, 0),
        (9, 0),
        (10, 0),
        (11, 35),
        (12, 20),
        (13, 0),
        (14, 0),
        (16, 60),
    ]:
        redactor = Redactor()
        for _ in range(1000):
            redactor.redact(f"order {source.randint(10 ** (digits - 1), 10**digits - 1)} is there")
        assert redactor.counts.total() <= most, (digits, redactor.counts)


# Letters that some engines take for others when case does not matter, and what rules are made of.
letters = st.sampled_from(list("0123456789" * 3 + " \n\u00a0()-‑–+.,:;@/\\_'\"[]№#aAkKxXБбдДкя ıİſKᲀᲁᲂᲃᲄᲅ\ud800🙂\x00"))
fragments = st.one_of(
    *[st.sampled_from(several) for several in PERSONAL.values()],
    st.sampled_from([part for pair in AFTER_A_WORD for part in pair]),
    st.sampled_from([text for text, _ in AFTER_A_WORD]),
    st.sampled_from([f"[{kind}]" for kind in KINDS]),
    st.sampled_from(["token", "KEY", "Secret", "passport", "ПАСПОРТ", "серия", "ИНН", "inn", "СНИЛС", "snils"]),
    st.sampled_from(["ул.", "УЛИЦА", "Мира", "дом", "д.", "кв.", "Street", "St.", "№", "://", "t.me/", "https://"]),
)
numbers = st.integers(0, 10**16).map(str)
pieces = st.one_of(fragments, numbers, st.text(letters, max_size=6), st.text(max_size=4), st.just(" "))
texts = st.lists(pieces).map("".join)


@st.composite
def damaged_texts(draw: st.DrawFn) -> str:
    """Personal data with characters changed, added and lost, where a rule only just holds or does not."""
    text = list(draw(texts))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(text)))
        text[place : place + draw(st.integers(0, 1))] = draw(st.text(letters, max_size=1))
    return "".join(text)


WITH, WITHOUT = Redactor(), Redactor(prefilter=False)


@settings(max_examples=1500, deadline=None)
@given(damaged_texts())
def test_the_prefilter_changes_nothing(text: str) -> None:
    assert WITH.redact(text) == WITHOUT.redact(text)
    assert WITH.counts == WITHOUT.counts


@settings(max_examples=300, deadline=None)
@given(st.lists(damaged_texts(), max_size=4))
def test_one_look_at_several_texts_misses_nothing(texts: list[str]) -> None:
    if WITH.finds_nothing(texts):
        assert [WITHOUT.redact(text) for text in texts] == texts
    assert WITH.finds_nothing(["nothing here", "и здесь тоже"])


@pytest.mark.parametrize("number", range(len(RULES)))
def test_every_gate_opens_for_what_its_rule_finds(number: int) -> None:
    """Rule by rule, and in all upper and lower case: in a whole text one gate may stand in for another."""
    rule = RULES[number]
    gate = re2.compile(rule.gate)
    plain = [text for _, text in PLANTED] + [text for text, _ in AFTER_A_WORD]
    plain += [f"://{text}" for text in PERSONAL["url_credentials"]] + [f"token {text}" for text in PERSONAL["key"]]
    alike = str.maketrans({"k": "K", "s": "ſ", "i": "ı", "в": "ᲀ", "д": "ᲁ", "о": "ᲂ", "с": "ᲃ", "т": "ᲄ"})
    several = [form for text in plain for form in (text, text.upper(), text.lower(), text.translate(alike))]
    found = [text for text in several if re.search(rule.pattern, text)]
    assert found, "no example is found by this rule"
    assert [text for text in found if not gate.search(text)] == []


@settings(max_examples=1500, deadline=None)
@given(damaged_texts())
def test_redacting_again_changes_nothing(text: str) -> None:
    once = WITH.redact(text)
    before = WITH.counts.copy()
    assert WITH.redact(once) == once
    assert WITH.counts == before


@pytest.mark.parametrize(
    "piece",
    ["a", "1", "1 ", "a.", ":", "@", "a@", "ул. ", "ул. Мира ", "key ", "A1 ", "+7", "://", "a:", "серия ", "key=a1"],
)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    redactor = Redactor(prefilter=False)
    start = time.process_time()
    redactor.redact(piece * (100_000 // len(piece)))
    assert time.process_time() - start < 5  # some 0.1 s; what goes with the square of the length takes minutes


def test_re2_is_loaded_only_by_a_redactor() -> None:
    code = """if True:
        import sys
        from finetune.redaction import Redactor
        print('re2' in sys.modules)
        Redactor()
        print('re2' in sys.modules)
    """
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split() == ["False", "True"]

"""What personal data looks like, kind by kind: the rules that finetune/redaction.py applies.

A rule has a `pattern` for Python's re, and where a pattern cannot tell alone, a `check`
of what it found: check digits, for one. `gate` is a pattern for RE2 that is found in
every text in which `pattern` is found; it may be found in others. What only looks like
personal data stays: years, prices, times, dates, most numbers. Of plain numbers some pass
by accident: with eleven digits one in fifty is a possible Russian mobile number, with
twelve one in a hundred a taxpayer's number, with sixteen one in twenty-five a card.
"""

from __future__ import annotations

import ipaddress
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple


class Rule(NamedTuple):
    """One form of one kind of personal data. The group `value` is what is replaced, if there is one."""

    kind: str
    pattern: str
    gate: str
    check: Callable[[str], bool] | None = None


def digits_of(text: str) -> list[int]:
    return [int(character) for character in text if character in "0123456789"]


def is_card(text: str) -> bool:
    """The Luhn check."""
    digits = digits_of(text)[::-1]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


def is_iban(text: str) -> bool:
    """The check of ISO 7064, mod 97-10."""
    compact = text.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def is_inn(text: str) -> bool:
    """The check digits of a Russian taxpayer: the last of ten digits or the last two of twelve."""
    weights = (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
    digits = digits_of(text)
    for length in (9,) if len(digits) == 10 else (10, 11):
        total = sum(map(int.__mul__, weights[-length:], digits))
        if total % 11 % 10 != digits[length]:
            return False
    return any(digits)


def is_snils(text: str) -> bool:
    """The check digits of a Russian insurance number."""
    digits = digits_of(text)
    total = sum(map(int.__mul__, range(9, 0, -1), digits)) % 101 % 100
    return total == digits[9] * 10 + digits[10] and any(digits)


def is_phone(text: str) -> bool:
    """Not a round sum with a sign, such as +100 000 000."""
    groups = text.split()[1:]
    return not (groups and groups[-1] == "000" and all(len(group) == 3 for group in groups))


def is_personal_ip(text: str) -> bool:
    """An address of a machine: not the machine itself, not a netmask, not two short words around a colon."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6 and sum(map(bool, text.split(":"))) < 3:
        return False
    return not (address.is_loopback or address.is_unspecified or (address.version == 4 and address.is_reserved))


def is_random(text: str) -> bool:
    """Letters and digits in disorder, as no word is written."""
    if not any(map(str.isdigit, text)) or not any(map(str.isalpha, text)):
        return False
    entropy = -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
    kinds = "".join("0" if letter.isdigit() else "A" if letter.isupper() else "a" for letter in text)
    changes = sum(
        a != b
        for (a, b), pair in zip(itertools.pairwise(kinds), itertools.pairwise(text), strict=True)
        if all(map(str.isalnum, pair))
    )
    return entropy >= 3 and changes >= 4


def is_password(text: str) -> bool:
    """Letters and digits together; a lone word or number may be something else."""
    return any(map(str.isdigit, text)) and any(map(str.isalpha, text))


SPACE = "[ \u00a0]"
HYPHEN = "[-\u2010\u2011\u2013]"
GAP = "[ \u00a0()\u2010\u2011\u2013-]"  # between the digits of a phone number
BASE64 = "[A-Za-z0-9+/_-]"

_IBAN_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
    "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 "
    "LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 "
    "SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN = "|".join(
    f"{code[:2]}[0-9]{{2}}(?: ?[A-Z0-9]){{{int(code[2:]) - 4}}}(?![A-Za-z0-9])" for code in _IBAN_LENGTHS.split()
)

_PHONES = (
    rf"(?<!\w)\+{GAP}{{0,2}}(?:[17](?:{GAP}{{0,3}}[0-9]){{10}}|[2-689](?:{GAP}{{0,3}}[0-9]){{7,13}})(?![0-9])",
    rf"(?<![\w+.,-])[78]{GAP}{{0,3}}9[0-9]{{2}}{GAP}{{0,3}}[0-9]{{3}}{GAP}?[0-9]{{2}}{GAP}?[0-9]{{2}}(?!\w)",
    rf"(?<![\w+.,-])[78]{GAP}{{1,3}}[348][0-9]{{2}}{GAP}{{1,3}}[0-9]{{3}}{GAP}?[0-9]{{2}}{GAP}?[0-9]{{2}}(?!\w)",
    rf"(?<![\w+.,-])(?:\([0-9]{{3}}\){SPACE}?|9[0-9]{{2}}{GAP})[0-9]{{3}}{HYPHEN}[0-9]{{2}}{HYPHEN}[0-9]{{2}}(?!\w)",
    rf"(?<!\w)\([0-9]{{4}}\){SPACE}?[0-9]{{2}}{HYPHEN}[0-9]{{2}}{HYPHEN}[0-9]{{2}}(?!\w)",
    r"(?<!\w)\([2-9][0-9]{2}\) ?[2-9][0-9]{2}-[0-9]{4}(?!\w)",
    r"(?<![\w+.,-])[2-9][0-9]{2}(?P<dot>[.-])[2-9][0-9]{2}(?P=dot)[0-9]{4}(?!\w)",
)

_CARD = (
    r"(?<!\w)(?:(?:2[2-7]|35|[456][0-9])[0-9]{2}(?P<gap>[ -]?)[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)"
    r"(?:[0-9]{4}(?P=gap)[0-9]{3}|[0-9]{4})|3[47][0-9]{2}[ -]?[0-9]{6}[ -]?[0-9]{5})(?!\w)"
)

_KEYS = (
    r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{20,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|AIza[A-Za-z0-9_-]{30,}|[0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|\Z)"
)
_KEY_GATE = (
    r"(?:sk-|gh[pousr]_|github_pat_|glpat-|hf_|xox[abeoprs]-|A[KS]IA|AIza|[0-9]:|eyJ)[A-Za-z0-9_-]{8}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_SECRET_WORD = r"(?:(?ai:token|key|secret|password|passwd|pwd|bearer)s?|(?i:токен|ключ|парол|секрет)[а-яё]{0,3})"
_PASSWORD_WORD = r"(?:(?ai:password|passwd|pwd)|(?i:парол)[а-яё]{1,3})"
_SECRET_GAP = r"""(?:["'`]?[ \n]{0,2}(?:[:=—–-]|is|это)[ \n]{0,2}["'`]?|[ \n]["'`]?)"""

_STREET = (
    rf"(?:(?i:ул|пр-т|просп|пер|б-р|наб|пр-д|пл|ш)\.{SPACE}?|(?:(?i:ул|пр-т|б-р|пр-д)|(?i:улиц|набережн)[а-яё]{{1,3}}"
    rf"|(?i:проспект|бульвар|шоссе|проезд|площад)[а-яё]{{0,2}}|(?i:переул)[а-яё]{{2,4}}){SPACE})"
)
_SHORT_STREET = rf"(?:(?i:ул|пр-т|просп|пер|б-р|наб|пр-д)\.{SPACE}?|(?i:ул|улица|проспект|переулок){SPACE})"
_LAST_STREET = r"(?:(?i:ул|пер|б-р|наб|пр-т|пр-д|просп|ш)\.?|(?i:улица|проспект|переулок|бульвар|шоссе|проезд|площадь))"
_NAME = rf"(?:(?:[а-яё]+|[0-9]{{1,2}}-[а-яё]{{1,2}}){SPACE})?[А-ЯЁ][а-яё-]+(?:{SPACE}[А-ЯЁ][а-яё-]+){{0,2}}"
_HOUSE_WORD = rf"(?:(?i:д|дом)\.?{SPACE}?)"
_HOUSE = (
    r"[0-9]{1,4}(?![0-9])(?:[А-Яа-яё](?![А-Яа-яё]))?(?:[/к][0-9]{1,3})?"
    rf"(?:,?{SPACE}?(?i:корпус|корп|стр|к|кв|квартира|подъезд|этаж|оф)\.?{SPACE}?[0-9]{{1,4}}){{0,4}}(?![0-9])"
    rf"(?![.,][0-9]|{SPACE}?(?i:%|₽|руб|мин|час|лет|год|раз|дн|чел|градус|мес|недел|метр|км|янв|фев|мар|апр|мая|июн|июл"
    r"|авг|сен|окт|ноя|дек))"
)
_ADDRESSES = (
    rf"(?<!\w){_STREET}{_NAME}(?:,{SPACE}?|{SPACE}){_HOUSE_WORD}?{_HOUSE}",
    rf"(?<!\w){_SHORT_STREET}[а-яё-]+(?:{SPACE}[а-яё-]+)?(?:,{SPACE}?|{SPACE}){_HOUSE_WORD}{_HOUSE}",
    rf"(?<!\w)[А-ЯЁ][а-яё-]+(?:ая|ий|ый|ой){SPACE}{_LAST_STREET}(?:,{SPACE}?|{SPACE}){_HOUSE_WORD}?{_HOUSE}",
)
_ENGLISH_ADDRESS = (
    rf"(?<![\w.,:/-])[0-9]{{1,5}}[A-Za-z]?{SPACE}(?:[NSEW]\.?{SPACE})?(?:[A-Z][a-z'’-]+{SPACE}){{1,3}}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Terrace)\b"
    rf"(?:\.?,?{SPACE}(?:Apt|Apartment|Flat|Unit|Suite)\.?{SPACE}#?[0-9]{{1,5}}[A-Za-z]?\b)?"
)

RULES = (
    Rule("email", r"(?<![\w.%+-])[\w.%+-]+@(?:[\w-]+\.)+[^\W\d_]{2,}", r"\S@\S"),
    *(
        Rule("phone", pattern, rf"\+{GAP}*[0-9](?:{GAP}*[0-9]){{7}}|[0-9](?:[.]?{GAP}*[0-9]){{9}}", is_phone)
        for pattern in _PHONES
    ),
    Rule("card", _CARD, "[0-9](?:[ -]?[0-9]){12}", is_card),
    Rule("iban", rf"(?<!\w)(?:{_IBAN})", "[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11}", is_iban),
    Rule("ip", r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\w|\.[0-9])", r"(?:[0-9]{1,3}\.){3}[0-9]", is_personal_ip),
    Rule("ip", r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", ":[0-9A-Fa-f]{0,4}:", is_personal_ip),
    Rule("url_credentials", r"://(?P<value>[^\s/@:]*:[^\s/@]+@(?:[\w-]+\.)*[\w-]+(?::[0-9]+)?)", r"://[^@]*@"),
    Rule("key", _KEYS, _KEY_GATE),
    Rule(
        "key",
        rf"{_SECRET_WORD}{_SECRET_GAP}(?P<value>{BASE64}{{16,}}={{0,2}})",
        rf"(?i:token|key|secret|passw|pwd|bearer|токен|ключ|парол|секрет)(?s:.*){BASE64}{{16}}",
        is_random,
    ),
    Rule(
        "key",
        rf"{_PASSWORD_WORD}[ ]?[:=][ ]?(?P<value>[!-Z\\^-~]{{5,}}[!#-&*+\-0-9=?-Z^-z~])",
        r"(?i:passw|pwd|парол)(?s:.*)[:=]",
        is_password,
    ),
    Rule(
        "passport_ru",
        r"(?:(?i:паспорт|сери)|(?ai:passport))[^0-9]{0,30}"
        rf"(?P<value>(?<![0-9])[0-9]{{2}}{SPACE}?[0-9]{{2}}[^0-9]{{0,12}}[0-9]{{6}})(?!\w)",
        "(?i:паспорт|сери|passport)(?s:.*)[0-9]{6}",
    ),
    Rule("passport_ru", rf"(?<!\w)[0-9]{{2}}{SPACE}?[0-9]{{2}}{SPACE}?№{SPACE}?[0-9]{{6}}(?!\w)", "№.?[0-9]{6}"),
    Rule("inn_ru", r"(?<![\w+.,-])[0-9]{12}(?!\w)", "[0-9]{12}", is_inn),
    Rule("inn_ru", r"(?:(?i:инн)|(?ai:inn))[^\w\n]{1,3}(?P<value>[0-9]{10}(?!\w))", "[0-9]{10}", is_inn),
    Rule(
        "snils_ru",
        r"(?<![\w+.,-])[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}(?!\w)",
        "[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}",
        is_snils,
    ),
    Rule("snils_ru", r"(?:(?i:снилс)|(?ai:snils))[^\w\n]{1,3}(?P<value>[0-9]{11}(?!\w))", "[0-9]{11}", is_snils),
    *(
        Rule("address", pattern, r"(?i:ул|пр-|просп|пер|б-р|наб|площад|проезд|бульвар|шоссе|пл\.|ш)[^\n]*[0-9]")
        for pattern in _ADDRESSES
    ),
    Rule("address", _ENGLISH_ADDRESS, rf"[0-9][A-Za-z]?{SPACE}[A-Z]"),
    Rule("telegram_handle", r"(?<![\w@%+])@[A-Za-z][A-Za-z0-9_]{4,31}(?![\w/@])", "@[A-Za-z][A-Za-z0-9_]{4}"),
    Rule(
        "telegram_handle",
        r"(?<!\w)(?:https?://)?t\.me/(?!(?:joinchat|addstickers|addemoji|share|proxy|socks)\b)[A-Za-z][A-Za-z0-9_]{4,31}(?!\w)",
        r"t\.me/[A-Za-z]",
    ),
)
KINDS = tuple(dict.fromkeys(rule.kind for rule in RULES))

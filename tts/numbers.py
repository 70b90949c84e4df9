"""Numbers as words, as a voice reads them: `at 9` becomes `at nine`, in the language of the text."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?:[  ]\d{3})+(?![\w])|(?<![\w])\d+(?:[.,]\d+)?(?![\w])")


def spelled(text: str, language: str) -> str:
    """Whole and decimal numbers in words; what the library cannot say in that language stays."""
    from num2words import num2words

    def word(found: re.Match[str]) -> str:
        number = re.sub(r"[  ]", "", found[0]).replace(",", ".")
        try:
            return str(num2words(float(number) if "." in number else int(number), lang=language))
        except (NotImplementedError, OverflowError, ValueError, TypeError):
            return found[0]

    return _NUMBER.sub(word, text)

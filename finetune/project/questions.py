"""Questions from templates: templates/questions_ru.json and questions_en.json hold the words.

Which of several templates is used follows from the seed and the place, so it is the same in every run.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES = ("ru", "en")
RUSSIAN_SHARE = 0.3  # of the letters; names of programs stand in Latin letters in Russian text too

_CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
_LETTER = re.compile(r"[^\W\d_]")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def language_of(text: str) -> str:
    """ru or en."""
    letters = len(_LETTER.findall(text))
    return "ru" if letters and len(_CYRILLIC.findall(text)) >= RUSSIAN_SHARE * letters else "en"


def filled(template: str, values: dict[str, Any]) -> str:
    """`template` with {name} replaced by its value; what has no value stays as it is."""
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), template)


def number_for(*parts: object) -> int:
    """A number that only these parts decide."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "replace")).digest()[:8], "big")


class Questions:
    """language: ru, en, or auto for that of the text asked about."""

    def __init__(self, language: str, seed: int):
        self.language = language
        self.seed = seed
        self._words = {
            name: json.loads((TEMPLATES / f"questions_{name}.json").read_text(encoding="utf-8")) for name in LANGUAGES
        }

    def language_for(self, text: str) -> str:
        return language_of(text) if self.language == "auto" else self.language

    def ask(self, about: str, text: str, place: str, **values: object) -> str:
        """A question of the kind `about` in the language of `text`."""
        templates = self._words[self.language_for(text)]["questions"][about]
        return filled(templates[number_for(self.seed, about, place) % len(templates)], values)

    def word(self, name: str, text: str) -> str:
        """A word of an answer, such as `Fields:`, in the language of `text`."""
        return str(self._words[self.language_for(text)]["words"][name])

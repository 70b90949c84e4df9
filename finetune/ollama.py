"""An Ollama Modelfile: the model's chat template in Ollama's language (Go templates), found by rendering dialogs.

See https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SYSTEM, QUESTION, ANSWER, NEXT = "<<S>>", "<<Q>>", "<<A>>", "<<N>>"  # stand where the texts go


@dataclass(frozen=True)
class Pieces:
    """What the template writes around the texts. first: before a dialog's first question if there is no system text;
    system: before a system text; after_system: from there to the question; answer: from a question to its answer;
    lead: what the model says before the answer's text, a blank perhaps; again: from an answer to the next question;
    end: after an answer, to stop at."""

    first: str
    system: str
    after_system: str
    answer: str
    lead: str
    again: str
    end: str


def pieces(tokenizer: Any) -> Pieces | None:
    """None for a template that cannot be taken apart so: one without a system text, or one that changes the texts."""

    def render(*turns: tuple[str, str], prompt: bool = False) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))

    system, question, answer = ("system", SYSTEM), ("user", QUESTION), ("assistant", ANSWER)
    try:
        first, _, after_question = render(question, prompt=True).partition(QUESTION)
        before, _, rest = render(system, question, prompt=True).partition(SYSTEM)
        after_system, _, _ = rest.partition(QUESTION)
        before_answer, _, rest = render(question, answer, ("user", NEXT), prompt=True).partition(ANSWER)
        lead = before_answer.partition(QUESTION)[2].removeprefix(after_question)
        again = rest.partition(NEXT)[0]
        end = render(question, answer).partition(ANSWER)[2].strip()
        found = Pieces(first, before, after_system, after_question, lead, again, end)
        whole = render(system, question, answer, ("user", NEXT), prompt=True)
    except Exception:  # a template may refuse a role with any error
        return None
    composed = f"{before}{SYSTEM}{after_system}{QUESTION}{after_question}{lead}{ANSWER}{again}{NEXT}{after_question}"
    parts = (first, before, after_system, after_question, lead, again, end)
    return found if composed == whole and end and not any("{{" in part or '"""' in part for part in parts) else None


def modelfile(source: str, tokenizer: Any, adapter: str = "") -> str:
    """source: what FROM names; adapter: a LoRA in GGUF beside it."""
    lines = [f"FROM {source}", *([f"ADAPTER {adapter}"] if adapter else [])]
    found = pieces(tokenizer)
    if found is None:
        lines.append("# The chat template has no exact counterpart in Ollama's language; the one in the file is used.")
        return "\n".join(lines) + "\n"
    template = (
        '{{ $last := "" }}{{ range .Messages }}'
        f'{{{{ if eq .Role "system" }}}}{found.system}{{{{ .Content }}}}'
        f'{{{{ else if eq .Role "user" }}}}{{{{ if eq $last "system" }}}}{found.after_system}'
        f'{{{{ else if eq $last "assistant" }}}}{found.again}{{{{ else }}}}{found.first}{{{{ end }}}}'
        f"{{{{ .Content }}}}{found.answer}"
        f'{{{{ else if eq .Role "assistant" }}}}{found.lead}{{{{ .Content }}}}{{{{ end }}}}'
        "{{ $last = .Role }}{{ end }}"
    )
    stops = dict.fromkeys([found.end, tokenizer.eos_token or found.end])
    lines += [f'TEMPLATE """{template}"""', *(f'PARAMETER stop "{stop}"' for stop in stops)]
    return "\n".join(lines) + "\n"

"""A conversation with the base model and adapters side by side: kept on disk, rated, turned into dataset rows.

    finetune/conversations/{id}.json    who took part, every question, every answer, the ratings

Which there are, and how one is gone on with: kept_conversations.py.
Each partner remembers its own answers and none of the others'.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engines.config.chat import ChatConfig
from engines.contract import statefiles
from engines.contract.errors import UserError
from engines.data.added_rows import add_rows
from engines.data.datasets import Dataset, Datasets
from engines.servers.chat import Message, Model
from engines.weights.adapters import Adapter
from engines.workspace import Workspace

GOOD, BAD = "good", "bad"
BASE = "base"


@dataclass
class Turn:
    """One question and the answers of all partners; None where one has not answered (yet)."""

    question: str
    answers: list[str | None]
    ratings: list[str | None]
    sent: list[bool] = field(default_factory=list)  # to a dataset


def folder(workspace: Workspace) -> Path:
    return workspace.folder("finetune", "conversations")


class Conversation:
    """Ask, rate, keep. Everything said is on disk as soon as a partner has finished its answer."""

    def __init__(
        self,
        workspace: Workspace,
        model: Model,
        partners: list[Adapter | None],
        config: ChatConfig,
        earlier: tuple[str, list[Turn]] | None = None,
    ):
        """earlier: id and turns of a kept conversation, to go on with it."""
        new_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self.id, self.turns = earlier if earlier is not None else (new_id, [])
        self.path = folder(workspace) / f"{self.id}.json"
        self.model = model
        self.partners = partners
        self.config = config

    @property
    def titles(self) -> list[str]:
        return [adapter.name if adapter else BASE for adapter in self.partners]

    def ask(self, question: str) -> Generator[tuple[int, str], None, None]:
        """Yield (partner's number, piece) as the partners answer, one after the other.

        Closed before its end it breaks the answer off; what was said until then is kept.
        """
        count = len(self.partners)
        turn = Turn(question, [None] * count, [None] * count, [False] * count)
        self.turns.append(turn)
        for number, adapter in enumerate(self.partners):
            pieces: list[str] = []
            whole = False
            try:
                with contextlib.closing(self.model.ask(adapter, self._messages(number), self.config)) as coming:
                    for piece in coming:
                        pieces.append(piece)
                        yield number, piece
                whole = True
            finally:
                turn.answers[number] = "".join(pieces).strip() if pieces or whole else None
                self.save()

    def _messages(self, partner: int) -> list[Message]:
        """The dialog as this partner knows it, ending with the last question."""
        messages = [{"role": "system", "content": self.config.system}] if self.config.system else []
        for turn in self.turns:
            answer = turn.answers[partner]
            messages.append({"role": "user", "content": turn.question})
            if answer is not None:
                messages.append({"role": "assistant", "content": answer})
            elif turn is not self.turns[-1]:  # it was interrupted there
                messages.pop()
        return messages

    def rate(self, partner: int, rating: str | None, turn: int = -1) -> None:
        """good, bad or None, for an answer that is given. Raises UserError where there is none."""
        if not self.turns or not 0 <= partner < len(self.partners) or self.turns[turn].answers[partner] is None:
            raise UserError("usage", "there is no such answer to rate", "Ask something first.")
        self.turns[turn].ratings[partner] = rating
        self.save()

    def save(self) -> None:
        document: dict[str, Any] = {
            "id": self.id, "partners": self.titles, "options": self.config.model_dump(),
            "base_model": self.model.base_model, "answered_by": self.model.where,
            "turns": [asdict(turn) for turn in self.turns],
        }  # fmt: skip
        statefiles.write_json(self.path, document)

    # --- to a dataset ---

    def send_good(self, datasets: Datasets, name: str) -> tuple[Dataset, int]:
        """Add what was rated good to the dataset `name`, once. Returns it and the number of new rows.

        A row is a run of good answers in a row: what was not rated good is not learned, not even as context.
        """
        rows = []
        for partner in range(len(self.partners)):
            for run in self._good_runs(partner):
                rows.append(self._row(run, partner))
        if not rows:
            raise UserError("usage", "no answer is rated good that is not in a dataset already", "Rate some first.")
        dataset = add_rows(datasets, name, rows)
        for turn in self.turns:
            turn.sent = [sent or rating == GOOD for sent, rating in zip(turn.sent, turn.ratings, strict=True)]
        self.save()
        return dataset, len(rows)

    def _good_runs(self, partner: int) -> list[list[Turn]]:
        runs: list[list[Turn]] = [[]]
        for turn in self.turns:
            if turn.ratings[partner] == GOOD and not turn.sent[partner]:
                runs[-1].append(turn)
            else:
                runs.append([])
        return [run for run in runs if run]

    def _row(self, run: list[Turn], partner: int) -> dict[str, Any]:
        messages = [{"role": "system", "content": self.config.system}] if self.config.system else []
        for turn in run:
            messages.append({"role": "user", "content": turn.question})
            messages.append({"role": "assistant", "content": turn.answers[partner] or ""})
        return {"messages": messages, "conversation": f"chat-{self.id}"}

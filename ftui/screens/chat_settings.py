"""Who takes part in a conversation, and how answers are drawn; with the command that does the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.config.chat import ChatConfig
from engines.weights.adapters import Adapter
from ftui import command_line
from ftui.screens.form import FormScreen
from ftui.widgets.config_form import ConfigForm, FieldSpec

BASE = "base"


class ChatSettingsScreen(FormScreen[tuple[list[Adapter | None], ChatConfig]]):
    """Answers with the partners and the parameters. there: the adapters that may take part."""

    def __init__(self, home: Path, partners: list[Adapter | None], there: Sequence[Adapter], config: ChatConfig):
        base_model = next((adapter.base_model for adapter in partners if adapter is not None), None)
        self.there: dict[str, Adapter | None] = {BASE: None}
        self.there |= {item.name: item for item in there if item.complete and base_model in (None, item.base_model)}
        help = f"With commas between; of this base model: {', '.join(self.there)}"
        spec = FieldSpec("partners", "Partners", help, "", "list", (), "")
        names = [BASE if adapter is None else adapter.name for adapter in partners]
        super().__init__("A new conversation", ConfigForm(ChatConfig, ChatConfig(), {spec: names}))
        self.home = home
        self.config = config

    def on_mount(self) -> None:
        self.form.fill(ChatConfig(), self.config)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(self.form.extras["partners"]))

    def problem(self) -> str:
        unknown = next((name for name in self.names if name not in self.there), None)
        if unknown is not None:
            return f"{unknown} is no adapter of this base model"
        return self.form.problem if self.names else "name at least one partner"

    def command(self) -> str:
        partners = [None if name == BASE else name for name in self.names]
        return command_line.chat(self.home, partners, self.form.differences)

    def answer(self) -> tuple[list[Adapter | None], ChatConfig] | None:
        config = self.form.config
        return None if config is None else ([self.there[name] for name in self.names], config)

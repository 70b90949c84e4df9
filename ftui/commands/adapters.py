"""`ftui adapters …`: which there are, which is active."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from engines.contract.errors import EXIT_FAILED, UserError
from engines.servers.activation import Outcome
from engines.weights.adapter_transfer import export_adapter, import_adapter
from ftui import adapter_table
from ftui.console import Common, note, say, say_json, table

adapters = App(name="adapters", help="The trained adapters and the active one.", help_format="plaintext")


def _told(common: Common, value: dict[str, Any], text: str) -> int:
    say_json(value) if common.json else say(text)
    return 0


@adapters.command(name="list")
def list_adapters(
    *,
    sort: Annotated[str, Parameter(help=", ".join(adapter_table.SORTS))] = adapter_table.DEFAULT_SORT,
    filter: Annotated[
        str, Parameter(help="Only those whose name, dataset, base model, tags or notes hold these words")
    ] = "",
    common: Common | None = None,
) -> int:
    """All adapters, the active one marked ●, incomplete ones ✗.

    For example:

      ftui adapters list --sort eval-loss --filter "faq good"
    """
    common = common or Common()
    found = adapter_table.arranged(common.engine().adapters.list(), sort, filter)
    if common.json:
        say_json([adapter.as_dict() for adapter in found])
        return 0
    empty = f"no adapter holds {filter!r}" if filter else "no adapter yet; train one: ftui llm train"
    table(adapter_table.HEADINGS, [adapter_table.cells(adapter) for adapter in found], empty)
    return 0


@adapters.command
def show(name: str, /, *, common: Common | None = None) -> int:
    """The card of an adapter: what it was made from, its figures, notes and tags."""
    common = common or Common()
    adapter = common.engine().adapters.get(name)
    if common.json:
        say_json(adapter.as_dict())
        return 0
    for title, value in adapter_table.card(adapter):
        say(f"{title + ':':<12}{value}")
    return 0


@adapters.command
def rename(name: str, new_name: str, /, *, common: Common | None = None) -> int:
    """Give an adapter another name; its weights stay what and where they are."""
    common = common or Common()
    adapter = common.engine().activation.rename(name, new_name)
    return _told(common, adapter.as_dict(), f"{name} is now {adapter.name}")


@adapters.command
def copy(name: str, new_name: str, /, *, common: Common | None = None) -> int:
    """Make a second adapter with the same weights and card."""
    common = common or Common()
    adapter = common.engine().adapters.copy(name, new_name)
    return _told(common, adapter.as_dict(), f"{adapter.name} is a copy of {name}")


@adapters.command(name="note")
def edit_note(
    name: str, text: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, common: Common | None = None
) -> int:
    """Write a note on an adapter's card in place of the one there; "" removes it.

    For example:

      ftui adapters note me-v2 "too chatty, good on dates"
    """
    common = common or Common()
    return _told(common, common.engine().adapters.note(name, text).as_dict(), f"noted on {name}")


@adapters.command
def tag(
    name: str,
    tags: Annotated[list[str] | None, Parameter(help="Tags to put on")] = None,
    /,
    *,
    remove: Annotated[list[str] | None, Parameter(help="A tag to take off; may be repeated")] = None,
    common: Common | None = None,
) -> int:
    """Put tags on an adapter, or take them off.

    For example:

      ftui adapters tag me-v2 good faq --remove draft
    """
    common = common or Common()
    adapter = common.engine().adapters.tag(name, tags or (), remove or ())
    return _told(common, adapter.as_dict(), f"{name}: {' '.join(adapter.tags) or 'no tags'}")


@adapters.command(name="import")
def take_in(
    source: Annotated[Path, Parameter(help="A folder that peft saved an adapter in, or a zip archive of one")],
    /,
    *,
    name: Annotated[str | None, Parameter(help="What it is called here; default: like the folder or archive")] = None,
    base_model: Annotated[
        str | None, Parameter(help="Its base model, where the adapter does not name one that is here")
    ] = None,
    common: Common | None = None,
) -> int:
    """Take in an adapter from elsewhere. Only safetensors are taken, and only if they fit the base model.

    Whether they do is read from the model's files; of one that is not on this machine it is said that it was not.

    For example:

      ftui adapters import ~/Downloads/support-bot.zip --name support --base-model Qwen/Qwen2.5-7B-Instruct
    """
    common = common or Common()
    engine = common.engine()
    adapter = import_adapter(
        engine.adapters, engine.models, source.expanduser(), name=name, base_model=base_model,
        tell=lambda text: note(f"! {text}"),
    )  # fmt: skip
    return _told(common, adapter.as_dict(), f"{adapter.name} is here; its base model is {adapter.base_model}")


@adapters.command
def export(
    name: str,
    target: Annotated[Path, Parameter(help="A new folder, or a new .zip")],
    /,
    *,
    common: Common | None = None,
) -> int:
    """Write an adapter to a folder or a .zip that peft, vLLM and others load as it is.

    For example:

      ftui adapters export me-v2 me-v2.zip
    """
    common = common or Common()
    adapter = common.engine().adapters.get(name)
    written = export_adapter(adapter, target.expanduser().absolute())
    return _told(common, {"adapter": name, "written": str(written)}, f"{name} is in {written}")


@adapters.command
def activate(name: str, /, *, common: Common | None = None) -> int:
    """Make an adapter the active one, in finetune/adapters/.active and at every server of `ftui serve-llm status`.

    The servers load it while they go on answering; a llama-server starts again for one that it does not have
    yet, after what it is asked already is answered. If one of them cannot, nothing changes.
    """
    common = common or Common()
    engine = common.engine()
    if not common.json and any(server.kind == "llama-server" for server in engine.serving.servers()):
        note("a llama-server starts again for an adapter that it does not have yet: some seconds")
    return _report(common, engine.activation.activate(name))


@adapters.command(name=["base", "deactivate"])
def base(*, common: Common | None = None) -> int:
    """Back to the base model, at every server too: no adapter is active."""
    common = common or Common()
    return _report(common, common.engine().activation.deactivate())


def _report(common: Common, outcome: Outcome) -> int:
    if common.json:
        say_json(outcome.as_dict())
        return 0 if outcome.done else EXIT_FAILED
    for result in outcome.results:
        say(f"{'✓' if result.ok else '✗'} {result.server}: {result.text}  ({result.seconds:.2f} s)")
    active = f"{outcome.active} is active" if outcome.active else "the base model is used, no adapter is active"
    say(f"● {active}" if outcome.done else f"✗ nothing has changed: {active}")
    return 0 if outcome.done else EXIT_FAILED


@adapters.command
def delete(
    name: str,
    /,
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], help="Delete it even if it is active", negative="")] = False,
    common: Common | None = None,
) -> int:
    """Move an adapter to the trash; `ftui adapters restore NAME` brings it back."""
    common = common or Common()
    activation = common.engine().activation
    try:
        where = activation.delete(name, even_if_active=yes)
    except UserError as error:
        if error.code == "conflict" and not yes:
            error.next_step = "Add --yes to delete it all the same, or run `ftui adapters base` first."
        raise
    if common.json:
        say_json({"deleted": name, "trash": str(where)})
    else:
        say(f"{name} is in the trash; bring it back: ftui adapters restore {name}")
    return 0


@adapters.command
def restore(name: str, /, *, common: Common | None = None) -> int:
    """Bring back the adapter of that name that was deleted last."""
    common = common or Common()
    engine = common.engine()
    adapter = engine.adapters.restore(engine.workspace.newest_trashed("adapter", name))
    say_json(adapter.as_dict()) if common.json else say(f"{adapter.name} is back")
    return 0

"""`ftui llm generate`: a project folder becomes a dataset of questions and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from engines.config.generate import GenerateConfig
from engines.config.job import build
from engines.data.generate import generate as start
from ftui import format
from ftui.commands.llm import ConfigFile, merged, report_place
from ftui.commands.train import llm
from ftui.console import Common, finish, follow, say


@llm.command
def generate(
    *,
    from_project: Annotated[Path, Parameter(help="The project's folder")],
    github: Annotated[str | None, Parameter(help="Add a public repository; the same as --github-url")] = None,
    branch: Annotated[str | None, Parameter(help="Its branch; the same as --github-branch")] = None,
    name: Annotated[str | None, Parameter(help="The dataset's name in the workspace")] = None,
    output: Annotated[Path | None, Parameter(help="Write exactly this file instead of one in the workspace")] = None,
    preview: Annotated[bool, Parameter(help="Say what an endpoint would be asked, and end", negative="")] = False,
    config_file: ConfigFile = None,
    flags: Annotated[GenerateConfig | None, Parameter(name="*")] = None,
    common: Common | None = None,
) -> int:
    """Make a dataset of a project: its documents, FAQ, sales scripts and code, without any network.

    An endpoint is contacted only with --endpoint; its key is read from the environment variable that
    --endpoint-api-key-variable names. A repository is cloned only with --github.

    For example:

      ftui llm generate --from-project ~/my-shop --name shop
      ftui llm generate --from-project . --no-use-code --language ru --output shop.jsonl
      ftui llm generate --from-project . --github https://github.com/owner/name --branch main
      ftui llm generate --from-project . --endpoint http://127.0.0.1:8000/v1 --endpoint-model local --preview
    """
    common = common or Common()
    engine = common.engine()
    config = merged(GenerateConfig(), config_file, flags)
    given = {"github_url": github, "github_branch": branch}
    config = build(GenerateConfig, config.model_dump() | {key: value for key, value in given.items() if value})
    run = start(engine, from_project, config, name=name, output=output, preview=preview)
    status, progress = follow(engine, run, quiet=common.json, stop_on_interrupt=True)

    def report(result: dict[str, Any]) -> None:
        report_generation(result)
        if not preview:
            report_place(run, result)

    return finish(run, status, progress, as_json=common.json, report=report)


def report_generation(report: dict[str, Any]) -> None:
    """What a generation counted, for people."""
    kinds = {kind: figures["written"] for kind, figures in (report.get("kinds") or {}).items() if figures["written"]}
    shares = ", ".join(f"{format.count(count)} {kind}" for kind, count in kinds.items())
    say(f"dialogs:  {format.count(report.get('dialogs'))} ({shares})")
    files = report.get("files") or {}
    say(f"files:    {format.count(files.get('read'))} read of {format.count(files.get('found'))}")
    dropped = report.get("dropped") or {}
    if dropped:
        say("left out: " + ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in dropped.items()))
    endpoint = report.get("endpoint")
    if endpoint:
        say(f"endpoint: {endpoint['requests']:,} requests, {endpoint['remembered']:,} answers remembered")
    asked = report.get("preview")
    if asked:
        say(
            f"preview:  {asked['requests']:,} requests, about {asked['prompt_tokens']:,} tokens to read and "
            f"{asked['completion_tokens']:,} to write; nothing was sent"
        )

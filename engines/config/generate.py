"""The parameters of a dataset made from a project."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from engines.config.job import JobConfig, unit


class GenerateConfig(JobConfig):
    """What becomes a dataset of a project folder. Without an endpoint nothing leaves this machine."""

    use_sales: Annotated[
        bool, Field(title="Sales scripts", description="Scripts and briefs: files and folders named tz, sales, script")
    ] = True
    use_faq: Annotated[
        bool, Field(title="FAQ", description="Question and answer columns of CSV, JSON, SQLite; questions in Markdown")
    ] = True
    use_docs: Annotated[bool, Field(title="Documents", description="Sections of Markdown and text files")] = True
    use_escalation: Annotated[
        bool, Field(title="Handing over", description="Dialogs that hand over to a person, from editable templates")
    ] = True
    use_code: Annotated[bool, Field(title="Code", description="Functions, classes, fields, routes of Python files")] = (
        True
    )
    use_github: Annotated[
        bool, Field(title="Repository", description="Documents and code of the repository named below, if one is")
    ] = True
    github_url: Annotated[
        str,
        Field(title="Repository URL", description="A public one, over https; empty: none"),
    ] = ""
    github_branch: Annotated[str, Field(title="Branch", description="Of the repository; empty: its own default")] = ""
    language: Annotated[
        Literal["auto", "ru", "en"],
        Field(title="Language", description="Of the questions; auto: that of each section"),
    ] = "auto"
    max_per_source: Annotated[
        int,
        Field(
            title="Most per source",
            ge=1,
            json_schema_extra=unit("dialogs"),
            description="Dialogs from each kind of source; an endpoint's variants come on top",
        ),
    ] = 2000
    min_answer_characters: Annotated[
        int,
        Field(
            title="Shortest answer",
            ge=1,
            json_schema_extra=unit("characters"),
            description="Shorter ones are left out and counted",
        ),
    ] = 20
    seed: Annotated[
        int, Field(title="Seed", ge=0, le=2**32 - 1, description="Order, choice of templates, and what a limit leaves")
    ] = 42
    endpoint: Annotated[
        str,
        Field(
            title="Endpoint",
            description="Base URL of an OpenAI-compatible server for more variants; empty: templates only, offline",
        ),
    ] = ""
    endpoint_model: Annotated[str, Field(title="Its model", description="The model's name at the endpoint")] = ""
    endpoint_api_key_variable: Annotated[
        str,
        Field(
            title="Key variable",
            description="Name of the environment variable with the key, never the key itself; empty: no key",
        ),
    ] = ""
    variants_per_pair: Annotated[
        int,
        Field(
            title="Variants",
            ge=1,
            le=20,
            description="Asked of the endpoint for each pair: reworded questions, from 2 on also a longer dialog",
        ),
    ] = 3
    judge: Annotated[
        bool, Field(title="Judge", description="Ask the endpoint too whether each variant is supported by the section")
    ] = True
    max_requests: Annotated[
        int,
        Field(
            title="Most requests",
            ge=1,
            json_schema_extra=unit("requests"),
            description="Sent to the endpoint in one run, repeated ones included",
        ),
    ] = 1000

    @field_validator("github_url")
    @classmethod
    def _only_public_https(cls, value: str) -> str:
        if value and not re.fullmatch(
            r"https://[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?(/[A-Za-z0-9_~][A-Za-z0-9_.~-]*)+/?", value
        ):
            raise ValueError("must be https://host/owner/name, without a user, a password or a query")
        return value

    @field_validator("github_branch")
    @classmethod
    def _is_a_branch(cls, value: str) -> str:
        if value and (not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}", value) or ".." in value):
            raise ValueError("must be the name of a branch or a tag")
        return value

    @field_validator("endpoint")
    @classmethod
    def _is_a_base_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s@?#]*)?", value):
            raise ValueError("must be a base URL such as http://127.0.0.1:8000/v1, without a user or a query")
        return value

    @field_validator("endpoint_api_key_variable")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError("must be the name of an environment variable, not the key itself")
        return value

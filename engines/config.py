"""Every parameter of every job, once: the form, the flags, the JSON file and the docs come from here.

A field has a title (form label), a description (help), bounds, and where it applies a
`unit` in `json_schema_extra`. A parameter that stands here is obeyed by its script.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from engines.errors import UserError

EMBEDDED_MODEL = "embedded"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a model or a dataset
DEFAULT_GPU_MODEL = "Qwen/Qwen2.5-7B-Instruct"


class JobConfig(BaseModel):
    """Base of all parameter models: unknown names are an error, not a silence."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


Config = TypeVar("Config", bound=JobConfig)


def unit(name: str) -> dict[str, Any]:
    return {"unit": name}


class PrepareConfig(JobConfig):
    """How a chat export becomes dialogs."""

    owner_name: Annotated[
        str, Field(title="Owner", description="Whose messages are learned; empty: found by id in the export")
    ] = ""
    session_gap_minutes: Annotated[
        int,
        Field(
            title="Session gap",
            ge=1,
            le=60 * 24 * 30,
            json_schema_extra=unit("min"),
            description="A pause this long ends a conversation",
        ),
    ] = 180
    min_dialog_messages: Annotated[
        int,
        Field(title="Shortest dialog", ge=2, json_schema_extra=unit("turns"), description="Shorter ones are left out"),
    ] = 2
    max_dialog_length: Annotated[
        int,
        Field(
            title="Longest dialog", ge=2, json_schema_extra=unit("turns"), description="Longer ones are cut at a turn"
        ),
    ] = 20
    max_message_length: Annotated[
        int,
        Field(
            title="Longest message",
            ge=1,
            json_schema_extra=unit("characters"),
            description="Longer ones end at the last whole sentence that fits, and are counted",
        ),
    ] = 2000
    include_groups: Annotated[
        bool, Field(title="Group chats", description="Use groups too; each speaker's name opens the turn")
    ] = False
    include_forwards: Annotated[
        bool, Field(title="Forwards", description="What others forward stays in their turns; yours are never learned")
    ] = True
    system_prompt: Annotated[
        str, Field(title="System prompt", description="Opens each dialog of a chat; {contact} and {date} are filled in")
    ] = ""
    mode: Annotated[
        Literal["dialog", "conversational", "instruct"],
        Field(
            title="Mode",
            description="Whole dialogs; every answer with the turns before it; or single questions with their answers",
        ),
    ] = "dialog"
    window_turns: Annotated[
        int,
        Field(
            title="Window",
            ge=2,
            json_schema_extra=unit("turns"),
            description="Turns that a row of the conversational mode has at most, its answer included",
        ),
    ] = 6
    redact: Annotated[
        bool,
        Field(
            title="Redact", description="Replace phones, addresses, cards, keys and the like by marks such as [phone]"
        ),
    ] = False
    drop_duplicates: Annotated[bool, Field(title="Drop duplicates", description="Keep the first of equal rows")] = False
    near_duplicates: Annotated[
        float,
        Field(
            title="Near-duplicates",
            ge=0,
            le=1,
            description="Leave out rows this alike to an earlier one (0.85: seven words in eight); 0: keep them",
        ),
    ] = 0.0
    languages: Annotated[
        list[str], Field(title="Languages", description="Codes such as en, ru of the rows to keep; empty: all")
    ] = []
    min_tokens: Annotated[
        int, Field(title="Shortest row", ge=0, json_schema_extra=unit("tokens"), description="Estimated; 0: any")
    ] = 0
    max_tokens: Annotated[
        int, Field(title="Longest row", ge=0, json_schema_extra=unit("tokens"), description="Estimated; 0: any")
    ] = 0
    blocked_words: Annotated[
        list[str], Field(title="Blocked words", description="Rows with one of these words are left out")
    ] = []
    drop_one_word_answers: Annotated[
        bool, Field(title="One-word answers", description="Leave out rows whose answers are all a single word")
    ] = False
    columns: Annotated[
        list[str],
        Field(title="Columns", description="Of a table: user=COLUMN, assistant=COLUMN, system=COLUMN, label=COLUMN"),
    ] = []
    template: Annotated[
        str, Field(title="Template", description="Of a table: text with columns as {name}, all of it learned")
    ] = ""
    split: Annotated[
        float,
        Field(
            title="Held out",
            ge=0,
            description="Below 1 a share, from 1 a number of conversations, written to …_eval.jsonl; 0: no split",
        ),
    ] = 0.0
    split_seed: Annotated[int, Field(title="Split seed", ge=0, description="Another number holds out others")] = 0
    hub_split: Annotated[
        str, Field(title="Hub split", description="Which part of a dataset of the hub, such as train or train[:4096]")
    ] = "train"
    strict: Annotated[
        bool, Field(title="Strict", description="Fail at the first record that cannot be read instead of counting it")
    ] = False
    transcribe_voice: Annotated[
        bool, Field(title="Voice notes", description="Turn voice notes into text (not available yet: they are counted)")
    ] = False

    @field_validator("transcribe_voice")
    @classmethod
    def _voice_is_not_ready(cls, value: bool) -> bool:
        if value:
            raise ValueError("voice notes cannot be transcribed yet; leave it off, they are skipped and counted")
        return value


class TrainConfig(JobConfig):
    """How an adapter is trained. The defaults are the preset Standard."""

    base_model: Annotated[
        str,
        Field(
            title="Base model",
            min_length=1,
            description="auto (Qwen2.5-7B-Instruct on a GPU, embedded on a CPU), a folder, a .gguf or a hub name",
        ),
    ] = "auto"
    lora_rank: Annotated[int, Field(title="LoRA rank", ge=1, le=1024, description="Size of the adapter")] = 8
    lora_alpha: Annotated[
        float, Field(title="LoRA alpha", gt=0, description="Strength of the adapter; scale is alpha / rank")
    ] = 16
    lora_dropout: Annotated[
        float, Field(title="LoRA dropout", ge=0, lt=1, description="Share of adapter inputs dropped in training")
    ] = 0.05
    target_modules: Annotated[
        list[str],
        Field(title="Target modules", min_length=1, description="Layers that get an adapter, or all-linear"),
    ] = ["q_proj", "k_proj", "v_proj"]
    batch_size: Annotated[
        int, Field(title="Batch size", ge=1, json_schema_extra=unit("rows"), description="Rows in memory at once")
    ] = 1
    gradient_accumulation_steps: Annotated[
        int,
        Field(
            title="Accumulation",
            ge=1,
            json_schema_extra=unit("batches"),
            description="Batches per optimizer step; batch size × accumulation rows are learned from at once",
        ),
    ] = 64
    learning_rate: Annotated[float, Field(title="Learning rate", gt=0, le=1, description="Peak, after the warm-up")] = (
        2e-4
    )
    num_epochs: Annotated[
        float, Field(title="Epochs", gt=0, le=1000, description="How often the whole dataset is gone through")
    ] = 1
    max_steps: Annotated[
        int,
        Field(
            title="Step limit",
            ge=0,
            json_schema_extra=unit("steps"),
            description="End after this many optimizer steps; 0: the epochs decide",
        ),
    ] = 0
    max_seq_length: Annotated[
        int,
        Field(
            title="Max length",
            ge=16,
            json_schema_extra=unit("tokens"),
            description="Longer dialogs lose whole turns at their end, counted and reported",
        ),
    ] = 768
    warmup_ratio: Annotated[
        float, Field(title="Warm-up", ge=0, le=1, description="Share of the steps in which the learning rate rises")
    ] = 0.03
    weight_decay: Annotated[float, Field(title="Weight decay", ge=0, le=1, description="AdamW weight decay")] = 0.01
    gradient_checkpointing: Annotated[
        bool, Field(title="Gradient checkpointing", description="Less memory for about a third more time")
    ] = True
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "fp32"],
        Field(
            title="Precision",
            description="auto: bf16 where the device computes it fast, else fp16 on a GPU, fp32 on a CPU",
        ),
    ] = "auto"
    quantization: Annotated[
        Literal["auto", "nf4", "none"],
        Field(
            title="Quantization", description="nf4: the base model in 4 bit (QLoRA); auto: nf4 on a GPU, none on a CPU"
        ),
    ] = "auto"
    logging_steps: Annotated[
        int,
        Field(title="Log every", ge=1, json_schema_extra=unit("steps"), description="How often figures are reported"),
    ] = 1
    save_steps: Annotated[
        int,
        Field(
            title="Save and evaluate every",
            ge=1,
            json_schema_extra=unit("steps"),
            description="How often a checkpoint is written and the held-out part is evaluated",
        ),
    ] = 200
    eval_share: Annotated[
        float,
        Field(
            title="Held-out share",
            ge=0,
            le=0.5,
            description="Share of the conversations kept for evaluation, the same ones in every run",
        ),
    ] = 0.1
    seed: Annotated[
        int, Field(title="Seed", ge=0, le=2**32 - 1, description="Order of rows, dropout, first weights")
    ] = 42
    device: Annotated[
        str,
        Field(title="Device", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N"),
    ] = "auto"


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


PRESETS: dict[str, TrainConfig] = {
    "quick": TrainConfig(lora_rank=4, lora_alpha=8, gradient_accumulation_steps=32, num_epochs=1, max_seq_length=512),
    "standard": TrainConfig(),
    "thorough": TrainConfig(
        lora_rank=16, lora_alpha=32, gradient_accumulation_steps=128, num_epochs=2, max_seq_length=1024
    ),
    "demo": TrainConfig(
        base_model=EMBEDDED_MODEL,
        gradient_accumulation_steps=4,
        learning_rate=1e-3,
        num_epochs=1.5,
        max_seq_length=512,
        gradient_checkpointing=False,
        save_steps=25,
        device="cpu",
    ),
}


def preset(name: str) -> TrainConfig:
    """A copy of the preset `name`. Raises UserError for an unknown one."""
    try:
        return PRESETS[name.lower()].model_copy(deep=True)
    except KeyError:
        raise UserError("usage", f"there is no preset {name!r}", f"Presets: {', '.join(PRESETS)}.") from None


def build(model: type[Config], values: dict[str, Any]) -> Config:
    """Validate `values` into `model`; every wrong field in one UserError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError("usage", explain(error), "Correct the named parameters.") from None


def explain(error: ValidationError) -> str:
    """One line for all that pydantic found: `lora_rank: must be … (got 0)`."""
    parts = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "value"
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{field}: {message[:1].lower()}{message[1:]} (got {str(item['input'])[:60]!r})")
    return "; ".join(parts)

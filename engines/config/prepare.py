"""The parameters of a preparation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engines.config.job import JobConfig, unit


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
            description="Of chats: a pause this long ends a conversation",
        ),
    ] = 180
    join_messages: Annotated[
        bool,
        Field(
            title="Join messages",
            description="Consecutive messages of one side make one turn; off: each stays a turn of its own",
        ),
    ] = True
    thread_replies: Annotated[
        bool,
        Field(
            title="Follow replies",
            description="A reply goes on with the conversation of the message it replies to, however long ago",
        ),
    ] = False
    min_dialog_messages: Annotated[
        int,
        Field(title="Shortest dialog", ge=2, json_schema_extra=unit("turns"), description="Shorter ones are left out"),
    ] = 2
    max_dialog_length: Annotated[
        int,
        Field(
            title="Longest dialog",
            ge=2,
            json_schema_extra=unit("turns"),
            description="Of chats, Claude and ChatGPT: longer ones are cut before a question; rows stay whole",
        ),
    ] = 20
    max_message_length: Annotated[
        int,
        Field(
            title="Longest message",
            ge=1,
            json_schema_extra=unit("characters"),
            description="Of chats: longer ones end at the last whole sentence that fits, and are counted",
        ),
    ] = 2000
    include_groups: Annotated[
        bool, Field(title="Group chats", description="Use groups too; each speaker's name opens the turn")
    ] = False
    include_forwards: Annotated[
        bool, Field(title="Forwards", description="What others forward stays in their turns; yours are never learned")
    ] = True
    media_markers: Annotated[
        bool,
        Field(
            title="Media markers",
            description="What others send without a text stands as [photo], [voice message], …; off: it is left out",
        ),
    ] = False
    system_prompt: Annotated[
        str,
        Field(
            title="System prompt",
            description="Opens each dialog of chats, Claude and ChatGPT; {contact} and {date} are filled in",
        ),
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
            description="Leave out rows (if conversational, dialogs) this alike to an earlier one; 0.85: 7 words in 8, "
            "0: keep all",
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
        float | None,
        Field(
            title="Held out",
            ge=0,
            description="Below 1 a share, from 1 a number of conversations, written to …_eval.jsonl; 0: no split; "
            "unset: a tenth in the workspace, none beside a file of your own",
        ),
    ] = None
    split_seed: Annotated[int, Field(title="Split seed", ge=0, description="Another number holds out others")] = 0
    hub_split: Annotated[
        str, Field(title="Hub split", description="Which part of a dataset of the hub, such as train or train[:4096]")
    ] = "train"
    processes: Annotated[
        int,
        Field(
            title="Processes",
            ge=0,
            le=64,
            description="That read one Telegram export together; 0: one below 100 MB, else as many as there are cores",
        ),
    ] = 0
    strict: Annotated[
        bool,
        Field(title="Strict", description="Fail at the first record or message that cannot be read, not count it"),
    ] = False
    transcribe_voice: Annotated[
        bool, Field(title="Voice notes", description="Of Telegram: written down by Whisper, each once")
    ] = False
    whisper_model: Annotated[
        str,
        Field(
            title="Whisper model",
            description="For voice notes: tiny, base, small, medium, large-v3, turbo, or a folder with one for "
            "faster-whisper; empty: as `ftui tts transcribe` was last told, else large-v3",
        ),
    ] = ""
    language: Annotated[
        str,
        Field(
            title="Spoken language",
            pattern=r"^(auto|[a-z]{2,3})?$",
            description="Of voice notes: auto, or ru, en, de …; empty: as `ftui tts transcribe` was last told",
        ),
    ] = ""

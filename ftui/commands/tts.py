"""`ftui tts …`: from recordings to a voice. Each group of commands has a file of its own."""

from __future__ import annotations

from cyclopts import App

tts = App(name="tts", help="Voices: samples, transcripts, training, speaking.", help_format="plaintext")
tts.command("ftui.commands.samples:samples", name="samples")
tts.command("ftui.commands.transcribe:transcribe", name="transcribe")

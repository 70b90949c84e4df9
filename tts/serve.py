"""Speech over HTTP, as OpenAI's API has it, on this machine alone.

    python -m tts.serve --voices FOLDER [--port 8020] [--kept 1]

    POST /v1/audio/speech   {"input": "Hello.", "voice": "NAME" or "NAME:EPOCH", "response_format": "wav"}
    GET  /v1/models         the voices, each with its epochs
    GET  /health            {"status": "ok", "loaded": […]}

A request's voice is loaded when it is first asked for, the last `kept` ones stay in memory: voices are switched
while the server runs, and a voice trained meanwhile is there at once. wav and pcm are sent sentence by sentence.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from engines.contract.errors import UserError
from engines.contract.events import emit
from engines.contract.run_protocol import run_script, stop_requested, write_result
from engines.voice.voice_files import Voice, read_voice
from engines.workspace import is_real_dir
from tts import qwen, speaking

HOST = "127.0.0.1"
MAX_BODY = 1 << 20
MAX_CHARACTERS = 20_000
FORMATS = {"wav": "audio/wav", "pcm": "audio/pcm", "flac": "audio/flac", "mp3": "audio/mpeg", "opus": "audio/ogg"}
ENDLESS = 0xFFFFFFFF  # a WAV's length, where it is not known yet
_NAME = re.compile(r"(?P<name>\w[\w.+-]{0,99})(?::(?P<epoch>\d{1,4}))?")


class BadRequest(Exception):
    """What a request got wrong; status: of HTTP."""

    def __init__(self, text: str, status: int = 400):
        super().__init__(text)
        self.status = status


class Speakers:
    """The voices in a folder; one speaks at a time."""

    def __init__(self, folder: Path, device: str, kept: int):
        self.folder, self.device, self.kept = folder, device, kept
        self.loaded: OrderedDict[Path, Any] = OrderedDict()
        self.lock = threading.Lock()

    def list(self) -> list[Voice]:
        entries = [entry for entry in self.folder.iterdir() if _NAME.fullmatch(entry.name) and is_real_dir(entry)]
        return [voice for voice in map(read_voice, sorted(entries)) if voice.epochs]

    def find(self, wanted: str) -> tuple[Voice, Path]:
        """The voice and the folder of the epoch asked for."""
        match = _NAME.fullmatch(wanted)
        known = {voice.name: voice for voice in self.list()}
        if match is None or match["name"] not in known:
            raise BadRequest(f"there is no voice {wanted[:100]!r}; there are: {', '.join(known) or 'none'}", 404)
        voice = known[match["name"]]
        try:
            return voice, voice.epoch(int(match["epoch"]) if match["epoch"] else None).path
        except UserError as error:
            raise BadRequest(error.cause, 404) from None

    def speak(self, wanted: str, text: str) -> Iterator[Any]:
        """The sentences' sound, [N] each, as they are spoken."""
        voice, folder = self.find(wanted)
        with self.lock:
            model = self._model(folder)
            for sentence in speaking.pieces(text):
                yield speaking.with_voice(model, sentence, speaking.frame_limit(sentence, voice.speed)).sound

    def _model(self, folder: Path) -> Any:
        if folder not in self.loaded:
            while len(self.loaded) >= self.kept:
                self.loaded.popitem(last=False)
            precision, attention = (
                qwen.choose_precision("auto", self.device),
                qwen.choose_attention("auto", self.device),
            )
            began = time.monotonic()
            self.loaded[folder] = qwen.load(folder, self.device, precision, attention, kind="custom_voice")
            seconds = time.monotonic() - began
            emit("phase", name="voice", text=f"{folder.parent.name}, {folder.name}: loaded in {seconds:.1f} s")
        self.loaded.move_to_end(folder)
        return self.loaded[folder]


def read_request(body: bytes) -> tuple[str, str, str]:
    """(text, voice, format). Raises BadRequest."""
    try:
        wanted = json.loads(body)
        text, voice = wanted["input"], wanted["voice"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadRequest('the body must be JSON with "input" and "voice"') from None
    form = wanted.get("response_format", "wav")
    if not isinstance(text, str) or not isinstance(voice, str) or form not in FORMATS:
        raise BadRequest(f"input and voice must be texts, response_format one of {', '.join(FORMATS)}")
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(f"the input has {len(text)} characters, {MAX_CHARACTERS} are allowed", 413)
    if not speaking.pieces(text):
        raise BadRequest("the input has no words")
    if wanted.get("speed", 1.0) != 1.0:
        raise BadRequest("speed cannot be changed: the voice has the speaker's own")
    return text, voice, form


def wav_head() -> bytes:
    """Of 24 kHz mono 16-bit sound of unknown length (RIFF, "fmt " and "data" chunks)."""
    rate = qwen.SAMPLE_RATE
    fields = ((1, 2), (1, 2), (rate, 4), (2 * rate, 4), (2, 2), (16, 2))  # PCM, channels, rate, bytes/s, block, bits
    form = b"".join(value.to_bytes(size, "little") for value, size in fields)
    unknown = ENDLESS.to_bytes(4, "little")
    return b"RIFF" + unknown + b"WAVEfmt " + len(form).to_bytes(4, "little") + form + b"data" + unknown


def to_pcm(sound: Any) -> bytes:
    import numpy

    return (numpy.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()


def whole_file(sounds: list[Any], form: str) -> bytes:
    """flac, mp3 or opus, by libsndfile."""
    import numpy
    import soundfile

    container, subtype = {"flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None), "opus": ("OGG", "OPUS")}[form]
    buffer = io.BytesIO()
    soundfile.write(buffer, numpy.concatenate(sounds), qwen.SAMPLE_RATE, format=container, subtype=subtype)
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """One request. A page in a browser cannot call it: foreign hosts and other kinds of bodies are refused."""

    protocol_version = "HTTP/1.1"
    speakers: Speakers
    timeout = 60

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, act: Any) -> None:
        try:
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
            if host not in (HOST, "localhost", "[::1]"):
                raise BadRequest("only this machine may ask", 403)
            act()
        except BadRequest as error:
            self.close_connection = True
            self._send_json({"error": {"message": str(error), "type": "invalid_request_error"}}, error.status)
        except UserError as error:
            self._send_json({"error": {"message": f"{error.cause}. {error.next_step}", "type": error.code}}, 500)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True

    def _get(self) -> None:
        if self.path == "/health":
            loaded = [f"{path.parent.name}/{path.name}" for path in self.speakers.loaded]
            self._send_json({"status": "ok", "loaded": loaded})
        elif self.path == "/v1/models":
            voices = self.speakers.list()
            data = [
                {"id": voice.name, "object": "model", "created": int(voice.created_at), "owned_by": "you",
                 "best_epoch": voice.best_epoch, "epochs": [epoch.number for epoch in voice.epochs]}
                for voice in voices
            ]  # fmt: skip
            self._send_json({"object": "list", "data": data})
        else:
            raise BadRequest(f"there is nothing at {self.path[:100]}", 404)

    def _post(self) -> None:
        if self.path != "/v1/audio/speech":
            raise BadRequest(f"there is nothing at {self.path[:100]}", 404)
        if self.headers.get_content_type() != "application/json":
            raise BadRequest("send application/json", 415)
        length = self.headers.get("Content-Length") or ""
        if not length.isdigit() or int(length) > MAX_BODY:
            raise BadRequest(f"Content-Length is missing or above {MAX_BODY}", 413)
        text, voice, form = read_request(self.rfile.read(int(length)))
        self.speakers.find(voice)
        sounds = self.speakers.speak(voice, text)
        if form in ("wav", "pcm"):
            self._stream(sounds, form)
        else:
            self._send(whole_file(list(sounds), form), FORMATS[form])

    def _stream(self, sounds: Iterator[Any], form: str) -> None:
        first = next(sounds)  # what goes wrong before the first sentence is a proper answer
        self.send_response(200)
        self.send_header("Content-Type", FORMATS[form])
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if form == "wav":
            self._chunk(wav_head())
        self._chunk(to_pcm(first))
        for sound in sounds:
            self._chunk(to_pcm(sound))
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _send(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send_json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are private; errors come as answers."""


def serve(arguments: argparse.Namespace) -> None:
    device = qwen.choose_device(arguments.device)
    qwen.set_threads()
    qwen.import_qwen()
    handler = type("VoiceHandler", (Handler,), {"speakers": Speakers(arguments.voices, device, arguments.kept)})
    try:
        server = ThreadingHTTPServer((HOST, arguments.port), handler)
    except OSError as error:
        raise UserError(
            "conflict", f"port {arguments.port} cannot be used: {error.strerror}", "Choose another with --port."
        ) from None
    address = f"http://{HOST}:{server.server_port}"
    emit("phase", name="serving", text=f"voices at {address}/v1/audio/speech")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while not stop_requested():
        time.sleep(0.2)
    server.shutdown()
    write_result("done", address=address)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speech over HTTP on this machine.")
    parser.add_argument("--voices", type=Path, required=True, help="the folder with the voices")
    parser.add_argument("--port", type=int, default=8020, help="0: any free one")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--kept", type=int, default=1, help="voices in memory")
    serve(parser.parse_args())


if __name__ == "__main__":
    run_script(main)

"""Is the hub there? Real sockets: one that listens, one that nobody has, one that does not answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from engines.contract import hub


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield found


def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_hub_that_listens(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", url(listener))
    assert "cannot be reached: Connection refused" in hub.why_unreachable()
    listener.listen()
    assert hub.why_unreachable() == ""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in hub.why_unreachable()


def test_behind_a_proxy_the_proxy_must_listen(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    assert hub.why_unreachable().startswith("https://hub.invalid cannot be reached: ")
    listener.listen()
    monkeypatch.setenv("https_proxy", url(listener))
    assert hub.why_unreachable() == ""


def test_no_answer_is_not_waited_for(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    monkeypatch.setenv("HF_ENDPOINT", url(listener))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(8)]
    for one in waiting:  # until nobody more is let in
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
    began = time.monotonic()
    assert "cannot be reached" in hub.why_unreachable() and time.monotonic() - began < 3
    for one in waiting:
        one.close()

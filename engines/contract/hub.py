"""Whether the Hugging Face hub can be reached: asked shortly, for its own client tries for most of a minute."""

from __future__ import annotations

import os
import socket
import threading
from urllib.parse import urlsplit

SECONDS = 5.0
PORTS = {"http": 80, "https": 443}


def why_unreachable() -> str:
    """Why nothing can be fetched from the hub, in words; empty if a connection can be made."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE forbids to ask the hub"
    url = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    found: list[str] = []
    # Looking up a name has no time limit of its own, so it is left behind if it takes too long.
    asking = threading.Thread(target=lambda: found.append(_connection_error(url)), daemon=True)
    asking.start()
    asking.join(SECONDS)
    error = found[0] if found else f"no answer within {SECONDS:.0f} s"
    return f"{url} cannot be reached: {error}" if error else ""


def _connection_error(url: str) -> str:
    """What connecting to `url`, or to the proxy in front of it, ends with; empty: it works."""
    from urllib.request import getproxies, proxy_bypass  # slow to import, and few ask the hub

    place = urlsplit(url)
    proxy = None if proxy_bypass(place.hostname or "") else getproxies().get(place.scheme)
    if proxy:
        place = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        socket.create_connection((place.hostname, place.port or PORTS.get(place.scheme, 80)), SECONDS).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""

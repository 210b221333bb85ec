"""Questions to the running tiers over HTTP, as any customer could ask them. A tier that is away answers no."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

# No proxy: the environment's is for the world outside, the tiers are on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_NEVER = datetime.fromtimestamp(0, UTC)


def answers(url: str) -> bool:
    """Whether a GET is answered with 200 within two seconds."""
    return _get(url) is not None


def newest_reading(api: str, key: str) -> datetime:
    """Time of the newest reading that REST serves; 1970 when there is none."""
    text = _get(f"{api}/v1/latest?core=true&limit=1000", key)
    if text is None:
        return _NEVER
    items: list[dict[str, Any]] = json.loads(text)["items"]
    return max((datetime.fromisoformat(item["ts"]) for item in items if item.get("ts")), default=_NEVER)


def _get(url: str, key: str | None = None) -> bytes | None:
    request = urllib.request.Request(url)  # noqa: S310 - our own loopback addresses
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with _opener.open(request, timeout=2) as answer:
            body: bytes = answer.read()
            return body if answer.status == 200 else None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except OSError:
        return None

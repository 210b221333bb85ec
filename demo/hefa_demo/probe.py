"""Questions to the running tiers over HTTP, as any customer could ask them. A tier that is away answers no."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

# No proxy: the environment's is for the world outside, the tiers are on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_NEVER = datetime.fromtimestamp(0, UTC)


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    return _get(url) is not None


def ask(url: str, key: str) -> Any:
    """The JSON of an answer with 200; None otherwise."""
    text = _get(url, key)
    return None if text is None else json.loads(text)


def newest_reading(api: str, key: str) -> datetime:
    """Time of the newest reading that REST serves; 1970 when there is none."""
    items = _items(f"{api}/v1/latest?core=true&limit=1000", key)
    return max((datetime.fromisoformat(item["ts"]) for item in items if item.get("ts")), default=_NEVER)


def a_gauge_of_each_edge(api: str, key: str) -> list[str]:
    """One regularly measured tag of each gateway that has any."""
    edges = [str(item["edge"]) for item in _items(f"{api}/v1/edges", key)]
    found = []
    for edge in edges:
        gauges = _items(f"{api}/v1/tags?kind=gauge&core=true&edge={quote(edge)}&limit=20", key)
        found += [str(tag["tag"]) for tag in gauges if tag.get("period_s")][:1]
    return found


def covered(api: str, key: str, tags: Sequence[str], start: datetime, end: datetime) -> tuple[int, int]:
    """How many of the quarters of an hour (whole hours, beyond a week) from `start` to `end` REST can sum up, and of
    how many, over all `tags`. (0, 0) when there is nothing to ask; (0, 1) when nobody answers.
    """
    step, seconds = ("15m", 900) if end - start < timedelta(days=7) else ("1h", 3600)
    first, last = (math.ceil(start.timestamp() / seconds) + 1) * seconds, end.timestamp() // seconds * seconds
    if last <= first or not tags:
        return 0, 0
    query = [("tag", tag) for tag in tags] + [("step", step), ("agg", "mean")]
    query += [("from", _rfc3339(first)), ("to", _rfc3339(last))]
    text = _get(f"{api}/v1/series?{urlencode(query)}", key)
    if text is None:
        return 0, 1
    coverage = [share for series in json.loads(text)["series"] for share in series["coverage"]]
    return sum(share > 0.9 for share in coverage), len(coverage)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _items(url: str, key: str) -> list[dict[str, Any]]:
    text = _get(url, key)
    return [] if text is None else list(json.loads(text)["items"])


def _get(url: str, key: str | None = None) -> bytes | None:
    request = urllib.request.Request(url)  # noqa: S310 - our own loopback addresses
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with _opener.open(request, timeout=10) as answer:
            body: bytes = answer.read()
            return body if answer.status == 200 else None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except OSError:
        return None

"""The topic grammar: `hefa/v1/{edge}/{channel}` and the retained state of ingest.

The place of a tag in the plant is metadata of the tag, never a topic to parse: renaming an area
moves no data, and one pattern per gateway is enough for the broker's access list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from hefa_contract.rejection import Code, Rejected

Channel = Literal["data", "event", "ack", "err", "status", "cmd", "cmd_ack"]
CHANNELS: tuple[str, ...] = get_args(Channel)

PREFIX = "hefa/v1"
EDGE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# `state` and `ingest` would collide with our own topics and users; `api` is the edge of REST writes.
RESERVED = frozenset({"state", "ingest", "api"})

STATUS_FILTER = f"{PREFIX}/+/status"
INGEST_STATE_FILTER = f"{PREFIX}/state/ingest/+"


@dataclass(frozen=True, slots=True)
class Topic:
    """A gateway's topic, taken apart. Cannot be invalid: `parse` and `topic` check."""

    edge: str
    channel: str

    def __str__(self) -> str:
        return f"{PREFIX}/{self.edge}/{self.channel}"


def shared(group: str) -> tuple[str, str]:
    """The filters under which the workers of a group divide among themselves what gateways send.

    Two shares, because the embedded broker takes a second filter under one name for the first, and is silent on it.
    """
    return f"$share/{group}/{PREFIX}/+/data", f"$share/{group}-event/{PREFIX}/+/event"


def is_edge_name(name: str) -> bool:
    """Tell whether a gateway may be called so: `[a-z0-9][a-z0-9_-]{0,62}` and not reserved."""
    return EDGE_NAME.fullmatch(name) is not None and name not in RESERVED


def parse(text: str) -> Topic:
    """Take a gateway's topic apart.

    Raises:
        Rejected: TOPIC_INVALID, with what is wrong and what is allowed.
    """
    parts = text.split("/")
    if len(parts) != 4 or parts[:2] != ["hefa", "v1"]:
        raise Rejected(Code.TOPIC_INVALID, f"topic {text[:200]!r} is not {PREFIX}/<edge>/<channel>")
    if not is_edge_name(parts[2]):
        raise Rejected(
            Code.TOPIC_INVALID,
            f"edge {parts[2][:80]!r} is not {EDGE_NAME.pattern} or is reserved ({', '.join(sorted(RESERVED))})",
        )
    if parts[3] not in CHANNELS:
        raise Rejected(Code.TOPIC_INVALID, f"channel {parts[3][:80]!r} is none of {', '.join(CHANNELS)}")
    return Topic(parts[2], parts[3])


def topic(edge: str, channel: Channel) -> str:
    """Compose a gateway's topic. Raises Rejected(TOPIC_INVALID) for a name that is not allowed."""
    return str(parse(f"{PREFIX}/{edge}/{channel}"))


def ingest_state(worker: str) -> str:
    """Topic of a worker's retained state; `worker` is a name of the same form as an edge's."""
    if EDGE_NAME.fullmatch(worker) is None:
        raise ValueError(f"worker name {worker!r} is not {EDGE_NAME.pattern}")
    return f"{PREFIX}/state/ingest/{worker}"

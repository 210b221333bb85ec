"""Why data is refused: one list of codes, one exception.

A code is part of the contract: gateways, quarantine, REST and docs show the same word.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The reason a message or a reading is refused; the value is what travels."""

    TOPIC_INVALID = "TOPIC_INVALID"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    PAYLOAD_NOT_UTF8 = "PAYLOAD_NOT_UTF8"
    JSON_SYNTAX = "JSON_SYNTAX"
    JSON_DEPTH = "JSON_DEPTH"
    JSON_DUPLICATE_KEY = "JSON_DUPLICATE_KEY"
    UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION"
    SCHEMA = "SCHEMA"
    EPOCH_REUSE = "EPOCH_REUSE"
    TAG_UNKNOWN = "TAG_UNKNOWN"
    TAG_QUOTA = "TAG_QUOTA"
    TAG_FOREIGN = "TAG_FOREIGN"
    TS_FUTURE = "TS_FUTURE"
    TS_TOO_OLD = "TS_TOO_OLD"
    TS_NOT_INTEGER = "TS_NOT_INTEGER"
    VALUE_TYPE = "VALUE_TYPE"
    VALUE_RANGE = "VALUE_RANGE"
    VALUE_NAN = "VALUE_NAN"


class Rejected(Exception):
    """A whole message is refused, for good: the same bytes will be refused again.

    `epoch` and `seq` are set where they could be read, so that the refusal can be acknowledged;
    where they are None only an `err` by correlation data can retire the message.
    """

    def __init__(self, code: Code, detail: str, epoch: str | None = None, seq: int | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.epoch = epoch
        self.seq = seq

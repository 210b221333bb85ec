"""JSON as the contract wants it: every way to be wrong has its own code.

The fast decoder (msgspec) keeps the last of two equal keys and answers one kind of error. This is
the slow, exact reader that is asked when the fast one is in doubt.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from hefa_contract.rejection import Code, Rejected


def loads(payload: bytes) -> Any:
    """Parse bytes to plain Python values. A number beyond double precision comes back as ±inf.

    Raises:
        Rejected: PAYLOAD_NOT_UTF8, JSON_SYNTAX (NaN and Infinity literals too), JSON_DEPTH,
            JSON_DUPLICATE_KEY (at any depth).
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(Code.PAYLOAD_NOT_UTF8, f"byte {error.start} is not UTF-8") from None
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise Rejected(Code.JSON_SYNTAX, f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise Rejected(Code.JSON_DEPTH, "the message is nested deeper than the parser can follow") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Rejected(Code.JSON_DUPLICATE_KEY, f"key {key[:80]!r} occurs twice in one object")
            seen.add(key)
    return found


def _constant(literal: str) -> NoReturn:
    raise Rejected(Code.JSON_SYNTAX, f"{literal} is not JSON; send null with quality 0")


def _integer(digits: str) -> int | float:
    # Python refuses to read integers of thousands of digits; no double holds more than 309.
    return int(digits) if len(digits) < 310 else math.copysign(math.inf, -1 if digits[0] == "-" else 1)

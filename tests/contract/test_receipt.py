"""Answers and states: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefa_contract import receipt
from hefa_contract.rejection import Code, Rejected

ANSWERS = [
    (receipt.Ack(epoch="e1", ok=[1, 2], rejected=[receipt.Rejection(2, Code.VALUE_TYPE, 17)]), receipt.decode_ack),
    (receipt.Err(correlation="e1:2", code=Code.JSON_SYNTAX, detail="cut off"), receipt.decode_err),
    (receipt.Err(correlation=None, code=Code.JSON_SYNTAX, detail="cut off"), receipt.decode_err),
    (receipt.IngestState(accepting=True, incarnation="i", ts=1), receipt.decode_ingest_state),
    (receipt.Status(online=False, ts=1), receipt.decode_status),
]


@pytest.mark.parametrize(("answer", "decode"), ANSWERS, ids=lambda value: type(value).__name__)
def test_an_answer_survives_the_round_trip(answer: receipt.Answer, decode: Callable[[bytes], object]) -> None:
    payload = receipt.encode(answer)
    assert json.loads(payload)["v"] == 1
    assert decode(payload) == answer


def test_the_ack_on_the_wire_is_the_documented_one() -> None:
    ack = receipt.Ack(
        epoch="7c1f",
        ok=[48211, 48213],
        rejected=[receipt.Rejection(48213, Code.VALUE_TYPE, 17), receipt.Rejection(48214, Code.EPOCH_REUSE)],
    )
    assert json.loads(receipt.encode(ack)) == {
        "v": 1,
        "epoch": "7c1f",
        "ok": [48211, 48213],
        "rejected": [{"seq": 48213, "i": 17, "code": "VALUE_TYPE"}, {"seq": 48214, "code": "EPOCH_REUSE"}],
    }


def test_another_version_is_refused() -> None:
    with pytest.raises(Rejected) as caught:
        receipt.decode_status(b'{"v":2,"online":true,"ts":1}')
    assert caught.value.code is Code.UNSUPPORTED_VERSION


@given(st.binary(max_size=60))
def test_no_bytes_crash_a_reader(payload: bytes) -> None:
    for decode in (receipt.decode_ack, receipt.decode_err, receipt.decode_ingest_state, receipt.decode_status):
        with pytest.raises(Rejected):
            decode(payload)

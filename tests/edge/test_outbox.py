"""The outbox on a real file: durable, bounded, never silent about a loss."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hefa_contract.envelope import Envelope, Events, Gap, decode
from hefa_contract.event import Note
from hefa_edge.outbox import Outbox, OutboxFull

BASE = 1_795_304_450_000_000


def envelope(n: int = 3, first: float = 1.0, tags: int = 1) -> Envelope:
    return Envelope(
        epoch="",
        seq=0,
        lane="live",
        made=BASE,
        base=BASE,
        tags=[f"A.B.C.t{k}" for k in range(tags)],
        tag=[k % tags for k in range(n)],
        dt=list(range(n)),
        value=[first + k for k in range(n)],
        quality=[192] * n,
    )


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_304_450.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path, clock: Clock) -> Iterator[Outbox]:
    box = Outbox(path, grace_s=100, clock=clock)
    yield box
    box.close()


def everything(outbox: Outbox) -> list:
    return [decode(item.payload).message for item in outbox.pending(0, outbox.last_seq, 10_000)]


def test_messages_are_numbered_from_one_and_keep_their_bytes(outbox: Outbox, path: Path) -> None:
    note = Events(epoch="", seq=0, made=BASE, events=[Note(ts=BASE, subject="A", text="hello")])
    assert outbox.append([envelope(), note]) == [1, 2]
    assert outbox.append([envelope()]) == [3]
    items = outbox.pending(0, 3, 10)
    assert [(item.seq, item.kind, item.readings) for item in items] == [(1, "data", 3), (2, "event", 0), (3, "data", 3)]
    assert [(m.epoch, m.seq) for m in everything(outbox)] == [(outbox.epoch, 1), (outbox.epoch, 2), (outbox.epoch, 3)]
    again = Outbox(path)
    assert again.epoch == outbox.epoch
    assert again.pending(0, 3, 10) == items
    assert again.depth == outbox.depth
    again.close()


def test_a_number_is_never_used_again(path: Path) -> None:
    for expected in range(1, 6):
        box = Outbox(path, grace_s=0)
        assert box.append([envelope()]) == [expected]
        box.retire([expected])
        while box.purge():
            pass
        assert box.pending(0, expected, 10) == []
        box.close()


def test_another_file_is_another_epoch(tmp_path: Path) -> None:
    boxes = [Outbox(tmp_path / name) for name in ("a", "b")]
    assert boxes[0].epoch != boxes[1].epoch
    for box in boxes:
        box.close()


def test_the_window_is_read_in_order(outbox: Outbox) -> None:
    outbox.append([envelope() for _ in range(10)])
    outbox.retire([2, 5])
    assert [item.seq for item in outbox.pending(0, 10, 4)] == [1, 3, 4, 6]
    assert [item.seq for item in outbox.pending(4, 7, 10)] == [6, 7]


def test_what_is_retired_stays_through_its_grace(outbox: Outbox, clock: Clock) -> None:
    outbox.append([envelope() for _ in range(50)])
    assert outbox.retire([*range(1, 51), 99]) == list(range(1, 51))
    assert outbox.retire([1]) == []
    assert outbox.depth.messages == outbox.depth.readings == outbox.depth.size == 0
    clock.now += 99
    assert outbox.purge() == 0
    clock.now += 2
    steps = []
    while step := outbox.purge():
        steps.append(step)
    assert sum(steps) == 50
    assert max(steps) <= 20


def test_a_restored_database_gets_the_grace_again(outbox: Outbox, clock: Clock) -> None:
    outbox.append([envelope() for _ in range(4)])
    before = outbox.pending(0, 4, 10)
    assert outbox.meet("first") == 0
    outbox.retire([1, 2, 3])
    assert outbox.meet("first") == 0
    assert outbox.meet("restored") == 3
    assert outbox.meet("restored") == 0
    assert outbox.pending(0, 4, 10) == before
    assert outbox.depth.messages == 4


def test_all_or_nothing(outbox: Outbox) -> None:
    outbox.append([envelope()])
    broken = envelope()
    broken.value = [object()]  # type: ignore[list-item]
    with pytest.raises(TypeError):
        outbox.append([envelope(), broken], mark=(1, 2))
    assert outbox.depth.messages == 1
    assert outbox.mark() is None
    assert outbox.append([envelope()]) == [2]  # nothing was written under 2


def test_the_mark_is_of_the_transaction_of_its_readings(outbox: Outbox, path: Path) -> None:
    outbox.append([envelope()], mark=(100, 200))
    outbox.append([], mark=(100, 300))
    again = Outbox(path)
    assert again.mark() == (100, 300)
    again.close()


def test_a_full_outbox_gives_up_the_oldest_and_tells(path: Path) -> None:
    box = Outbox(path, max_bytes=100_000, policy="drop_oldest")
    for k in range(300):
        box.append([envelope(50, first=k)])
    messages = everything(box)
    kept = {message.seq for message in messages if isinstance(message, Envelope)}
    gaps = [message for message in messages if isinstance(message, Gap)]
    told = {seq for gap in gaps for seq in range(gap.from_, gap.to + 1)}
    assert sum(item.readings for item in box.pending(0, box.last_seq, 10_000)) == 50 * len(kept)
    assert sum(gap.readings for gap in gaps) + 50 * len(kept) == 300 * 50  # every reading is here or told lost
    assert kept | told | {gap.seq for gap in gaps} == set(range(1, box.last_seq + 1))
    assert not kept & told
    assert max(kept) == max(seq for seq in range(1, box.last_seq + 1) if seq not in {gap.seq for gap in gaps})
    assert len(gaps) < 60  # several messages a gap
    assert {gap.reason for gap in gaps} == {"outbox_full"}
    assert box.depth.size < 110_000
    box.close()


def test_what_is_in_grace_gives_way_first(path: Path, clock: Clock) -> None:
    box = Outbox(path, max_bytes=100_000, policy="drop_oldest", clock=clock)
    box.append([envelope(50, first=-1.0)])  # nobody has this one
    for k in range(500):
        box.retire(box.append([envelope(50, first=k)]))
    assert [message.value[0] for message in everything(box)] == [-1.0]
    assert box.last_seq == 501
    box.close()
    assert path.stat().st_size < 300_000


def test_a_full_outbox_that_blocks_keeps_the_past_and_tells_what_it_missed(path: Path) -> None:
    box = Outbox(path, max_bytes=20_000, policy="block", grace_s=0)
    kept = 0
    with suppress(OutboxFull):
        while kept < 1000:
            box.append([envelope(50, first=kept)])
            kept += 1
    assert 5 < kept < 40
    box.skip(7)
    box.close()

    box = Outbox(path, max_bytes=20_000, policy="block", grace_s=0)  # the debt survives a restart
    box.skip(5)
    assert [message.value[0] for message in everything(box)] == [float(k) for k in range(kept)]
    box.retire(range(1, kept + 1))
    box.append([envelope(first=-1.0)])
    gap, last = everything(box)
    assert isinstance(gap, Gap)
    assert (gap.from_, gap.to, gap.seq, gap.readings) == (kept + 1, kept + 1, kept + 2, 12)
    assert last.value[0] == -1.0
    box.append([envelope()])
    assert sum(isinstance(message, Gap) for message in everything(box)) == 1  # told once
    box.close()


def test_a_new_epoch_carries_what_is_pending(outbox: Outbox) -> None:
    outbox.append([envelope(first=k) for k in range(150)])
    outbox.append([Events(epoch="", seq=0, made=BASE, events=[Note(ts=BASE, subject="A", text="hello")])])
    outbox.retire(range(1, 11))
    old, last = outbox.epoch, outbox.last_seq
    new = outbox.rebatch()
    assert new == outbox.epoch != old
    messages = everything(outbox)
    assert {message.epoch for message in messages} == {new}
    assert [message.value[0] for message in messages if isinstance(message, Envelope)] == [
        float(k) for k in range(10, 150)
    ]
    assert isinstance(messages[-1], Events)
    assert min(message.seq for message in messages) == last + 1
    assert outbox.meet("other") == 0  # the grace of the old epoch is gone


def test_a_loss_is_told_in_the_new_epoch_too(path: Path) -> None:
    box = Outbox(path, max_bytes=30_000)
    for k in range(100):
        box.append([envelope(50, first=k)])
    lost = sum(message.readings for message in everything(box) if isinstance(message, Gap))
    box.rebatch()
    gaps = [message for message in everything(box) if isinstance(message, Gap)]
    assert sum(gap.readings for gap in gaps) == lost
    assert all(gap.from_ == gap.to == gap.seq - 1 for gap in gaps)
    box.close()


@pytest.mark.parametrize(
    ("message", "parts", "lost"),
    [
        (envelope(5, tags=3), 2, 0),
        (envelope(1), 0, 1),
        (Events(epoch="", seq=0, made=BASE, events=[Note(ts=k, subject="A", text="x") for k in range(3)]), 2, 0),
        (Events(epoch="", seq=0, made=BASE, events=[Note(ts=1, subject="A", text="x")]), 0, 0),
    ],
)
def test_a_message_is_split_in_halves(outbox: Outbox, message: Envelope | Events, parts: int, lost: int) -> None:
    def content(messages: list) -> list:
        rows = []
        for one in messages:
            if isinstance(one, Envelope):
                rows += [(one.tags[t], one.base + dt, v) for t, dt, v in zip(one.tag, one.dt, one.value, strict=True)]
            elif isinstance(one, Events):
                rows += one.events
        return rows

    outbox.append([message])
    before = content(everything(outbox))
    assert outbox.split(1)
    *halves, gap = everything(outbox)
    assert len(halves) == parts
    assert content(halves) == (before if parts else [])
    assert (gap.from_, gap.to, gap.readings) == (1, 1, lost)
    assert not outbox.split(1)
    assert not outbox.split(77)


_WRITER = """
import sys
from pathlib import Path
from hefa_contract.envelope import Envelope
from hefa_edge.outbox import Outbox
box = Outbox(Path(sys.argv[1]), max_bytes=int(sys.argv[2]))
while True:
    k = box.last_seq
    seqs = box.append([Envelope(epoch="", seq=0, lane="live", made=1, base=1, tags=["A.B.C.d"], tag=[0], dt=[0], value=[k])])
    sys.stdout.write(f"{seqs[0]} {k}\\n")
    sys.stdout.flush()
"""


def test_what_append_returned_survives_kill_9(path: Path) -> None:
    """Five processes die in the middle of it; each number they told is there, with its value, and none is used twice."""
    chance = random.Random(7)
    told: dict[int, float] = {}
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, path, "1000000000"], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline()]
            time.sleep(chance.uniform(0.0, 0.15))
            os.kill(writer.pid, signal.SIGKILL)
            lines += writer.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                seq, value = line.split()
                assert int(seq) not in told
                told[int(seq)] = float(value)
    box = Outbox(path)
    kept = {message.seq: message.value[0] for message in everything(box)}
    box.close()
    assert len(told) > 50
    assert told.items() <= kept.items()
    assert len(kept) - len(told) <= 5  # at most the one in hand at each death
    assert set(kept) == set(range(1, max(kept) + 1))

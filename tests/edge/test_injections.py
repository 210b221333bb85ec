"""The file of injected faults."""

import subprocess
import sys
from pathlib import Path

import pytest

from hefa_edge.catalogue import FaultError
from hefa_edge.episodes import Episode
from hefa_edge.injections import MINUTE, Injections, next_minute


def episode(start: int, end: int | None = None, fault: str = "weak-acid") -> Episode:
    return Episode(fault=fault, target="HEFA-BT", severity=0.5, start=start, end=end)


def test_what_was_added_is_read_by_others(tmp_path: Path) -> None:
    site, hand = Injections(tmp_path), Injections(tmp_path)
    assert site.poll() == []
    hand.add(episode(MINUTE))
    hand.add(episode(2 * MINUTE, 5 * MINUTE))
    assert site.poll() == [episode(MINUTE), episode(2 * MINUTE, 5 * MINUTE)]


def test_clearing_ends_what_goes_on_and_forgets_what_had_not_begun(tmp_path: Path) -> None:
    file = Injections(tmp_path)
    for one in (episode(0), episode(0, MINUTE), episode(9 * MINUTE), episode(0, fault="poor-gas")):
        file.add(one)
    ended = file.clear(lambda one: one.fault == "weak-acid", 3 * MINUTE)
    assert ended == [episode(0), episode(9 * MINUTE)]
    assert file.read() == [episode(0, 3 * MINUTE), episode(0, MINUTE), episode(0, fault="poor-gas")]


WRITER = """
import sys
from pathlib import Path
from hefa_edge.episodes import Episode
from hefa_edge.injections import Injections
for k in range(10):
    start = int(sys.argv[2]) * 100 + k
    Injections(Path(sys.argv[1])).add(Episode(fault="weak-acid", target="HEFA-BT", severity=0.5, start=start))
"""


def test_writers_do_not_lose_each_others_faults(tmp_path: Path) -> None:
    """In processes of their own, which cannot import the tests."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)]) for number in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(Injections(tmp_path).read()) == 20


def test_a_file_that_cannot_be_read_changes_nothing_in_a_running_site(tmp_path: Path, caplog) -> None:
    site = Injections(tmp_path)
    site.add(episode(0))
    assert site.poll() == [episode(0)]
    (tmp_path / "faults.json").write_text('[{"fault": 1}]')
    assert site.poll() == [episode(0)]
    assert "stay as they were" in caplog.text
    with pytest.raises(FaultError, match="delete it"):
        site.read()


@pytest.mark.parametrize(("now", "minute"), [(0, 1), (57, 1), (58, 1), (59, 2), (60, 2)])
def test_the_next_minute_leaves_time_to_hear(now: int, minute: int) -> None:
    assert next_minute(now * 1_000_000) == minute * MINUTE

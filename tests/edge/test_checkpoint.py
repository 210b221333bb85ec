"""One file, replaced as a whole; one process at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from hefa_edge.checkpoint import Checkpoint, Occupied


def test_what_was_saved_last_is_read(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "edge")
    assert checkpoint.read() is None
    for k in range(3):
        checkpoint.save({"ts": k, "plant": {"amounts": {"a": 0.1 + k}}})
    assert checkpoint.read() == {"format": 1, "ts": 2, "plant": {"amounts": {"a": 2.1}}}
    assert sorted(path.name for path in (tmp_path / "edge").iterdir()) == ["lock", "plant.json"]
    checkpoint.release()


def test_a_save_that_died_half_way_changes_nothing(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save({"ts": 1})
    (tmp_path / "plant.new").write_bytes(b'{"format":1,"ts"')
    assert checkpoint.read() == {"format": 1, "ts": 1}
    checkpoint.save({"ts": 2})
    assert checkpoint.read() == {"format": 1, "ts": 2}
    checkpoint.release()


@pytest.mark.parametrize("text", ['{"format":99,"ts":1}', "", "{", "[]", "null"])
def test_what_is_no_checkpoint_of_ours_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "plant.json").write_text(text)
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.read() is None
    checkpoint.release()


def test_a_second_process_is_turned_away_until_the_first_is_gone(tmp_path: Path) -> None:
    first = Checkpoint(tmp_path)
    with pytest.raises(Occupied, match="--data-dir"):
        Checkpoint(tmp_path)
    first.release()
    code = "import sys; from pathlib import Path; from hefa_edge.checkpoint import Checkpoint; c = Checkpoint(Path(sys.argv[1]))"
    code += "; print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Occupied):
            Checkpoint(tmp_path)
        holder.kill()
    Checkpoint(tmp_path).release()

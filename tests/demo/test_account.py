"""Which account a server runs as. What root does with it is in test_postgres, on a real server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hefa_demo.account import NOBODY, OURS, Account, namespace, trespasser, unprivileged
from hefa_demo.process import Child


def test_a_normal_user_keeps_the_account_and_root_gives_it_up() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        account = unprivileged(Path("/bin/sh"), folder)
        assert account == (Account(uid=NOBODY) if os.geteuid() == 0 else OURS)
        folder.chmod(0o700)
        account = unprivileged(Path("/bin/sh"), folder)
        assert account.uid is None
        assert (account.prefix == ()) == (os.geteuid() != 0)


def test_a_command_goes_behind_the_prefix() -> None:
    assert Account(prefix=("unshare", "--")).command(["postgres", "-D", "x"]) == [
        "unshare",
        "--",
        "postgres",
        "-D",
        "x",
    ]


@pytest.mark.parametrize("account", [OURS, Account(uid=NOBODY)] if os.geteuid() == 0 else [OURS])
def test_own_reaches_everything_and_follows_no_link(tmp_path: Path, account: Account) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not ours to give")
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").touch()
    (folder / "link").symlink_to(outside)
    account.own(folder)
    for path in (folder, folder / "deep", folder / "deep" / "file", folder / "link"):
        assert path.lstat().st_uid == account.owner
    assert outside.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("kind", [namespace, trespasser])
def test_root_passes_a_closed_folder_as_nobody(tmp_path: Path, kind: Callable[[], Account | None]) -> None:
    """Both ways are for folders like root's home. A machine may lack one of them; it then is not chosen."""
    account = kind()
    if account is None:
        return
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    account.own(folder)
    program = f"id -u; touch {folder}/made; cat {folder}/made && echo read"
    child = Child("child", ["/bin/sh", "-c", program], tmp_path / "log", account=account)
    child.start()
    assert child.wait(30) == 0
    assert child.tail().split() == [str(NOBODY), "read"]
    assert (folder / "made").stat().st_uid == account.owner

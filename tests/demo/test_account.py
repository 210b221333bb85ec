"""Which account a server runs as. What root does with it is in test_postgres, on a real server."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from hefa_demo.account import NOBODY, OURS, Account, unprivileged


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

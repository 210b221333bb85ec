"""Which account a server of ours runs as.

PostgreSQL refuses to run as root, and a broker should not. A normal user's children run as that user. Root's run as
`nobody` where that account can reach the program and its folder. Where it cannot (both often lie in a home directory
closed to others), they run in a user namespace in which root itself is called `nobody`; where the system allows none
(most containers), as `nobody` with the one right to pass closed folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
_PROBE = 'test -x "$1" && shift && for folder in "$@"; do test -d "$folder" && cd "$folder" || exit 1; done'


class NoAccount(Exception):
    """Root cannot hand this program over to an unprivileged account; the text says what to do."""


@dataclass(frozen=True)
class Account:
    """How to start a program: the user id to change to (None keeps it), and the command to put in front.

    `acts_as` is the user id that files of this account have on disk, where the prefix changes it.
    """

    uid: int | None = None
    prefix: tuple[str, ...] = ()
    acts_as: int | None = None

    def command(self, argv: Sequence[str]) -> list[str]:
        return [*self.prefix, *argv]

    @property
    def owner(self) -> int:
        """The user id that files of this account have on disk."""
        return next((uid for uid in (self.acts_as, self.uid) if uid is not None), os.geteuid())

    def own(self, path: Path) -> None:
        """Give `path`, with all that is below it, to this account. Nothing to do where it has it already."""
        if path.lstat().st_uid == self.owner:
            return
        for folder, _, files in os.walk(path):
            for name in files:
                os.lchown(os.path.join(folder, name), self.owner, self.owner)
            os.lchown(folder, self.owner, self.owner)
        os.lchown(path, self.owner, self.owner)


OURS = Account()


def unprivileged(program: Path, *folders: Path) -> Account:
    """Return the account for `program` with its existing `folders`; raise NoAccount when root finds none."""
    if os.geteuid() != 0:
        return OURS
    if _nobody_reaches(program, *folders):
        return Account(uid=NOBODY)
    account = namespace() or trespasser()
    if account is None:
        raise NoAccount(
            f"running as root: the account nobody cannot reach {program} and {', '.join(map(str, folders))}, and "
            "neither unshare nor setpriv helps here. Run as a normal user, or choose folders that others may enter."
        )
    return account


def _nobody_reaches(program: Path, *folders: Path) -> bool:
    probe = ["/bin/sh", "-c", _PROBE, "sh", str(program), *map(str, folders)]
    done = subprocess.run(
        probe, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, check=False, timeout=10
    )
    return done.returncode == 0


def namespace() -> Account | None:
    """Root under the name of nobody, in a user namespace; None where the system allows none."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    return _tried(Account(prefix=(unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")))


def trespasser() -> Account | None:
    """Nobody with one right of root, CAP_DAC_OVERRIDE; None where root itself lacks it."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return None
    who = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    right = ("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--no-new-privs")
    # keep: the kernel forgets the wish to die with the parent when the user id changes
    return _tried(Account(prefix=(setpriv, *who, *right, "--pdeathsig=keep", "--"), acts_as=NOBODY))


def _tried(account: Account) -> Account | None:
    done = subprocess.run(account.command(["/bin/true"]), capture_output=True, check=False, timeout=10)
    return account if done.returncode == 0 else None

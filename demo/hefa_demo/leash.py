"""Run a program that dies with its parent.

Executed by path, not imported: `python -I -S leash.py SIGNAL PARENT UID PROGRAM ARGUMENT…` gives up root for UID
(`-` keeps the account), asks the kernel for SIGNAL when the parent is gone, even by SIGKILL, and becomes PROGRAM.
A step between fork and exec needs this extra program because Python code between the two is unsafe in a threaded
parent, and because the kernel forgets the request when the account changes. Only Linux has it; elsewhere the program
simply runs. The "parent" is the *thread* that started the child: start children from one that lives as long as they
should.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    death_signal, parent, account, program = int(argv[0]), int(argv[1]), argv[2], argv[3:]
    if account != "-":
        os.setgroups([])
        os.setgid(int(account))
        os.setuid(int(account))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel knew of our wish
            sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 - the caller names the program


if __name__ == "__main__":
    main(sys.argv[1:])

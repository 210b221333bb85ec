"""One child process: started on a leash, logged to a file of bounded size, stopped within a time.

A child has a session of its own, so that Ctrl-C in the terminal reaches only the supervisor, which stops the children
in its order. It dies with its parent (see `leash`), so start it from a thread that lives as long.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from hefa_demo.account import OURS, Account

_LEASH = Path(__file__).with_name("leash.py")
LOG_LIMIT = 5_000_000  # bytes; what is older is kept once, as <name>.log.1


class Child:
    """A program, started and stopped any number of times. Not thread-safe.

    `stop_signal` asks it to end in order; the kernel sends the same one when this process is gone.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        account: Account = OURS,
        stop_signal: signal.Signals = signal.SIGTERM,
        piped: bool = False,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log = log
        self.env = env
        self.account = account
        self.stop_signal = stop_signal
        self.piped = piped
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the program. OSError when it, or its log, cannot be opened."""
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        uid = "-" if self.account.uid is None else str(self.account.uid)
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(int(self.stop_signal)), str(os.getpid()), uid]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*leash, *self.account.command(self.argv)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.piped else log,
                stderr=log,
                env=None if self.env is None else dict(self.env),
                cwd="/" if self.account.uid is not None else None,
                start_new_session=True,
                text=True,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """None before the start and while it runs; negative when a signal ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    @property
    def output(self) -> IO[str]:
        """What the program prints; only of a `piped` child."""
        if self._process is None or self._process.stdout is None:
            raise RuntimeError(f"{self.name} has no piped output")
        return self._process.stdout

    def ask_to_stop(self) -> None:
        """Send the stop signal and return at once."""
        if self.running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, self.stop_signal)

    def stop(self, patience: float = 8.0) -> None:
        """Ask it to stop; after `patience` seconds end it, and its process group, by force. Safe to repeat."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._close()

    def kill(self) -> None:
        """End it as a crash would, by SIGKILL to this one process, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None when it still runs after `timeout` seconds."""
        if self._process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout)
        return None

    def _close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log."""
        return tail(self.log, lines)


class Server(ABC):
    """A server that runs as one child."""

    log: Path
    child: Child | None = None

    @abstractmethod
    def start(self) -> None:
        """Make the child and return when it is ready."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it accepts connections."""

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.running

    @property
    def returncode(self) -> int | None:
        """As of `Child`."""
        return None if self.child is None else self.child.returncode

    @property
    def pid(self) -> int:
        """Process id of the started server."""
        if self.child is None:
            raise RuntimeError("the server was never started")
        return self.child.pid

    def ask_to_stop(self) -> None:
        """Begin the stop and return at once."""
        if self.child is not None:
            self.child.ask_to_stop()

    def stop(self, patience: float = 10.0) -> None:
        """Stop in order; by force after `patience` seconds. Safe to repeat."""
        if self.child is not None:
            self.child.stop(patience)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        if self.child is not None:
            self.child.kill()


def trim(log: Path, limit: int = LOG_LIMIT) -> None:
    """Move a log beyond `limit` bytes aside, once. Its program goes on writing to the same, emptied, file.

    Lines written in the moment between the copy and the cut are lost: the price of a child that owns its log.
    """
    with suppress(FileNotFoundError):
        if log.stat().st_size > limit:
            log.with_name(log.name + ".1").write_bytes(log.read_bytes()[-limit:])
            os.truncate(log, 0)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file; empty when there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 64_000))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.02) -> bool:
    """Call `condition` until it is true or `timeout` seconds have passed; say which."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True

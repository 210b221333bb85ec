"""A TCP proxy that misbehaves when told to: between gateways and broker, workers and broker, workers and database.

It runs an asyncio loop in a thread of its own; every method may be called from any thread and takes effect on the
connections that are there and on those to come. `heal` ends whatever was wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Literal

_CHUNK = 65_536
Cut = Literal["reply", "request"]


class Proxy:
    """Listens on a free port of loopback and passes bytes to and from `target`. `start` it, `stop` it."""

    def __init__(self, target: tuple[str, int], *, postgres: bool = False, chance: random.Random | None = None) -> None:
        self.target, self._postgres = target, postgres
        self.port = 0
        self.cuts = 0
        """Connections that were cut on purpose."""
        self._chance = chance or random.Random(1)
        self._pairs: set[_Pair] = set()
        self._refuse = self._blackhole = False
        self._delay_s = self._reset_share = 0.0
        self._bytes_per_s: float | None = None
        self._commit: tuple[Cut, int] | None = None
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()  # cleared while everything is swallowed
        self._thread = threading.Thread(target=self._run, name=f"proxy-{target[1]}", daemon=True)

    def start(self) -> Proxy:
        self._thread.start()
        self._call(self._listen())
        return self

    def stop(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    # --- what can be wrong -------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Pass everything again, at once."""

        def act() -> None:
            self._refuse = self._blackhole = False
            self._delay_s = self._reset_share = 0.0
            self._bytes_per_s = self._commit = None
            self._open.set()

        self._do(act)

    def cut(self) -> None:
        """Reset every connection that is there (RST, nothing flushed)."""
        self._do(lambda: [pair.reset() for pair in list(self._pairs)])

    def refuse(self) -> None:
        """Reset what is there and what comes."""

        def act() -> None:
            self._refuse = True
            for pair in list(self._pairs):
                pair.reset()

        self._do(act)

    def blackhole(self) -> None:
        """Keep connections open, take new ones, and pass nothing in either direction."""
        self._do(self._open.clear)

    def half_close(self) -> None:
        """End one direction of each connection: the client hears no more, and its writes still arrive."""
        self._do(lambda: [pair.half_close() for pair in list(self._pairs)])

    def delay(self, seconds: float) -> None:
        """Hold each chunk for so long, in each direction."""
        self._do(lambda: setattr(self, "_delay_s", seconds))

    def throttle(self, bytes_per_s: float) -> None:
        """Pass no more than so much, for each connection and direction."""
        self._do(lambda: setattr(self, "_bytes_per_s", bytes_per_s))

    def reset_at_random(self, share: float) -> None:
        """Reset a connection at this share of the chunks it passes."""
        self._do(lambda: setattr(self, "_reset_share", share))

    def cut_at_commit(self, where: Cut, times: int = 1) -> None:
        """Of a PostgreSQL connection: cut it at the next COMMIT, either before the server gets it or after it has
        committed and before the client hears of that."""
        self._do(lambda: setattr(self, "_commit", (where, times)))

    @property
    def commits_left(self) -> int:
        """How many of the asked cuts have not happened yet."""
        return self._commit[1] if self._commit else 0

    # --- inside ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open.set()
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _do(self, act: Callable[[], object]) -> None:
        async def call() -> None:
            act()

        self._call(call())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for pair in list(self._pairs):
            pair.reset()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(self, writer)
        if self._refuse:
            pair.reset()
            return
        try:
            far_reader, pair.far = await asyncio.open_connection(*self.target)
        except OSError:
            pair.reset()
            return
        self._pairs.add(pair)
        wire = _PostgresWire()
        try:
            await asyncio.gather(
                self._pump(pair, reader, pair.far, wire.request), self._pump(pair, far_reader, writer, wire.reply)
            )
        except (OSError, asyncio.CancelledError, _CutHere):
            pair.reset()
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _pump(
        self,
        pair: _Pair,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        watch: Callable[[bytes], Cut | None],
    ) -> None:
        while data := await source.read(_CHUNK):
            await self._open.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if self._bytes_per_s:
                await asyncio.sleep(len(data) / self._bytes_per_s)
            found = watch(data) if self._postgres else None
            if found and self._commit and found == self._commit[0]:
                self._commit = (self._commit[0], self._commit[1] - 1) if self._commit[1] > 1 else None
                self.cuts += 1
                raise _CutHere
            if self._reset_share and self._chance.random() < self._reset_share:
                self.cuts += 1
                raise _CutHere
            with contextlib.suppress(ConnectionError):
                sink.write(data)
                await sink.drain()
        with contextlib.suppress(OSError, RuntimeError):
            sink.write_eof()


class _CutHere(Exception):
    pass


class _Pair:
    """The two sockets of one connection."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter) -> None:
        self._proxy, self.near = proxy, near
        self.far: asyncio.StreamWriter | None = None

    def reset(self) -> None:
        for writer in (self.near, self.far):
            if writer is not None:
                plain: socket.socket = writer.get_extra_info("socket")
                with contextlib.suppress(OSError, AttributeError):
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    def half_close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self.near.write_eof()

    def close(self) -> None:
        for writer in (self.near, self.far):
            if writer is not None:
                writer.close()


class _PostgresWire:
    """Just enough of the PostgreSQL protocol, without TLS, to see a COMMIT pass in either direction."""

    def __init__(self) -> None:
        self._sent, self._heard = bytearray(), bytearray()
        self._single = 0  # one-byte answers (to SSLRequest, GSSENCRequest) before the stream of messages begins
        self._started = False
        self._commits: set[bytes] = set()  # names of prepared statements that are a COMMIT, the unnamed one included

    def request(self, data: bytes) -> Cut | None:
        self._sent += data
        while not self._started and len(self._sent) >= 8:
            length, code = struct.unpack("!II", self._sent[:8])
            if length > 10_000 or len(self._sent) < length:
                break
            del self._sent[:length]
            if code in (80877103, 80877104):
                self._single += 1
            else:
                self._started = True
        found = [self._commits_now(kind, body) for kind, body in (_messages(self._sent) if self._started else ())]
        return "request" if any(found) else None

    def _commits_now(self, kind: bytes, body: bytes) -> bool:
        """Whether a message runs a COMMIT: as a query, or as a statement that was prepared."""
        if kind == b"Q":
            return body == b"COMMIT\0"
        first, second, *_ = [*body.split(b"\0", 2), b"", b""]
        if kind == b"P":  # the statement's name, its text
            self._commits.discard(first)
            if second == b"COMMIT":
                self._commits.add(first)
        return kind == b"B" and second in self._commits  # the portal's name, the statement's

    def reply(self, data: bytes) -> Cut | None:
        self._heard += data
        while self._single and self._heard:
            del self._heard[:1]
            self._single -= 1
        found = any(kind == b"C" and body == b"COMMIT\0" for kind, body in _messages(self._heard))
        return "reply" if found else None


def _messages(buffer: bytearray) -> list[tuple[bytes, bytes]]:
    """Take the whole messages out of a buffer; what is no such stream is thrown away."""
    found = []
    while len(buffer) >= 5:
        (length,) = struct.unpack("!I", buffer[1:5])
        if length < 4 or length > 1 << 26:
            buffer.clear()
            break
        if len(buffer) < length + 1:
            break
        if buffer[:1] in (b"Q", b"C", b"P", b"B"):
            found.append((bytes(buffer[:1]), bytes(buffer[5 : length + 1])))
        del buffer[: length + 1]
    return found

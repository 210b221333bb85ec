"""The broadcaster behind `GET /v1/stream`: the newest readings as they change, and what else it is fed.

One thread asks the database once a second for all listeners and hands each its share; a listener holds no thread
and no connection. Who reads too slowly is dropped, with a comment, before he costs memory.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
from fastapi import Request
from starlette.responses import StreamingResponse

from hefa_platform.api.latest import newest
from hefa_platform.api.problems import Problem
from hefa_platform.store import tags as store
from hefa_platform.store.database import Database, Unavailable

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0
HEARTBEAT_S = 15.0
# Readings are stamped before they are committed: whoever commits later than this is seen at his next change.
OVERLAP = timedelta(seconds=10)
QUEUE = 30  # messages a listener may lag behind: half a minute

Wanted = Callable[[Any], bool]
Item = tuple[Any, bytes]  # what a listener judges by, and how it reads in the stream


class Feed(Protocol):
    """What listeners hear of. `event` is its name in the stream."""

    event: str

    def ask(self) -> list[Item]:
        """What is new since it was asked last. Raises `Unavailable`."""

    def rest(self) -> None:
        """Nobody listens: what happens until it is asked again is not new."""

    def message(self, items: list[bytes]) -> bytes:
        """Items as a piece of an event stream."""


class StreamFull(Exception):
    """No further listener is taken: too many, or the server is stopping."""


@dataclass(eq=False)
class Listener:
    """One open stream. Its queue belongs to the event loop; None in it ends the stream."""

    wanted: Wanted
    loop: asyncio.AbstractEventLoop
    event: str = "latest"
    queue: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    dropped: bool = False

    def offer(self, message: bytes | None) -> None:
        """Queue a message from any thread; a listener whose queue is full is dropped instead."""
        self.loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: bytes | None) -> None:
        if self.queue.full():
            self.dropped = True
            while not self.queue.empty():
                self.queue.get_nowait()
            message = None
        self.queue.put_nowait(message)

    async def messages(self) -> AsyncIterator[bytes]:
        """Bytes of the event stream until it is closed from our side."""
        yield b"retry: 2000\n\n"
        while True:
            try:
                message = await asyncio.wait_for(self.queue.get(), HEARTBEAT_S)
            except TimeoutError:
                yield b": heartbeat\n\n"
                continue
            if message is None:
                yield b": too slow, dropped: connect again\n\n" if self.dropped else b": closing\n\n"
                return
            yield message


class Newest:
    """The newest readings that have changed."""

    event = "latest"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since: datetime | None = None
        self._sent: dict[int, tuple[object, ...]] = {}

    def ask(self) -> list[Item]:
        asked, rows = store.changed(self._database, self._since)
        self._since = asked - OVERLAP
        fresh = [row for row in rows if self._sent.get(row.tag_id) != (row.ts, row.value, row.quality)]
        self._sent.update({row.tag_id: (row.ts, row.value, row.quality) for row in fresh})
        now = datetime.now(UTC)
        # Serialised once, however many listen.
        return [(row, msgspec.json.encode(newest(row, now))) for row in fresh]

    def rest(self) -> None:
        """What changed meanwhile is told to whoever comes: it is the newest there is."""

    def message(self, items: list[bytes]) -> bytes:
        return b'event: latest\ndata: {"items":[' + b",".join(items) + b"]}\n\n"


class Broadcaster:
    """Feeds all listeners from one thread, which asks nothing that nobody listens to. Thread-safe."""

    def __init__(self, database: Database, *more: Feed, capacity: int, interval_s: float = INTERVAL_S) -> None:
        """`more`: what there is to hear of besides the newest readings."""
        self._feeds: tuple[Feed, ...] = (Newest(database), *more)
        self._capacity, self._interval_s = capacity, interval_s
        self._listeners: set[Listener] = set()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def join(self, listener: Listener) -> None:
        """Feed `listener` from now on. Raises StreamFull."""
        with self._changed:
            if self._closed or len(self._listeners) >= self._capacity:
                raise StreamFull
            self._listeners.add(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="broadcaster", daemon=True)
                self._thread.start()
            self._changed.notify()

    def leave(self, listener: Listener) -> None:
        """Feed `listener` no more."""
        with self._changed:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End all streams and take no new ones. Returns at once."""
        with self._changed:
            self._closed = True
            for listener in self._listeners:
                listener.offer(None)
            self._changed.notify()

    def _run(self) -> None:
        away = False
        while self._wait():
            with self._changed:
                heard = {listener.event for listener in self._listeners}
            for feed in self._feeds:
                if feed.event not in heard:
                    feed.rest()
                    continue
                try:
                    items = feed.ask()
                except Unavailable as error:
                    if not away:
                        logger.warning("stream paused reason=%r", str(error))
                    away = True
                    break
                away = self._back(away)
                self._tell(feed, items)

    def _back(self, away: bool) -> bool:
        if away:
            logger.info("stream goes on")
        return False

    def _wait(self) -> bool:
        """Sleep until the next round, as long as nobody listens; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, self._interval_s)
            if not self._listeners:
                for feed in self._feeds:
                    feed.rest()
            self._changed.wait_for(lambda: self._closed or bool(self._listeners))
            return not self._closed

    def _tell(self, feed: Feed, items: list[Item]) -> None:
        with self._changed:
            listeners = [listener for listener in self._listeners if listener.event == feed.event]
        for listener in listeners:
            if listener.dropped:
                self.leave(listener)
                continue
            share = [item for row, item in items if listener.wanted(row)]
            if share:
                try:
                    listener.offer(feed.message(share))
                except RuntimeError:  # its event loop is gone
                    self.leave(listener)


async def events(request: Request, listener: Listener, before: bytes = b"") -> StreamingResponse:
    """The response that is `listener`'s stream, `before` first; 503 where no further one is taken."""
    broadcaster: Broadcaster = request.app.state.broadcaster
    try:
        broadcaster.join(listener)
    except StreamFull:
        raise Problem(503, "streams", "No stream free", "Too many streams are open, or the server stops.") from None

    async def body() -> AsyncIterator[bytes]:
        try:
            if before:
                yield before
            async for message in listener.messages():
                yield message
        finally:
            broadcaster.leave(listener)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)

"""A worker looks after its like: a thread that ends their transactions where they stand still and others wait for them.

It is a thread because the worker itself may be the one that waits. It has a connection of its own, for a moment.
"""

import threading
import time
from contextlib import suppress

from hefa_platform.store.database import Database, Refused, Unavailable
from hefa_platform.store.standstill import Standstill

LOOK_S = 5.0  # between two looks
PATIENCE_S = 15.0  # as long as this nobody stands still who is well


def keep(database: Database, stop: threading.Event, *, look_s: float = LOOK_S, patience_s: float = PATIENCE_S) -> None:
    """Begin to look, until `stop` is set. Returns at once."""

    def run() -> None:
        standstill = Standstill(patience_s)
        while not stop.wait(look_s):
            with suppress(Unavailable, Refused), database.session() as connection:  # away: nobody waits for anybody
                standstill.look(connection, time.monotonic())

    threading.Thread(target=run, name="vigil", daemon=True).start()

"""Memory of a process that makes and drops the same few megabytes, many times a second."""

import ctypes
import gc
from contextlib import suppress

_KEPT = 32 << 20  # bytes: more than the arrays of two groups and their stream
_M_TOP_PAD, _M_MMAP_THRESHOLD = -2, -3  # of mallopt(3), glibc


def settle() -> None:
    """Keep what is freed for the next who asks, and leave what is here now alone.

    glibc gives large blocks back to the system at once and takes them anew, which costs a page fault for every 4 kB. A
    C library that has no such switch is left as it is.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_TOP_PAD, _KEPT)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT)
    # What comes is freed by its counts: the collector need not look at it with every few messages, whose lists are long.
    gc.freeze()
    gc.set_threshold(20_000)

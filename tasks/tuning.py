"""How the interpreter and the allocator of this process are set: for threads that map rows while others wait for Postgres."""

import ctypes
import gc
import sys

#: Objects made before the collector looks for cycles, instead of 700. Nodes and rows come by the ten thousand and hold none:
#: looking through them takes a third of the time in which a history is read.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000
#: Seconds that a thread may go on while others want to, instead of 0.005: Postgres answers a statement sooner than that, and
#: the thread that waits for it would wait as long again for the one that maps the next rows.
_SWITCH_INTERVAL = 0.0005

#: malloc.h's numbers of what ``mallopt`` sets.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
#: Heaps that threads allocate from, instead of eight a core. A slice of a history is read by whichever thread is free, and
#: each thread's heap would keep what a slice needs.
_HEAPS = 1
#: Bytes from which a block is the system's own, given back as soon as it is free. Otherwise glibc raises this with the first
#: large block that is freed, up to 32 MB, and keeps those that follow.
_LARGE_BLOCK = 128 * 1024


def tune() -> None:
    """Set them; the allocator where it is glibc's. Others share one heap as they are."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _HEAPS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)

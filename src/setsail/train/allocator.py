"""What training asks of the C library's memory allocator: to keep what is freed, and now and then to give it back."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next step rather than hand it back; True where that was possible.

    Each step frees and takes gigabytes in large pieces; given back to the system, every page must be faulted in and
    zeroed again. Call it once, before training. On another C library nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    never_trim = libc.mallopt(_M_TRIM_THRESHOLD, -1)
    never_map = libc.mallopt(_M_MMAP_MAX, 0)
    return bool(never_trim and never_map)


def give_back_freed_memory() -> None:
    """Hands pages that hold nothing back to the system, also those between others.

    What comes next may need other sizes than what came before, as validation does between steps: without this both
    would stand in memory at once. The next step faults its pages in again, so call it rarely.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)

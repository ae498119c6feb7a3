"""Settings of glibc's memory allocator."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_small_return_large() -> None:
    """Return freed blocks of 8 MiB and more to the system, and keep smaller blocks.

    By default glibc keeps large blocks, separately for each thread of the server. After a few large
    images that is hundreds of megabytes. By default it also returns smaller blocks. A click needs
    some blocks of 4 MiB, and to get these again takes half the time of a click. Other C libraries
    are not changed.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 8 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        libc.mallopt(_M_ARENA_MAX, 1)

"""glibc's memory allocator, told what to keep and what to give back."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_small_return_large() -> None:
    """Blocks of 8 MiB and more go back to the system when they are freed, others stay at hand.

    By itself glibc learns from large blocks to keep them, for each thread of the server anew:
    hundreds of megabytes after a few large images. And it gives back small ones, of which a click
    needs a few of 4 MiB: to get them anew, page by page, takes as long as half a click. Other C
    libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 8 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        libc.mallopt(_M_ARENA_MAX, 1)

"""glibc's memory allocator, told to give large images back when they are no longer needed."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3).
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def return_large_blocks() -> None:
    """Blocks of 4 MiB and more go back to the system when they are freed; others are shared.

    By itself glibc learns from large blocks to keep them, for each thread of the server anew:
    hundreds of megabytes after a few large images. Other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 4 << 20)
        libc.mallopt(_M_ARENA_MAX, 2)

"""Memory of large activations, kept for the next ones instead of going back to the system at every step.

The C library fetches each block of over 32 MB anew from the system, whose first touch of every page costs as
much as a filter's pass over it. Generators and encoders keep it: a fifth of a training step at 256 px.
"""
import ctypes
import functools
import os
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4          # numbers of glibc's malloc.h
KEPT = 2**30                               # free memory beyond this still goes back, bytes


@functools.cache
def keep():
    """From now on this process keeps up to 1 GiB of freed memory; -> whether the C library can.

    Only glibc can (Linux). RESTYLE_KEEP_MEMORY=0 in the environment leaves it as it is."""
    library = _library()
    if not library or os.environ.get("RESTYLE_KEEP_MEMORY") == "0":
        return False
    return bool(library.mallopt(MMAP_MAX, 0) and library.mallopt(TRIM_THRESHOLD, KEPT))


def give_back():
    """Hands what is free to the system now."""
    if library := _library():
        library.malloc_trim(0)


@functools.cache
def _library():
    """The C library where it is glibc, or None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None

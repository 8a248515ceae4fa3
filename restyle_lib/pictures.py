"""Pictures that are written while something else goes on."""
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from .pixels import encode_png


class Pictures:
    """Pictures that several threads encode and write; leaving the context waits for all of them, and raises
    what went wrong. Beside a GPU they work while it does; on the CPU they would hold up the threads of the
    network, so that it waits for as many as there are cores at a time. What is in memory is bounded."""

    def __init__(self, device):
        self.threads = max(1, torch.get_num_threads())
        self.beside, self.waiting = device.type != "cpu", deque()

    def __enter__(self):
        self.pool = ThreadPoolExecutor(self.threads)
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self._finish(0)
        finally:
            self.pool.shutdown(cancel_futures=True)

    def add(self, path, pixels, level=1):
        """uint8 [H, W, C], written to the path as PNG of a compression level soon."""
        work = partial(_encoded, path, pixels, level)
        self.waiting.append(self.pool.submit(work) if self.beside else work)
        if len(self.waiting) >= self.threads * (8 if self.beside else 1):
            self._finish(4 * self.threads if self.beside else 0)

    def _finish(self, left):
        if not self.beside:
            self.waiting = deque(self.pool.submit(work) for work in self.waiting)
        while len(self.waiting) > left:
            self.waiting.popleft().result()


def _encoded(path, pixels, level):
    write(path, encode_png(pixels, level=level))


def write(path, data):
    """Writes a picture under its final name at once; no fsync, as only the journal says what is finished."""
    part = path.with_suffix(".part")
    part.write_bytes(data)
    os.replace(part, path)

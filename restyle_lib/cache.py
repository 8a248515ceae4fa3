"""Rendered splits, drawn once into memory-mapped files under the cache folder: uint8 .npy [N, H, W, C].

Drawn in chunks, by one process a core, each chunk a file of its own until all are there: an interrupted build
goes on where it stopped, and a final name never holds half an array. Every image is a pure function of its
key."""
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
from tqdm.auto import tqdm

from .errors import UserError
from .files import ROOT, atomic, cache_dir, write_array

CHUNK = 256


def rendered_array(source, size=None, count=None, progress=True):
    """The first `count` images of a RenderedImages at size [H, W] -> read-only uint8 map [count, H, W, C]."""
    size, count = tuple(size or source.dataset.size), len(source) if count is None else count
    if (drawn := drawn_already(source, size, count)) is not None:
        return drawn
    folder, stem = cache_dir() / "rendered", _stem(source, size)
    path = folder / f"{stem}-{count}.npy"
    _build(source, size, count, path, progress)
    for shorter in set(folder.glob(f"{stem}-*.npy")) - {path}:
        with contextlib.suppress(OSError):                # mapped by somebody, where that forbids it
            shorter.unlink()
    return np.load(path, mmap_mode="r")


def drawn_already(source, size, count):
    """The first `count` images of a split from the cache, or None."""
    for path in sorted((cache_dir() / "rendered").glob(f"{_stem(source, size)}-*.npy")):
        if int(path.stem.rsplit("-", 1)[1]) >= count:
            with contextlib.suppress(ValueError, OSError):
                return np.load(path, mmap_mode="r")[:count]
            path.unlink(missing_ok=True)                  # not what it is named
    return None


def _stem(source, size):
    """Names a split's pixels: world and version, seed, the split but for its length, size, channels."""
    split = dataclasses.asdict(source.split) | {"identities": source.split.identities[0]}
    key = json.dumps([source.dataset.source.seed, source.dataset.channels, split], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return f"{source.dataset.source.world}-v{source.world.VERSION}-{size[0]}x{size[1]}-{digest}"


def _build(source, size, count, path, progress):
    parts = path.with_suffix(".chunks")
    chunks = [(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    missing = [chunk for chunk in chunks if not _part(parts, chunk).exists()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, len(missing) // 4)
    what = f"rendering {source.dataset.name} {source.name}"
    with tqdm(total=count, initial=count - _images(missing), desc=what, unit="img", leave=False,
              disable=not progress or count <= CHUNK) as bar:
        if workers < 2:
            for chunk in missing:
                draw(source, size, parts, chunk)
                bar.update(_images([chunk]))
        else:
            _share(source, size, parts, missing, workers, bar)
    try:
        with atomic(path) as stream:
            channels = source.dataset.channels
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *size, channels)}
            np.lib.format.write_array_header_1_0(stream, header)
            for chunk in chunks:
                stream.write(np.load(_part(parts, chunk)).tobytes())
    except UserError:
        if not path.exists():                             # another process may have been faster and tidied up
            raise
    shutil.rmtree(parts, ignore_errors=True)


def _part(parts, chunk):
    return parts / f"{chunk[0]}-{chunk[1]}.npy"


def _images(chunks):
    return sum(end - first for first, end in chunks)


def draw(source, size, parts, chunk):
    """Draws the images `chunk` (first, end) of a split into one file."""
    pixels = source.read(range(*chunk), size)
    with atomic(_part(parts, chunk)) as stream:
        write_array(stream, pixels)


def _share(source, size, parts, missing, workers, bar):
    """The missing chunks among processes of their own (not forks: torch has threads running)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT)] + sys.path)}
    processes = []
    try:
        for worker in range(workers):
            order = json.dumps([dataclasses.asdict(source.dataset), source.name, size, str(parts),
                                missing[worker::workers]], default=str)
            code = "import sys; from restyle_lib.cache import work; work(sys.argv[1])"
            processes.append(subprocess.Popen([sys.executable, "-c", code, order], env=environment,
                                              stderr=subprocess.PIPE))
        begun = bar.n
        while any(process.poll() is None for process in processes):
            time.sleep(0.2)
            bar.update(begun + _images([chunk for chunk in missing if _part(parts, chunk).exists()]) - bar.n)
        for process in processes:
            if process.returncode:
                reason = process.stderr.read().decode(errors="replace").strip() or "the process was killed"
                raise UserError(f"rendering failed: {reason.splitlines()[-1]}")
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def work(order):
    """What a process of `_share` does."""
    from pathlib import Path

    from .domains import Dataset, RenderedSource, RenderedSplit
    values, name, size, parts, chunks = json.loads(order)
    values["source"] = RenderedSource(**values["source"])
    values["splits"] = {key: RenderedSplit(**value) for key, value in values["splits"].items()}
    source = Dataset(**values).split(name)
    for chunk in chunks:
        draw(source, size, Path(parts), chunk)

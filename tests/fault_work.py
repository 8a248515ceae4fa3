"""The work that faults.py disturbs: a training, an inversion, a batch, a dataset. A kind of work has
prepare(folder), run(folder), end(folder) -> {what: how it ended}, done(folder) -> what is finished there,
redone(folder, before) -> how much of that was done again, cuttable(folder) -> files worth cutting short."""
import csv
import dataclasses
import fcntl
import hashlib
import http.server
import json
import os
import threading
import time
from pathlib import Path

import fake_notebook
import numpy as np
import test_downloads
import tiny
import tiny_encoder
import torch
from PIL import Image

from restyle_lib import batch, cache, downloads, files, invert, journal, registry, runs, verify
from restyle_lib.data import images
from restyle_lib.training.loop import load_state
from restyle_lib.trajectory import Trajectory


def digest(value):
    """A short name of nested dicts and lists of tensors and plain values."""
    total = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                total.update(str(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        else:
            total.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    add(value)
    return total.hexdigest()[:12]


def content(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else None


class Work:
    """What the kinds have in common."""
    by_batch = ()                      # what may end otherwise where a file was cut: batches are not the same

    def prepare(self, folder):
        pass

    def busy(self, folder):
        return False

    def done(self, folder):
        return None

    def redone(self, folder, before):
        return 0

    def cuttable(self, folder):
        return []


class Training(Work):
    """An encoder's training with random noise, states, exports, validation and samples."""
    config = dataclasses.replace(tiny_encoder.TINY, steps=1, noise="random", batch_norm="train", iterations=4,
                                 save_every=2, sample_every=3, validate_every=3)
    by_batch = ("log",)                                   # whose lines come once

    def run(self, folder):
        tiny_encoder.train(folder / "out", self.config)

    def end(self, folder):
        out = folder / "out"
        if not (out / "state.pt").exists():
            return {}
        state = load_state(out / "state.pt")
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        found = {"step": state["step"], "parts": digest(state["parts"]),
                 "log": [(row["step"], row["loss"]) for row in log]}
        paths = [out / "last/model.safetensors", out / "best/model.safetensors", out / "validation.jsonl"]
        return found | {str(p.relative_to(out)): content(p) for p in [*paths, *out.glob("samples/*.png")]}

    def done(self, folder):
        path = folder / "out" / "state.pt"
        return path.stat().st_mtime_ns if path.exists() and load_state(path)["step"] == 4 else None

    def redone(self, folder, before):
        return int(before is not None and before != (folder / "out" / "state.pt").stat().st_mtime_ns)

    def cuttable(self, folder):
        return [p for p in [folder / "out" / "state.pt", folder / "out" / "log.jsonl"] if p.exists()]


class Invert(Work):
    """An inversion of eleven images in batches of two, with all outputs, in shards of four."""
    by_batch = ("latents", "names", "metrics")

    def prepare(self, folder):
        (folder / "photos").mkdir()
        random = np.random.default_rng(0)
        for number in range(11):
            pixels = random.integers(0, 256, (20, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / f"{number:02d}.png")

    def run(self, folder):
        journal.SHARD = 4
        summary = invert.invert([folder / "photos"], tiny.inverter(), folder / "out", steps=2, batch=2,
                                save=["strip", "steps", "latents", "final"], progress=False)
        summary.check()

    def _finished(self, folder):
        path = folder / "out" / "finished.csv"
        if not path.exists():
            return {}
        with open(path, newline="") as stream:
            return dict(row for row in csv.reader(stream) if len(row) == 2)

    def end(self, folder):
        out = folder / "out"
        found = {"finished": sorted(self._finished(folder).items())}
        if (out / "metrics.csv").exists():
            with open(out / "metrics.csv", newline="") as stream:
                found["metrics"] = [row[:-1] for row in csv.reader(stream)]    # without seconds
        for path in sorted(out.rglob("*.png")):
            found[str(path.relative_to(out))] = content(path)
        shards = [Trajectory.load(path) for path in sorted(out.glob("trajectories_*.npz"))]
        found["names"] = [shard.names for shard in shards]
        found["latents"] = digest([shard.latents for shard in shards])
        found["loose"] = [str(path) for path in out.rglob("trajectory.npz")]
        return found

    def done(self, folder):
        names = self._finished(folder)
        return {str(p): p.stat().st_mtime_ns for n in names for p in (folder / "out" / n).glob("*.png")}

    def redone(self, folder, before):
        return sum(Path(path).stat().st_mtime_ns != time for path, time in before.items())

    def cuttable(self, folder):
        return [p for name in ("finished.csv", "metrics.csv") if (p := folder / "out" / name).exists()]


class Forked:
    """A subprocess.Popen of a notebook that is forked instead of started."""

    def __init__(self, words, stdout=None, pass_fds=(), **options):
        self.pid, self.returncode = os.fork(), None
        if self.pid == 0:
            status = 3
            try:
                os.setsid()
                status = fake_notebook.main(*words[4:])
            finally:
                os._exit(status)

    def poll(self):
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def wait(self):
        while self.poll() is None:
            time.sleep(0.01)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(9)


class Batch(Work):
    """A batch of six notebooks in three run folders."""

    def prepare(self, folder):
        books = folder / "books"
        books.mkdir()
        for name in ("00_one", "02_two"):
            lines = ['profile = "smoke"', "seed = 0", 'device = "cpu"', 'run = ""', 'domain = "avatars"']
            source = "\n".join(f"{line}  # about it" for line in lines)
            cells = [{"cell_type": "markdown", "source": f"# {name}\n\nWhat.", "metadata": {}},
                     {"cell_type": "code", "source": source, "metadata": {"tags": ["parameters"]}}]
            (books / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
        (folder / "plan.yaml").write_text("{notebook: all, seed: [0, 1, 2]}")

    def run(self, folder):
        os.environ.update(RESTYLE_NOTEBOOKS=str(folder / "books"), RESTYLE_OUTPUTS=str(folder / "out"),
                          SLOW="0.02")
        batch.subprocess.Popen = Forked
        planned = batch.read(folder / "plan.yaml")
        table = batch.run(planned, "plan", parallel=2, keep_going=True, resume=True, say=lambda line: None)
        if left := [row for row in table if row["status"] != "finished"]:
            raise files.UserError(f"{len(left)} runs failed; --resume goes on with them")

    def busy(self, folder):
        for path in folder.glob("out/*/.lock"):
            with open(path) as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return True
        return False

    def end(self, folder):
        found = {}
        for path in sorted(folder.glob("out/[!.]*/*/run.json")):
            facts = runs.read_facts(path.parent)
            if facts["status"] == "finished":
                key = f"{path.parent.name} {facts['given']}"
                found[key] = [*found.get(key, []), runs.read_records(path.parent)]
        return found

    def done(self, folder):
        return {p: p.stat().st_mtime_ns for p in folder.glob("out/[!.]*/*/run.json")
                if runs.read_facts(p.parent)["status"] == "finished"}

    def redone(self, folder, before):
        return sum(path.stat().st_mtime_ns != time for path, time in before.items())


class Data(Work):
    """A rendered split drawn into the cache, and a folder of images verified."""

    def prepare(self, folder):
        Invert.prepare(self, folder)
        (folder / "mine.yaml").write_text("name: mine\nlicence: mine\nsource: {kind: folder, path: photos}\n")

    def run(self, folder):
        os.environ["RESTYLE_CACHE"], cache.CHUNK = str(folder / "cache"), 3
        images("avatars", "test", (16, 16), count=8, progress=False)
        rows, wrong = verify.verify(folder / "mine.yaml", progress=False)
        files.write_json(folder / "verified.json", [repr(rows), wrong])

    def end(self, folder):
        found = {path.name: content(path) for path in folder.glob("cache/rendered/*")}
        path = folder / "verified.json"
        return found | {"verified": path.read_text().replace(str(folder), "") if path.exists() else None}

    def done(self, folder):
        return {p: p.stat().st_mtime_ns for p in folder.rglob("cache/rendered/**/*.npy")}

    def redone(self, folder, before):
        return sum(path.exists() and path.stat().st_mtime_ns != time for path, time in before.items())


class Fetch(Work):
    """A published file fetched from a server in this process, whose first connection always drops."""

    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), test_downloads.Handler)
        self.server.seen, self.server.go_on = [], threading.Event()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        row = {"what": "a test", "kind": "direction", "terms": "mit", "file": "mine.pt", "at": ["host:file"],
               "sha256": hashlib.sha256(test_downloads.GOOD).hexdigest()}
        hosts = {"host": f"http://127.0.0.1:{self.server.server_port}/{{}}"}
        self.registry = {"hosts": hosts, "terms": {"mit": {"licence": "MIT", "commercial": True}},
                         "files": {"mine": row}}

    def prepare(self, folder):
        self.server.script = ["drop", "drop", "good"]
        (folder / "weights.txt").write_text(json.dumps(self.registry))

    def run(self, folder):
        os.environ["RESTYLE_CACHE"] = str(folder / "cache")
        downloads.PAUSE, downloads.CHUNK = 0.0, 4000
        whole = registry.files.__wrapped__(folder / "weights.txt")
        registry.files = lambda: whole
        downloads.fetch("mine", progress=False, say=lambda line: None)

    def end(self, folder):
        return {p.name: content(p) for p in folder.rglob("cache/**/*.pt")}

    def done(self, folder):
        return {p: p.stat().st_mtime_ns for p in folder.rglob("cache/**/*.pt")}

    def redone(self, folder, before):
        return sum(path.stat().st_mtime_ns != time for path, time in before.items())

    def cuttable(self, folder):
        return [p for p in folder.rglob("cache/**/*.part") if p.stat().st_size > 100]


KINDS = {"training": Training, "invert": Invert, "batch": Batch, "data": Data, "fetch": Fetch}

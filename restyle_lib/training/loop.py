"""The one training loop: resumable bit for bit, killable at any instant, the same for every network.

A run folder holds options.json, environment.json, log.jsonl, samples/ and state.pt (all it needs to go on).
"""
import contextlib
import json
import math
import platform
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch

from .. import distributed
from ..errors import UserError
from ..files import atomic, check_archive, write_json, writing

STATE, PROJECT_AFTER, KEPT = "state.pt", 20, "the last good state is kept"


class DataOrder:
    """Which images a step sees: a pure function of (seed, step); each epoch is a new permutation of them.
    Of several processes each sees its part of the batch: `local` images."""

    def __init__(self, count, batch, seed):
        if count < batch:
            raise UserError(f"the training set has {count} images, fewer than one batch of {batch}; "
                            "lower batch or add images")
        self.count, self.batch, self.seed, self._epochs = count, batch, seed, {}
        self.local = len(distributed.share(range(batch)))

    def _epoch(self, epoch):
        if epoch not in self._epochs:
            self._epochs = {e: p for e, p in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = np.random.default_rng([self.seed, epoch, 1]).permutation(self.count)
        return self._epochs[epoch]

    def __call__(self, step):
        """int array [local]: the image indices of `step` (from 0)."""
        positions = distributed.share(range(step * self.batch, (step + 1) * self.batch))
        return np.array([self._epoch(p // self.count)[p % self.count] for p in positions])


def step_seed(seed, step, rank=0):
    """The torch seed of one step: no random state has to be stored, (seed, step, rank) is all of it."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def warmed_cosine(peak, number, steps):
    """A learning rate that rises over the first 5 % of the steps to `peak` and falls to zero as a cosine."""
    warm = max(1, steps // 20)
    return peak * min(1.0, (number + 1) / warm) * 0.5 * (1 + math.cos(math.pi * number / steps))


class Loop:
    """Runs `step(i) -> {name: scalar}` for i up to `total`, logging, saving and resuming in a run folder.

    parts     {name: object with state_dict/load_state_dict}: all that is saved and restored
    options   JSON-able settings; resuming with others (but for those named in `free`) is refused
    hooks     [(every, function(step))]: called after each `every` steps and at the end
    images_at function(step) -> images seen in so many steps, where steps differ
    on_save   function(step) called before every state is saved (exports)
    Within a step torch's random numbers come from (seed, step); the caller's random state is left as it was.
    Of several processes (`torchrun`) the first one saves, logs averages and calls the hooks.
    """

    def __init__(self, folder, parts, *, options, free=(), seed=0, total, device="cpu", images_per_step=1,
                 images_at=None, log_every=50, save_every=500, save_minutes=10.0, hooks=(), on_save=None,
                 resume=True, force=False, headless=False, max_seconds=0.0, title="training"):
        self.folder, self.parts, self.seed, self.total = Path(folder), parts, int(seed), int(total)
        self.device, self.images_per_step, self.log_every = torch.device(device), images_per_step, log_every
        self.save_every, self.save_minutes, self.on_save = save_every, save_minutes, on_save
        self.images_at = images_at or (lambda step: step * images_per_step)
        self.hooks = hooks
        self.headless, self.max_seconds, self.title = headless, max_seconds, title
        self.rank = distributed.rank()
        self.step, self.seconds, self.sums = 0, 0.0, {}
        self.options = json.loads(json.dumps(options))
        self._open(set(free), resume, force)

    def _open(self, free, resume, force):
        state = self.folder / STATE
        if state.exists() and not resume and not force:
            raise UserError(f"{self.folder} already holds a run; resume it, choose another folder, or "
                            "force a new start")
        if state.exists() and resume:
            saved = load_state(state)
            changed = {key: (saved["options"].get(key), self.options.get(key))
                       for key in sorted(set(saved["options"]) | set(self.options))
                       if key not in free and saved["options"].get(key) != self.options.get(key)}
            if changed and not force:
                raise UserError(f"the run in {self.folder} was started with other settings: " + "; ".join(
                    f"{key} was {old!r}, now {new!r}" for key, (old, new) in changed.items())
                    + "; use another folder, the old settings, or force to go on with the new ones")
            if set(saved["parts"]) != set(self.parts):
                raise UserError(f"{state} holds {', '.join(sorted(saved['parts']))}; this run needs "
                                f"{', '.join(sorted(self.parts))}; use another folder")
            for name, part in self.parts.items():
                try:
                    part.load_state_dict(saved["parts"][name])
                except (RuntimeError, ValueError, KeyError) as error:
                    text = str(error).splitlines()[0]
                    raise UserError(f"{state} does not fit this run: '{name}' differs ({text})") from None
            self.step, self.seconds = saved["step"], saved["seconds"]
            self.sums = {name: list(pair) for name, pair in saved["sums"].items()}
        if self.rank == 0:
            with writing(self.folder, KEPT):
                self.folder.mkdir(parents=True, exist_ok=True)
                for left in self.folder.glob(".*.part"):  # of a run that was killed while it wrote
                    left.unlink()
                write_json(self.folder / "options.json", self.options)
                write_json(self.folder / "environment.json", environment(self.device))
                self._trim_log()

    def _trim_log(self):
        """Drops log lines after the restored step: a killed run may have logged beyond its last state."""
        path, kept = self.folder / "log.jsonl", []
        for line in path.read_text().splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):
                kept += [line] if json.loads(line)["step"] <= self.step else []
        with atomic(path, "w") as stream:
            stream.writelines(line + "\n" for line in kept)

    def save(self):
        """Writes the state atomically, after making sure that every number in it is finite."""
        if self.rank == 0:
            parts = {name: part.state_dict() for name, part in self.parts.items()}
            bad = _not_finite(parts)
            if bad:
                raise UserError(f"{self.title} broke at step {self.step}: '{bad}' is not finite; "
                                f"the last good state in {self.folder} is kept; lower the learning rate")
            if self.on_save:                              # first: what is saved as done has its exports
                self.on_save(self.step)
            state = {"step": self.step, "seconds": self.seconds, "options": self.options, "parts": parts,
                     "sums": self.sums}
            try:
                with atomic(self.folder / STATE) as stream:
                    torch.save(state, stream)
            except RuntimeError as error:                 # what torch makes of a write that failed
                reason = str(error).splitlines()[0]
                raise UserError(f"cannot write {self.folder / STATE} ({reason:.80}); {KEPT}; is the disk "
                                "full?") from None
        self._saved, self._saved_at = self.step, time.monotonic()

    def _scalar(self, value):
        return torch.as_tensor(value).detach().float().to(self.device)

    def _collect(self, pending):
        """Adds the pending values to the running sums; a value that is not finite ends the run."""
        for number, values in pending:
            means = distributed.mean(torch.stack(list(values.values()))).tolist()
            numbers = dict(zip(values, means, strict=True))
            bad = [f"'{name}' is {value}" for name, value in numbers.items() if not np.isfinite(value)]
            if bad:
                raise UserError(f"{self.title} broke at step {number}: {', '.join(bad)}; the last good state "
                                f"in {self.folder} is kept; lower the learning rate")
            for name, value in numbers.items():
                pair = self.sums.setdefault(name, [0.0, 0])
                pair[0], pair[1] = pair[0] + value, pair[1] + 1
        pending.clear()

    def _log(self, rate):
        if self.rank == 0:
            row = {"step": self.step, "images": self.images_at(self.step),
                   "seconds": round(self.seconds, 1), "images_per_second": round(rate, 2)}
            row |= {name: float(f"{total / count:.5g}") for name, (total, count) in self.sums.items()}
            with (self.folder / "log.jsonl").open("a") as stream:
                stream.write(json.dumps(row) + "\n")
        self.sums = {}

    def run(self, step):
        """Goes on from the restored step to `total`, or to the time limit. Returns the number of steps done.

        SIGINT and SIGTERM save, then raise KeyboardInterrupt or SystemExit; a second SIGINT stops at once.
        """
        from tqdm import tqdm
        start, begun, before = time.monotonic(), self.step, self.seconds
        self._saved, self._saved_at, pending, warm = self.step, start, [], start
        logged, logged_at, check = self.step, start, 1 if self.device.type == "cpu" else 16
        cuda = [self.device] if self.device.type == "cuda" else []
        quiet = self.headless or self.rank > 0
        bar = tqdm(total=self.total, initial=self.step, desc=self.title, disable=quiet)
        with (_signals() as caught, writing(self.folder, KEPT), torch.random.fork_rng(devices=cuda), bar,
              distributed.averaging()):
            while self.step < self.total:
                torch.manual_seed(step_seed(self.seed, self.step, self.rank))
                values = step(self.step).items()
                pending.append((self.step, {name: self._scalar(value) for name, value in values}))
                self.step += 1
                bar.update()
                if len(pending) >= check:
                    self._collect(pending)
                now = time.monotonic()
                self.seconds = before + now - start
                if self.step == begun + 1:
                    warm = now
                if self.step == begun + 1 + PROJECT_AFTER:
                    self._project(bar, (now - warm) / PROJECT_AFTER)
                if self.step % self.log_every == 0:
                    self._collect(pending)
                    images = self.images_at(self.step) - self.images_at(logged)
                    self._log(images / max(now - logged_at, 1e-9))
                    logged, logged_at = self.step, now
                for every, hook in self.hooks if self.rank == 0 else ():
                    if self.step % every == 0 or self.step == self.total:
                        hook(self.step)                   # before the state, which then knows of it
                stop, due = distributed.any_of(
                    caught or self.max_seconds and now - start >= self.max_seconds,
                    self.step % self.save_every == 0 or now - self._saved_at >= 60 * self.save_minutes)
                if stop or due:
                    self._collect(pending)
                    self.save()
                if stop:
                    break
            self._collect(pending)
            if self._saved != self.step or self.rank == 0 and not (self.folder / STATE).exists():
                self.save()
            distributed.wait()                            # who reads the result finds it
        if caught:
            raise KeyboardInterrupt if caught[0] == signal.SIGINT else SystemExit(128 + caught[0])
        return self.step

    def _project(self, bar, each):
        left = (self.total - self.step) * each
        if self.rank == 0:
            bar.write(f"{self.title}: {each:.3g} s/iteration ({self.images_per_step / each:.3g} images/s), "
                      f"peak memory {peak_memory(self.device):.2f} GB, {self.total - self.step} iterations "
                      f"left: about {int(left // 3600)} h {int(left % 3600 // 60):02d} min", file=sys.stdout)


def load_state(path):
    """Reads a state file of this loop (tensors and plain values only) onto the CPU."""
    try:
        check_archive(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if {"step", "options", "parts"} <= set(saved):
            return saved
    except UserError:
        raise
    except Exception as error:
        reason = type(error).__name__
        raise UserError(f"{path} cannot be read as a training state ({reason}); remove it") from None
    raise UserError(f"{path} is not a training state of this workbook")


def environment(device="cpu"):
    """What a run ran on: versions, processor or GPU, threads."""
    device = torch.device(device)
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else platform.processor() or platform.machine()
    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__,
            "system": f"{platform.system()} {platform.machine()}", "device": f"{device.type}: {name}",
            "threads": torch.get_num_threads(), "processes": distributed.size()}


def peak_memory(device="cpu"):
    """The largest memory used so far, in GB: of the GPU, or of this process."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _not_finite(value, name=""):
    """The name of the first tensor that is not finite in nested dicts and lists, or an empty string."""
    if isinstance(value, torch.Tensor):
        return name if value.is_floating_point() and not bool(torch.isfinite(value).all()) else ""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, (list, tuple)) else items
    names = ((f"{name}.{key}" if name else str(key), item) for key, item in items)
    return next((bad for key, item in names if (bad := _not_finite(item, key))), "")


@contextlib.contextmanager
def _signals():
    """Yields a list that collects SIGINT and SIGTERM (in the main thread); puts the old handlers back."""
    caught, old = [], {}

    def handler(number, _frame):
        caught.append(number)
        if len(caught) > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        old = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)

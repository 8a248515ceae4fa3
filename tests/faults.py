"""Kill it anywhere: work in child processes, killed or without a disk at random moments, then resumed.

    python tests/faults.py [--moments 50] [--seed 0] [training invert batch data]

Each kind of work is done once undisturbed. Then, again and again in a new folder, a child is disturbed:
SIGKILL at a random file operation or instant, a limit on the size of files, a disk that is full from a random
operation on, a file cut short. All files with a final name must open, and the resumed work must end as the
undisturbed one did, without doing finished work again. Children are forked: nothing is imported twice."""
import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from fault_work import KINDS  # noqa: E402

from restyle_lib.checkpoints.own import load_model  # noqa: E402
from restyle_lib.errors import UserError  # noqa: E402

torch.optim.Adam([torch.zeros(1, requires_grad=True)])   # imports much, for all children at once
Image.init()
FAULTS = ("kill at an operation", "kill at an instant", "file size limit", "disk full", "file cut short")
WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
PRINTS = Path("said.txt")


def child(work, folder, disturb=None):
    """Forks, disturbs, works in `folder` -> pid. Exit status 0: done, 1: a UserError, 2: anything else."""
    pid = os.fork()
    if pid:
        return pid
    status = 2
    try:
        os.setsid()
        os.chdir(folder)
        said = os.open(PRINTS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if disturb:
            disturb()
        work(folder)
        status = 0
    except UserError as error:
        os.write(2, f"UserError: {error}\n".encode())
        status = 1
    except BaseException as error:  # noqa: B902
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def ended(pid, seconds=None):
    """Waits for a child, at most so long; then kills it -> its exit status, or -9."""
    limit = None if seconds is None else time.monotonic() + seconds
    while limit is None or time.monotonic() < limit:
        done, status = os.waitpid(pid, 0 if limit is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def counting(file):
    """An audit hook's installation that counts file operations into a file at exit of the work."""
    def disturb():
        count = [0]

        def hook(event, arguments):
            if _is_operation(event, arguments):
                count[0] += 1
                os.pwrite(handle, b"%012d" % count[0], 0)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT)
        sys.addaudithook(hook)
    return disturb


def _is_operation(event, arguments):
    """Whether an audit event changes files: those that only read do not count."""
    if event != "open":
        return event in WATCHED
    flags = arguments[2] if isinstance(arguments[2], int) else 0
    mode = arguments[1] or ""
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or any(c in mode for c in "wax+")


def at_operation(number, act):
    """Calls act() at each file operation from the `number`-th on."""
    def disturb():
        left = [number]

        def hook(event, arguments):
            if _is_operation(event, arguments):
                left[0] -= 1
                if left[0] < 0:
                    act()
        sys.addaudithook(hook)
    return disturb


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _full():
    raise OSError(28, "No space left on device")


def sound(folder):
    """(how many files with a final name, those that do not open) under `folder`."""
    count, broken = 0, []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not path.is_file() or hidden or path.suffix == ".part" or path.name == PRINTS.name:
            continue
        count += 1
        try:
            _opened(path)
        except Exception as error:
            broken.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return count, broken


def _opened(path):
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].size >= 0 for name in file.files)
    elif path.suffix == ".npy":
        np.load(path, allow_pickle=False)
    elif path.suffix == ".pt":
        torch.load(path, weights_only=True)
    elif path.name == "config.json":
        load_model(path.parent)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".jsonl":
        text = path.read_text()
        assert all(json.loads(line) for line in text.rpartition("\n")[0].split("\n") if line)


class Trial:
    """One kind of work: how it ends undisturbed, then disturbed and resumed; `figures` count."""

    def __init__(self, kind, base):
        self.work, self.base, self.number = kind, Path(base), 0
        self.figures = {"faults": 0, "files": 0, "lost": 0, "corrupted": 0, "redone": 0, "refused": 0}
        self.wrong = []
        folder, counter = self._folder(), self.base / "count"
        kind.prepare(folder)
        clock = time.monotonic()
        status = ended(child(kind.run, folder, counting(counter)))
        self.seconds = time.monotonic() - clock
        assert status == 0, (folder / PRINTS).read_text()
        self.operations, self.end = int(counter.read_text()), kind.end(folder)
        sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
        self.largest = max(sizes)
        assert not sound(folder)[1], sound(folder)[1]

    def _folder(self):
        self.number += 1
        folder = self.base / f"{self.number:04d}"
        folder.mkdir(parents=True)
        return folder

    def once(self, fault, chance):
        """Disturbs one run, looks at what is there, resumes and compares."""
        kind, folder = self.work, self._folder()
        kind.prepare(folder)
        where, disturb, limit = chance.randrange(self.operations), None, None
        if fault == FAULTS[0]:
            disturb = at_operation(where, _die)
        elif fault == FAULTS[1]:
            limit = chance.uniform(0, self.seconds)
        elif fault == FAULTS[2]:
            size = chance.randrange(self.largest)

            def disturb():
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        elif fault == FAULTS[3]:
            disturb = at_operation(where, _full)
        else:
            disturb = at_operation(where, _die)
        status = ended(child(kind.run, folder, disturb), limit)
        self._settle(folder)
        self.figures["faults"] += 1
        about = f"{fault}, {folder.name}"
        if status == 2:
            self.wrong.append(f"{about}: no sentence: {(folder / PRINTS).read_text().strip()[-200:]}")
        count, broken = sound(folder)
        self.figures["files"] += count
        self.figures["corrupted"] += len(broken)
        self.wrong += [f"{about}: {line}" for line in broken]
        cut, before = None, kind.done(folder)
        if fault == FAULTS[4] and (files := kind.cuttable(folder)):
            cut = chance.choice(files)
            os.truncate(cut, chance.randrange(cut.stat().st_size or 1))
        status = ended(child(kind.run, folder))
        if status == 1 and cut is not None:               # it says which file: the user removes it
            self.figures["refused"] += 1
            if cut.name not in (folder / PRINTS).read_text():
                self.wrong.append(f"{about}: {cut.name} was cut, and not named")
            cut.unlink()
            status = ended(child(kind.run, folder))
        if status != 0:
            self.wrong.append(f"{about}: not resumed: {(folder / PRINTS).read_text().strip()[-200:]}")
        redone = kind.redone(folder, before) if cut is None else 0
        self.figures["redone"] += redone
        end = kind.end(folder)
        if cut is not None:                               # images done again in other batches, other bits
            end |= {key: self.end[key] for key in kind.by_batch}
        lost = [key for key in self.end if end.get(key) != self.end[key]]
        self.figures["lost"] += len(lost)
        self.wrong += [f"{about}: ends otherwise: {key}" for key in lost[:3]] + (
            [f"{about}: {redone} done again"] if redone else [])
        if not (lost or broken or redone):
            shutil.rmtree(folder)

    def _settle(self, folder):
        """Waits for what the killed child had begun (notebooks of a batch)."""
        while self.work.busy(folder):
            time.sleep(0.02)


def run(kinds, count, seed=0, faults=FAULTS, say=print):
    """Disturbs each kind of work `count` times, with each fault in turn -> what went wrong, as sentences."""
    torch.set_num_threads(1)
    wrong, total = [], {}
    with tempfile.TemporaryDirectory() as base:
        for name in kinds:
            clock, chance = time.monotonic(), random.Random(f"{seed} {name}")
            trial = Trial(KINDS[name](), Path(base) / name)
            for number in range(count):
                trial.once(faults[number % len(faults)], chance)
            told = ", ".join(f"{key} {value}" for key, value in trial.figures.items())
            say(f"{name}: {told} ({trial.operations} file operations, {time.monotonic() - clock:.0f} s)")
            say("".join(f"{name}: {line}\n" for line in trial.wrong), end="")
            wrong += trial.wrong
            total = {key: total.get(key, 0) + value for key, value in trial.figures.items()}
    say("all: " + ", ".join(f"{key} {value}" for key, value in total.items()))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--moments", type=int, default=50, help="of each of the five faults (default 50)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    return 1 if run(given.kinds or list(KINDS), given.moments * len(FAULTS), given.seed) else 0


if __name__ == "__main__":
    sys.exit(main())

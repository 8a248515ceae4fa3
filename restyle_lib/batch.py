"""Many notebook runs from one YAML plan: every value checked first, each run in a process of its own.

A plan is an entry or a list of entries. An entry is a table: `notebook` (a number, a name, several, or all),
parameters, and where wished `minutes` and `memory_gb`, the limits of each run; a list of values stands for
each of them, so that lists make a grid. A run folder keeps its jobs in batch.json, for `resume`."""
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from . import profiles, runs, workbook
from .schema import _number, _read
from .errors import UserError
from .files import ROOT, write_json, writing
from .provenance import code_version
from .tables import Table

LIMITS, GRACE = ("minutes", "memory_gb"), 30.0           # seconds for a stopped run to write what happened


@dataclass
class Job:
    """One notebook of a plan with its parameters; `place` numbers the run folder that it goes to."""
    notebook: str
    values: dict
    place: int = 0
    run: str = ""
    status: str = "not run"
    facts: dict = field(default_factory=dict)
    minutes: float = 0.0               # limits, 0: none
    memory_gb: float = 0.0
    threads: int = 0                   # 0: as the environment says, or a share of the cores
    stopped: str = ""                  # which limit it went over
    began: float = 0.0

    @property
    def pairs(self):
        return [f"{name}={_text(value)}" for name, value in self.values.items()]

    def row(self):
        """What the table at the end says of it."""
        return {"run": self.run or "–", "notebook": self.notebook, "parameters": " ".join(self.pairs) or "–",
                "status": self.status, "seconds": self.facts.get("seconds_with_kernel"),
                "peak MiB": self.facts.get("peak_memory_mb")}

    def done(self, folder):
        """Its facts where `folder` holds it finished by the code as it is now, else None."""
        place = folder / self.notebook
        with contextlib.suppress(OSError, ValueError):
            facts = runs.read_facts(place)
            given = workbook.check([self.notebook], self.pairs)[self.notebook]
            given.pop("run", None)
            if (facts["status"], facts.get("given")) == ("finished", json.loads(json.dumps(given))) \
                    and facts.get("code") == code_version(workbook.folder() / f"{self.notebook}.ipynb"):
                return facts
        return None


def read(path, minutes=0.0, memory_gb=0.0):
    """The Jobs of a plan, in order. UserError names the entry: unknown notebook, parameter or value."""
    plan = _read(path, object)
    plan = [plan] if isinstance(plan, dict) else plan
    if not isinstance(plan, list) or not plan:
        raise UserError(f"{path}: a plan is a list of entries such as {{notebook: 03, seed: [0, 1]}}")
    jobs = []
    for number, entry in enumerate(plan, 1):
        try:
            jobs += _jobs(entry, {"minutes": minutes, "memory_gb": memory_gb})
        except UserError as error:
            raise UserError(f"{path}, entry {number}: {error}") from None
    return _placed(jobs, path)


def again(folder):
    """The Jobs that a run was made of: its notebooks with the values that they were given."""
    jobs = []
    for path in sorted(folder.glob("*/run.json")):
        facts = runs.read_facts(path.parent)
        values = facts.get("given")
        if values is None:                                # by hand: what the notebook resolved
            told = {k: v for k, v in facts["parameters"].items() if k != "run"} | facts.get("sizes", {})
            values = {p.name: told[p.name] for p in workbook.parameters(path.parent.name) if p.name in told}
        jobs += [Job(path.parent.name, values)]
        workbook.check([jobs[-1].notebook], jobs[-1].pairs)
    return jobs


def _jobs(entry, limits):
    """The Jobs of one entry: all combinations of its lists."""
    if not isinstance(entry, dict) or "notebook" not in entry:
        raise UserError("expected a table with a `notebook` and parameters")
    words = entry["notebook"] if isinstance(entry["notebook"], list) else [entry["notebook"]]
    words = [f"{word:02d}" if isinstance(word, int) else str(word) for word in words]    # 03 is a 3 in YAML
    names = workbook.notebooks() if "all" in words else list(dict.fromkeys(map(workbook.resolve, words)))
    limits = limits | {name: entry[name] for name in LIMITS if name in entry}
    if wrong := [name for name, value in limits.items() if not _number(value) or value < 0]:
        raise UserError(f"{wrong[0]} is {limits[wrong[0]]!r:.40}; accepted: a number, 0 for no limit")
    given = {str(name): value for name, value in entry.items() if name not in ("notebook", *LIMITS)}
    jobs = []
    for name in names:
        kinds = {p.name: p.kind for p in workbook.parameters(name)}
        choices = [value if isinstance(value, list) and (kinds.get(key) not in ("list", "tuple")
                   or any(isinstance(v, list) for v in value)) else [value] for key, value in given.items()]
        if any(not values for values in choices):
            raise UserError("an empty list stands for no run at all")
        for combination in itertools.product(*choices):
            job = Job(name, dict(zip(given, combination, strict=True)), **limits)
            values = workbook.check([name], job.pairs)[name]
            profile, device = values.get("profile", "smoke"), values.get("device", "auto")
            if profile in ("gpu", "paper") or device not in ("auto", "cpu"):
                runs.choose_device(device, profile)
            jobs.append(job)
    return jobs


def _text(value):
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _placed(jobs, path):
    """Numbers the run folders: each job goes to the first whose jobs it may join."""
    folders = []
    for job in jobs:
        fits = [n for n, folder in enumerate(folders) if all(_together(job, other) for other in folder)]
        if not fits and job.values.get("run") in {f[0].values.get("run") for f in folders} - {None}:
            raise UserError(f"{path}: {job.notebook} stands twice in the run '{job.values['run']}'")
        job.place = fits[0] if fits else len(folders)
        if not fits:
            folders.append([])
        folders[job.place].append(job)
    return jobs


def _together(one, other):
    """Whether two jobs may share a run folder: other notebooks, and no parameter that both set differently,
    but in a run that both name."""
    same = [other.values.get(k, v) == v for k, v in one.values.items()]
    runs = one.values.get("run"), other.values.get("run")
    return one.notebook != other.notebook and runs[0] == runs[1] and (runs[0] is not None or all(same))


def expected(jobs):
    """A Table of what would run, with the seconds that each notebook took where it was measured."""
    columns = list(profiles.PROFILES)
    return Table({"folder": job.place + 1, "notebook": job.notebook, "parameters": " ".join(job.pairs) or "–",
                  "seconds": profiles.SECONDS.get(job.notebook, (None,) * 4)[
                      columns.index(job.values.get("profile", "smoke"))]} for job in jobs)


def run(jobs, name, *, parallel=1, keep_going=False, resume=False, say=print, start=None):
    """Runs Jobs, `parallel` at a time, into run folders of their own named after `name` -> a Table with
    their status.

    resume: goes on in the folders that a batch of this name has begun with the same jobs, and leaves out what
    is finished there by the same code. After a failure no other job is begun, unless keep_going; an
    interruption ends those that are running. UserError: a run that the plan names is there already, or
    another batch is at work in it. start: how a job is begun instead (`cluster`)."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "batch"
    with contextlib.ExitStack() as stack, writing(runs.outputs_dir(), "batch --resume goes on with the rest"):
        locks = {place: _opened(slug, [job for job in jobs if job.place == place], resume, stack)
                 for place in sorted({job.place for job in jobs})}
        for job in jobs:
            job.facts = (resume and job.done(runs.outputs_dir() / job.run)) or {}
            job.status = "finished" if job.facts else "not run"
        waiting, running = [job for job in jobs if not job.facts], {}
        if len(waiting) < len(jobs):
            say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs were finished already")
        try:
            while waiting or running:
                failed = any(job.status == "failed" for job in jobs)
                if failed and not keep_going:
                    waiting.clear()
                while waiting and len(running) < parallel:
                    job = waiting.pop(0)
                    running[(start or _start)(job, parallel, locks[job.place])] = job
                    say(f"{job.notebook} {' '.join(job.pairs)} -> {job.run}".replace("  ", " "))
                for process, job in running.items() if start is None else ():
                    _limit(job, process[0])
                for process in [p for p in running if p[0].poll() is not None]:
                    _finish(running.pop(process), *process, say)
                time.sleep(0.1)
        finally:
            for process, _ in running:
                process.terminate() if os.name == "nt" else process.send_signal(signal.SIGINT)
            for process, log in running:                      # which mark their runs as interrupted
                process.wait()
                log.close()
    return Table(job.row() for job in jobs)


def _opened(slug, jobs, resume, stack):
    """Finds or makes the run folder of some jobs, for this batch alone -> its lock, a file descriptor."""
    told = [[job.notebook, *job.pairs] for job in jobs]
    wanted, base = jobs[0].values.get("run", ""), runs.outputs_dir()
    found = [base / wanted] if wanted and (base / wanted).exists() else []
    if resume and not wanted:
        found = sorted((p.parent for p in base.glob("*/batch.json")), key=lambda p: p.name, reverse=True)
    for folder in found:
        before = _told(folder)
        if resume and before.get("plan") == slug and all(job in told for job in before.get("jobs", [None])):
            break
        if wanted:
            raise UserError(f"the run '{wanted}' is there already, and not of these jobs of the batch "
                            f"'{slug}' to resume; choose another name, or clean {wanted}")
    else:
        folder = runs.new_run(slug, wanted)
    for job in jobs:
        job.run = folder.name
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    stack.callback(os.close, lock)
    with contextlib.suppress(ImportError):                # Windows: without it
        import fcntl
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another batch, or a notebook that it began, is at work in {folder}; wait for "
                            "it, or end it") from None
    write_json(folder / "batch.json", {"plan": slug, "jobs": told})
    return lock


def _told(folder):
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
        return facts if isinstance(facts, dict) else {}
    return {}


def _start(job, parallel, lock):
    pairs = [pair for pair in job.pairs if not pair.startswith("run=")]
    words = [sys.executable, "-m", "restyle_lib", "run", job.notebook, *pairs, "--run", job.run]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if job.threads:
        environment["OMP_NUM_THREADS"] = str(job.threads)
    elif parallel > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // parallel)))
    job.status, job.began, log = "running", time.monotonic(), tempfile.TemporaryFile("w+")
    kept = {} if os.name == "nt" else {"pass_fds": (lock,)}  # a run that outlives its batch keeps the lock
    return subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT,
                            start_new_session=True, **kept), log


def _limit(job, process):
    """Ends a run that is over its limits: its kernel first, so that the run can write what happened."""
    passed = time.monotonic() - job.began
    if job.stopped:
        if passed > GRACE:
            process.kill()
        return
    if job.minutes and passed > 60 * job.minutes:
        job.stopped = f"stopped after {passed / 60:.1f} minutes; its limit is {job.minutes:g}"
    elif job.memory_gb and (used := _memory(process.pid)) > job.memory_gb:
        job.stopped = f"stopped at {used:.2f} GB of memory; its limit is {job.memory_gb:g}"
    if job.stopped:
        job.began = time.monotonic()
        for child in _family(process.pid)[1:]:
            with contextlib.suppress(Exception):          # gone meanwhile
                child.kill()


def _family(pid):
    """The processes of a run: itself, then all that it has begun."""
    import psutil                                         # comes with ipykernel
    try:
        return [(one := psutil.Process(pid)), *one.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(pid):
    """Resident memory of a run with its kernel, in GB."""
    total = 0
    for process in _family(pid):
        with contextlib.suppress(Exception):
            total += process.memory_info().rss
    return total / 1e9


def _finish(job, process, log, say):
    """Notes how a job ended; says why where it failed."""
    with log:
        log.seek(0)
        lines = [line for line in log.read().splitlines() if line.strip()]
    place = runs.outputs_dir() / job.run / job.notebook
    job.facts = runs.read_facts(place) if (place / "run.json").exists() else {}
    job.status = "failed" if process.returncode else job.facts.get("status", "failed")
    if job.stopped and job.status != "finished":
        job.facts |= {"status": "failed", "error": f"{job.notebook} was {job.stopped}"}
        write_json(place / "run.json", {"parameters": job.values, "started": runs.now()} | job.facts)
    if job.status != "finished":
        reason = job.facts.get("error") or (lines[-1] if lines else f"exit status {process.returncode}")
        say(f"failed: {job.notebook} in {job.run}: {reason}")

"""Many notebook runs from one YAML plan: every value checked first, each run in a process of its own.

A plan is an entry or a list of entries. An entry is a table: `notebook` (a number, a name, several, or all)
and parameters; a list of values stands for each of them, so that lists make a grid."""
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
from pathlib import Path

import yaml

from . import profiles, runs, workbook
from .errors import UserError
from .files import ROOT
from .tables import Table


@dataclass
class Job:
    """One notebook of a plan with its parameters; `place` numbers the run folder that it goes to."""
    notebook: str
    values: dict
    place: int = 0
    run: str = ""
    status: str = "not run"
    facts: dict = field(default_factory=dict)

    @property
    def pairs(self):
        return [f"{name}={_text(value)}" for name, value in self.values.items()]

    def row(self):
        """What the table at the end says of it."""
        return {"run": self.run or "–", "notebook": self.notebook, "parameters": " ".join(self.pairs) or "–",
                "status": self.status, "seconds": self.facts.get("seconds_with_kernel"),
                "peak MiB": self.facts.get("peak_memory_mb")}


def read(path):
    """The Jobs of a plan, in order. UserError names the entry: unknown notebook, parameter or value."""
    try:
        plan = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"cannot read the plan {path}: {reason}") from None
    plan = [plan] if isinstance(plan, dict) else plan
    if not isinstance(plan, list) or not plan:
        raise UserError(f"{path}: a plan is a list of entries such as {{notebook: 03, seed: [0, 1]}}")
    jobs = []
    for number, entry in enumerate(plan, 1):
        try:
            jobs += _jobs(entry)
        except UserError as error:
            raise UserError(f"{path}, entry {number}: {error}") from None
    return _placed(jobs, path)


def _jobs(entry):
    """The Jobs of one entry: all combinations of its lists."""
    if not isinstance(entry, dict) or "notebook" not in entry:
        raise UserError("expected a table with a `notebook` and parameters")
    words = entry["notebook"] if isinstance(entry["notebook"], list) else [entry["notebook"]]
    words = [f"{word:02d}" if isinstance(word, int) else str(word) for word in words]    # 03 is a 3 in YAML
    names = workbook.notebooks() if "all" in words else list(dict.fromkeys(map(workbook.resolve, words)))
    given = {str(name): value for name, value in entry.items() if name != "notebook"}
    jobs = []
    for name in names:
        kinds = {p.name: p.kind for p in workbook.parameters(name)}
        choices = [value if isinstance(value, list) and (kinds.get(key) not in ("list", "tuple")
                   or any(isinstance(v, list) for v in value)) else [value] for key, value in given.items()]
        if any(not values for values in choices):
            raise UserError("an empty list stands for no run at all")
        for combination in itertools.product(*choices):
            job = Job(name, dict(zip(given, combination, strict=True)))
            values = workbook.check([name], job.pairs)[name]
            profile, device = values.get("profile", "smoke"), values.get("device", "auto")
            if profile in ("gpu", "paper") or device not in ("auto", "cpu"):
                runs.choose_device(device, profile)
            jobs.append(job)
    return jobs


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


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


def run(jobs, name, *, parallel=1, keep_going=False, say=print):
    """Runs Jobs, `parallel` at a time, into new run folders named after `name` -> a Table with their status.

    After a failure no other job is begun, unless keep_going; an interruption ends those that are running."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "batch"
    folders = {}
    for job in jobs:
        if job.place not in folders:
            folders[job.place] = runs.new_run(slug, job.values.get("run", "")).name
        job.run, job.status, job.facts = folders[job.place], "not run", {}
    waiting, running = list(jobs), {}
    try:
        while waiting or running:
            failed = any(job.status == "failed" for job in jobs)
            if failed and not keep_going:
                waiting.clear()
            while waiting and len(running) < parallel:
                job = waiting.pop(0)
                running[_start(job, parallel)] = job
                say(f"{job.notebook} {' '.join(job.pairs)} -> {job.run}".replace("  ", " "))
            for process in [p for p in running if p[0].poll() is not None]:
                _finish(running.pop(process), *process, say)
            time.sleep(0.1)
    finally:
        for process, _ in running:
            process.terminate() if os.name == "nt" else process.send_signal(signal.SIGINT)
        for process, log in running:                          # which mark their runs as interrupted
            process.wait()
            log.close()
    return Table(job.row() for job in jobs)


def _start(job, parallel):
    pairs = [pair for pair in job.pairs if not pair.startswith("run=")]
    words = [sys.executable, "-m", "restyle_lib", "run", job.notebook, *pairs, "--run", job.run]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if parallel > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // parallel)))
    job.status, log = "running", tempfile.TemporaryFile("w+")
    return subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT,
                            start_new_session=True), log


def _finish(job, process, log, say):
    """Notes how a job ended; says why where it failed."""
    with log:
        log.seek(0)
        lines = [line for line in log.read().splitlines() if line.strip()]
    place = runs.outputs_dir() / job.run / job.notebook
    job.facts = runs.read_facts(place) if (place / "run.json").exists() else {}
    job.status = "failed" if process.returncode else job.facts.get("status", "failed")
    if job.status != "finished":
        reason = job.facts.get("error") or (lines[-1] if lines else f"exit status {process.returncode}")
        say(f"failed: {job.notebook} in {job.run}: {reason}")

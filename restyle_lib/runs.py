"""Run folders: outputs/<run>/<notebook>/ with provenance, named numbers (records.jsonl) and figures."""
import json
import math
import os
import re
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path

from . import profiles
from .errors import UserError, suggest
from .files import ROOT, write_json
from .provenance import peak_memory, provenance, shorter

RECORDS = "application/vnd.restyle.records+json"
RESERVED = ("gallery", "history")


def outputs_dir():
    """Where runs go: RESTYLE_OUTPUTS, or outputs/ beside the library."""
    return Path(os.environ.get("RESTYLE_OUTPUTS") or ROOT / "outputs").absolute()


def new_run(profile, name=""):
    """Makes outputs/<name>/, by default the next free number and the profile ("003-quick") -> its path."""
    base = outputs_dir()
    if name and (not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in RESERVED):
        raise UserError(f"run name '{name}' is not usable: letters, digits, '.', '_', '-', and not "
                        f"{' or '.join(map(repr, RESERVED))}")
    try:
        base.mkdir(parents=True, exist_ok=True)
        if name:
            (base / name).mkdir(exist_ok=True)
            return base / name
        number = max((int(m[1]) for p in base.iterdir() if (m := re.match(r"(\d+)-", p.name))), default=0)
        while True:
            number += 1
            try:
                (folder := base / f"{number:03d}-{profile}").mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        reason = f"cannot make a run folder in {base}: {error.strerror}"
        raise UserError(f"{reason}; set RESTYLE_OUTPUTS to a writable folder") from None


def list_runs():
    """Folders of all runs, oldest first: those that hold at least one notebook's run.json."""
    found = {path.parent.parent for path in outputs_dir().glob("[!.]*/*/run.json")}
    return sorted(found, key=lambda p: (min(f.stat().st_mtime for f in p.glob("*/run.json")), p.name))


def run_folder(name):
    """The folder of an existing run; UserError with a suggestion when there is none."""
    known = [path.name for path in list_runs()]
    if not known:
        raise UserError(f"there is no run '{name}': {outputs_dir()} holds none yet")
    if name not in known:
        raise suggest(name, known, "run")
    return outputs_dir() / name


def find(notebook, run=None, status="finished", **parameters):
    """Newest outputs/<run>/<notebook>/ of this status and parameters: notebooks pass files, not memory."""
    hits = []
    for path in outputs_dir().glob(f"{run or '[!.]*'}/{notebook}/run.json"):
        facts = read_facts(path.parent)
        if facts["status"] == status and parameters.items() <= facts["parameters"].items():
            hits.append((facts["started"], path.parent))
    if not hits:
        told = " ".join([notebook, *(f"{k}={v}" for k, v in parameters.items())])
        raise UserError(f"no {status} run of {told} in {outputs_dir()}; make one with: "
                        f"python -m restyle_lib run {told}")
    return max(hits)[1]


def read_facts(folder):
    """run.json of a notebook's folder; UserError where it is none."""
    path = Path(folder) / "run.json"
    try:
        return {"status": "unknown", "started": "", "parameters": {}} | json.loads(path.read_text("utf-8"))
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged; delete the run, or make its notebook again") from None


def read_records(folder):
    """The records of a notebook's folder: dicts with name, value, unit and what it was measured on."""
    return _lines(Path(folder) / "records.jsonl")


def read_figures(folder):
    """The figures of a notebook's folder in the order shown: dicts with name, caption, alt, gallery."""
    return list({line["name"]: line for line in _lines(Path(folder) / "figures.jsonl")}.values())


def _lines(path):
    """Of a file of JSON lines; one that a killed process has cut off, the last, does not count."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [dict(json.loads(line)) for line in text.rpartition("\n")[0].split("\n") if line]
    except (ValueError, TypeError, RecursionError):
        raise UserError(f"{path} is damaged; delete the run, or make its notebook again") from None


def domain_names():
    """Names of the domains that data_manifests/domains describes."""
    return sorted(p.stem for p in (ROOT / "data_manifests" / "domains").glob("*.yaml"))


def check_common(profile, device, domain):
    """Refuses an unknown profile, device or domain; `domain` may also be a path to a YAML file."""
    profiles.check_profile(profile)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise suggest(device, ["auto", "cpu", "cuda", "cuda:1", "mps"], "device")
    if domain not in domain_names() and not (domain.endswith((".yaml", ".yml")) and Path(domain).is_file()):
        raise suggest(domain, [*domain_names(), "the path of a YAML file"], "domain")


def choose_device(device, profile="smoke"):
    """Returns "cpu", "cuda[:n]" or "mps"; refuses a GPU that is not there.

    "auto" takes a GPU when there is one; without one it is refused for the profiles gpu and paper.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        if profile in ("gpu", "paper"):
            raise UserError(f"profile {profile} expects a GPU and none is usable here: choose profile=quick, "
                            "or device=cpu to go on without one")
        return "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device={device}: no CUDA device is usable here; choose device=cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("device=mps: not available here; choose device=cpu")
    return device


def start(notebook, *, profile="smoke", seed=0, device="auto", run="", domain="avatars", **sizes):
    """Resolves a notebook's parameters, seeds everything, makes its folder and prints a compact table.

    Sizes left at 0 come from the profile. `run` is a run's name, "" for a new one, or the Run itself when its
    cell runs again. Returns a `Run`.
    """
    import numpy
    import torch

    check_common(profile, device, domain)
    resolved = profiles.sizes(notebook, profile, sizes)
    device = choose_device(device, profile)
    torch.manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    folder = run.folder.parent if isinstance(run, Run) else new_run(profile, run)
    parameters = {"profile": profile, "seed": seed, "device": device, "run": folder.name, "domain": domain}
    started = Run(folder / notebook, parameters, resolved)
    print(" · ".join([notebook, *(f"{k} {v}" for k, v in parameters.items() if k != "run")]))
    print(" · ".join(f"{k} {v}" for k, v in vars(resolved).items()) or "no sizes")
    print(f"results in {shorter(started.folder)}")
    return started


class Run:
    """One execution of a notebook: .profile .seed .device .domain .sizes .interactive .folder .name."""

    def __init__(self, folder, parameters, sizes):
        self.folder, self.sizes, self.name = Path(folder), sizes, parameters["run"]
        self.profile, self.seed = parameters["profile"], parameters["seed"]
        self.device, self.domain = parameters["device"], parameters["domain"]
        self.interactive = os.environ.get("RESTYLE_INTERACTIVE", "1") != "0"
        self.clock = time.perf_counter()
        self.facts = {"notebook": self.folder.name, "status": "running", "started": now(),
                      "parameters": parameters, "sizes": vars(sizes), **provenance(self.domain)}
        write_json(self.folder / "run.json", self.facts)
        for stale in ("records.jsonl", "figures.jsonl"):
            (self.folder / stale).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "figures", ignore_errors=True)

    def record(self, name, value, unit="", **where):
        """Appends one named number to records.jsonl; `where` says what of: split, n, network, step, ...

        An Interval also gives low, high and n. With claim=, part=, world= and seeds= (how many trainings) the
        number counts for a claim of the paper, see restyle_lib.claims.
        """
        from .statistics import Interval

        if isinstance(value, Interval):
            ends = (e if math.isfinite(e) else None for e in value[1:3])
            where = dict(zip(("low", "high", "n"), (*ends, value.count), strict=True)) | where
            value = value.estimate
        if "claim" in where:
            from .claims import check

            where = check(name, where)
        value = value.item() if hasattr(value, "item") else value
        if not isinstance(value, (bool, int, float)):
            raise UserError(f"record {name}: expected one number, got {type(value).__name__}")
        value = value if math.isfinite(value) else None
        line = {"name": name, "value": value, "unit": unit, **where, "seed": self.seed}
        self._append("records.jsonl", line)

    def table(self):
        """Displays the records so far as a table; the executed notebook carries them as data, too."""
        from .report import records_table

        records = read_records(self.folder)
        _display({RECORDS: records, "text/html": records_table(records)})

    def show(self, figure, name, alt, caption, gallery=False):
        """Saves a figure of restyle_lib.figures as figures/<name>.png (300 dpi), .pdf, .csv and displays it.

        `alt` describes it to somebody who cannot see it; `caption` says what it shows and of what (rendered,
        photograph, sample of a generator); `gallery` marks pictures for the gallery, by default the first.
        """
        from . import figures

        if not re.fullmatch(r"[a-z0-9_]+", name) or not alt or not caption:
            raise UserError(f"figure '{name}': needs a name of a-z, 0-9 and _, an alt text and a caption")
        png, width = figures.save(figure, self.folder / "figures" / name, alt)
        line = {"name": name, "caption": caption, "alt": alt, "gallery": gallery}
        self._append("figures.jsonl", line)
        _display({"image/png": png}, {"image/png": {"alt": alt, "width": width}})

    def finish(self, **checks):
        """Marks the notebook finished and prints a line per check (True or False) and two with counts."""
        from .report import write_index

        records, shown = read_records(self.folder), read_figures(self.folder)
        checks = {name.replace("_", " "): bool(value) for name, value in checks.items()}
        self.facts.update(status="finished", ended=now(), seconds=round(time.perf_counter() - self.clock, 1),
                          peak_memory_mb=peak_memory(), checks=checks)
        write_json(self.folder / "run.json", self.facts)
        write_index(self.folder.parent)
        for name, value in checks.items():
            print(f"{name}: {value}")
        print(f"records: {len(records)}, all finite: {all(r['value'] is not None for r in records)}")
        print(f"figures: {len(shown)}")

    def _append(self, file, line):
        with open(self.folder / file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def now():
    """Local time with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _display(data, metadata=None):
    """Rich output where a notebook shows it; nothing in plain Python."""
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from IPython.display import display

        display(data, metadata=metadata, raw=True)

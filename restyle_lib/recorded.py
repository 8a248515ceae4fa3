"""Recorded comparisons: what a long run measured of optimisations and hybrids, shipped as a small file and
drawn, dashed and labelled, beside what is measured now.

A file belongs to one generator and to the judges that measured it; others are refused or left out."""
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from .errors import UserError
from .files import ASSETS, atomic
from .models.stylegan2 import fingerprint
from .runs import now

SUFFIX = " (recorded)"
PASSES = re.compile(r", \d+k passes$")     # of a label: an encoder as it was before it was trained on
KINDS = ("l2", "perceptual", "identity")
IMAGES = 64                     # of encoders, at most; more would make the file large


def place(domain):
    """Where a domain's recorded comparison ships."""
    return ASSETS / domain / "comparison.json"


def write(path, study, command):
    """Writes a Study's rows: of encoders those of the first IMAGES images. command: what makes them again."""
    networks = study.scores.protocol.networks
    columns = {kind: networks.get(kind, (kind,))[0] for kind in KINDS}
    entries = {entry.label: entry for entry in study.entries if entry.label in study.made}
    at, names = ({name: i for i, name in enumerate(found)} for found in (entries, study.names[:IMAGES]))
    rows = [[at[row["method"]], names[row["image"]], row["step"], _short(row["seconds"], 3),
             *(_short(row[columns[kind]]) for kind in KINDS)]
            for row in study.scores.rows if row["method"] in at and row["image"] in names]
    content = {
        "generator": fingerprint(study.generator), "command": command, "date": now(),
        "hardware": study.scores.protocol.hardware, "judges": columns,
        "methods": {label: [entry.family, entry.plan, before(entry)] for label, entry in entries.items()},
        "images": list(names), "rows": rows}    # of numbers of a method and an image, step, seconds, metrics
    with atomic(path, "w") as stream:           # compact: thousands of rows
        json.dump(content, stream, separators=(",", ":"))


def before(entry):
    """Passes that a method's start has cost: those of the encoder that a hybrid begins with."""
    return getattr(getattr(entry.method, "first", None), "steps", 0)


def read(path, generator, networks):
    """A Recorded of the file, or None where there is none. UserError if it is another generator's.

    networks: {kind: (column, ...)} of the judges now: a kind that another one measured is left out."""
    if not Path(path).exists():
        return None
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        names = ("method", "image", "step", "seconds", *KINDS)
        labels, images = list(found["methods"]), found["images"]
        rows = [dict(zip(names, (labels[a], images[b], *rest), strict=True)) for a, b, *rest in found["rows"]]
        told = f"{found['hardware']}, {found['date'][:10]}: {found['command']}"
        methods, judges, theirs = found["methods"], found["judges"], found["generator"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} is no recorded comparison ({type(error).__name__}); make it again with "
                        "notebook 20, profile gpu or paper") from None
    if theirs != fingerprint(generator):
        ours = fingerprint(generator)[:12]
        raise UserError(f"{Path(path).name} was recorded with generator {theirs[:12]}, this one is {ours}; "
                        "make it again with notebook 20, profile gpu or paper")
    for kind in KINDS:
        if judges[kind] != networks.get(kind, (kind,))[0]:
            for row in rows:
                row[kind] = None
    return Recorded(rows, methods, told)


class Recorded:
    """rows: as `scoring.Scores.rows`. methods: {label: (family, planned steps, passes before)}. told: on
    what, when, by which command."""

    def __init__(self, rows, methods, told):
        self.methods = {label + SUFFIX: (family + SUFFIX, plan, before)
                        for label, (family, plan, before) in methods.items()}
        self.rows = [row | {"method": row["method"] + SUFFIX} for row in rows]
        self.told = told

    def without(self, labels):
        """The methods that are not among `labels`, which were measured anew."""
        return {label: found for label, found in self.methods.items()
                if label.removesuffix(SUFFIX) not in labels}

    def curves(self, kind, labels=()):
        """{label: Curve} of a metric, without those in `labels`."""
        from .comparison import curves
        methods = self.without(labels)
        rows = [row for row in self.rows if row["method"] in methods]
        scores = SimpleNamespace(rows=rows, protocol=SimpleNamespace(networks={}))
        plans = {label: plan for label, (_, plan, _) in methods.items()}
        found = curves(scores, kind, plans, recorded=methods)
        return {label: replace(c, passes=c.passes + methods[label][2]) for label, c in found.items()}


def _short(value, digits=5):
    return None if value is None else float(f"{value:.{digits}g}")

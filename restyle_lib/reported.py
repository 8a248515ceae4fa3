"""What others reported (data_manifests/reported.yaml), and ours beside it."""
import functools
from dataclasses import dataclass
from pathlib import Path

from .domains import MANIFESTS
from .errors import UserError, suggest
from .schema import TEXT, _build, _field, _number, _read
from .tables import Table

METRICS = ("l2", "psnr", "ssim", "ms_ssim", "lpips", "identity", "fid", "seconds", "iterations",
           "steps_to_converge", "times_slower_for_equal_identity", "times_faster_than_pyramid")
FIGURE = "figure only"


def _metrics(test):
    return lambda v: isinstance(v, dict) and all(k in METRICS and test(x) for k, x in v.items())


@dataclass(frozen=True)
class Source:
    """Where numbers stand, how they were measured, how sure they are; tolerance: {metric: parity}."""
    title: str = _field(TEXT)
    protocol: str = _field(TEXT)
    checked: str = _field(TEXT)
    tolerance: dict = _field((_metrics(lambda v: _number(v) and v > 0),
                              f"positive numbers, of {', '.join(METRICS)}"), dict)


@dataclass(frozen=True)
class Row:
    """What a source reports of a method on a data set: {metric: number, or None where a figure is all}."""
    source: str = _field(TEXT)
    data: str = _field(TEXT)
    method: str = _field(TEXT)
    values: dict = _field((lambda v: bool(v) and _metrics(lambda x: x is None or _number(x))(v),
                           f"numbers or null, of {', '.join(METRICS)}"))


@dataclass(frozen=True)
class Reported:
    """All sources by name, and the rows in the file's order."""
    sources: dict
    rows: tuple


def load(path=None):
    """A Reported of a YAML file, by default the shipped one. UserError: file, field, what is accepted."""
    path = MANIFESTS / "reported.yaml" if path is None else Path(path)
    return _load(path, path.stat().st_mtime_ns if path.is_file() else 0)


@functools.lru_cache(maxsize=4)
def _load(path, changed):
    values = _read(path)
    for name, kind in (("sources", dict), ("rows", list)):
        if not isinstance(values.get(name), kind):
            raise UserError(f"{path}: {name} must be a {'table' if kind is dict else 'list'}")
    if extra := values.keys() - {"sources", "rows"}:
        raise UserError(f"{path}: unknown field '{sorted(extra)[0]}'; accepted: sources, rows")
    sources = {k: _build(Source, v, path, f"sources.{k}.") for k, v in values["sources"].items()}
    rows, seen = [_build(Row, v, path, f"rows[{i}].") for i, v in enumerate(values["rows"])], set()
    for number, row in enumerate(rows):
        if row.source not in sources:
            raise UserError(f"{path}: rows[{number}]: {suggest(row.source, sources, 'source')}")
        for metric in row.values:
            if (key := (row.source, row.data, row.method, metric)) in seen:
                raise UserError(f"{path}: rows[{number}]: {' '.join(key)} stands there twice")
            seen.add(key)
    return Reported(sources, tuple(rows))


def compare(ours, data, reported=None):
    """Ours beside what was reported on the same data: a Table, a row for each reported number.

    ours: {method: {metric: number}}. "inside?" is yes or no where the source has a tolerance; "figure only"
    where it gives no number; else why nothing can be said. UserError: data of which nothing is known."""
    reported = load() if reported is None else reported
    known = dict.fromkeys(row.data for row in reported.rows)
    if data not in known:
        raise suggest(data, known, "data set")
    table = Table()
    for row in (r for r in reported.rows if r.data == data):
        source = reported.sources[row.source]
        for metric, value in row.values.items():
            mine, tolerance = ours.get(row.method, {}).get(metric), source.tolerance.get(metric)
            table.append({"method": row.method, "metric": metric, "ours": mine,
                          "reported": FIGURE if value is None else value,
                          "tolerance": None if value is None else tolerance,
                          "inside?": _inside(mine, value, tolerance), "source": source.title})
    return table


def _inside(ours, value, tolerance):
    if value is None:
        return FIGURE
    if ours is None or ours != ours:
        return "not measured"
    if tolerance is None:
        return "for orientation"
    return "yes" if abs(ours - value) <= tolerance * (1 + 1e-9) else "no"

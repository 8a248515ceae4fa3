"""Drift: a baseline of records with tolerances, blessed from repeats of a run, and runs held against it."""
import csv
import json
import math
import re
import statistics
from pathlib import Path
from xml.etree import ElementTree

from . import batch, claims, ledger, runs
from .errors import STATUS, UserError, suggest
from .files import ROOT, atomic, write_json
from .tables import Table

FORMAT, FLOOR, FACTOR, TIME_FLOOR = 1, 1e-3, 4.0, 0.25   # tolerance: FACTOR x spread, at least FLOOR x value
MEASURED = ("name", "value", "low", "high", "unit", "seed", "n", "hardware")   # all else says what of
TIMES = re.compile(r"(^|[ (/])(s|ms|seconds?|minutes?|hours?|images/s|it/s|MiB|MB|GB)\b")
LOWER = re.compile(r"^1 -|\bl2\b|distance|perceptual|lpips|\b[kf]id\b|error|difference|left of|time\b", re.I)
HIGHER = re.compile(r"similar|identity|accura|\bauc\b|right|\bshare\b|correlation|ssim|psnr|images/s", re.I)
COLUMNS = ("date", "run", "commit", "notebook", "record", "blessed", "tolerance", "value", "verdict")
DRIFT = {"worse", "better", "changed", "missing"}


def baselines():
    """The folder of the blessed baselines, to be committed."""
    return ROOT / "data_manifests" / "baselines"


def measured(folder):
    """{(notebook, record in words): {value, unit, better, timing}} of a run's finished notebooks; seconds and
    memory of each notebook count as records."""
    found, tests = {}, {c.id: {t.part: t.test for t in c.tests} for c in claims.load().values()}
    for path in sorted(folder.glob("*/run.json")):
        facts, notebook = runs.read_facts(path.parent), path.parent.name
        if facts["status"] != "finished":
            continue
        more = [("seconds of the notebook", "seconds", "s"), ("peak memory", "peak_memory_mb", "MiB")]
        rows = runs.read_records(path.parent) + [{"name": name, "value": facts[key], "unit": unit}
                                                 for name, key, unit in more if facts.get(key) is not None]
        for row in rows:
            where = ", ".join(f"{k} {v}" for k, v in row.items() if k not in MEASURED)
            stem = key = f"{row['name']} ({where})" if where else row["name"]
            number = 1
            while (notebook, key) in found:
                number += 1
                key = f"{stem} #{number}"
            test = tests.get(row.get("claim"), {}).get(row.get("part"))
            found[notebook, key] = {"value": row["value"], "unit": row["unit"], "better": _better(row, test),
                                    "timing": bool(TIMES.search(row["unit"]))}
    return found


def _better(row, test):
    """Which way a record improves: what its claim says, else by its name; None where neither tells."""
    if test in ("at most", "below", "falls") or test in ("at least", "above", "rises"):
        return "lower" if test in ("at most", "below", "falls") else "higher"
    words = f"{row['name']} {row['unit']}"
    if isinstance(row["value"], bool):
        return "higher"
    if TIMES.search(row["unit"]) and "/s" not in row["unit"] or LOWER.search(row["unit"]):
        return "lower"
    return "higher" if HIGHER.search(words) and not LOWER.search(words) else \
        "lower" if LOWER.search(words) else None


def verdicts(folder):
    """{"claim on world domain": verdict} of a run."""
    return {f"{row['claim']} on {row['measured on']}": row["verdict"]
            for row in ledger.details(ledger.read(folder))}


def baseline(folders, floor=FLOOR):
    """A baseline, JSON-able, of a run's folder and of its repeats: the median of every record that all of
    them have, and how far a run may lie from it."""
    found = [measured(folder) for folder in folders]
    facts = [runs.read_facts(path.parent) for path in sorted(folders[0].glob("*/run.json"))]
    if not found[0]:
        raise UserError(f"{folders[0].name} holds no record of a finished notebook to bless")
    records, unsure = [], []
    for (notebook, name), first in found[0].items():
        values = [f[notebook, name]["value"] for f in found if (notebook, name) in f]
        if len(values) < len(folders) or None in values:
            unsure.append(f"{notebook}: {name}")
            continue
        middle = statistics.median_low(values)
        apart = max(abs(value - middle) for value in values)
        least = 0.0 if isinstance(middle, bool) else abs(middle) * (TIME_FLOOR if first["timing"] else floor)
        records.append({"notebook": notebook, "record": name, **first, "value": middle,
                        "tolerance": max(FACTOR * float(apart), least)})
    return {"format": FORMAT, "run": folders[0].name, "made": runs.now(), "repeats": len(folders),
            "commit": facts[0].get("commit"), "hardware": facts[0].get("hardware"),
            "threads": sorted({t for folder in folders for path in folder.glob("*/run.json")
                               if (t := runs.read_facts(path.parent).get("threads"))}),
            "notebooks": sorted({record["notebook"] for record in records}), "unsure": unsure,
            "records": records, "claims": verdicts(folders[0])}


def bless(folder, repeats=5, threads=(1, 2), out=None, say=print):
    """Repeats a run until there are `repeats` at each number of threads in turn, and writes its baseline ->
    its path. Repeats that are there already, by the same code, are not made again."""
    if repeats < 5 or len(set(threads)) < 2 or min(threads) < 1:
        raise UserError(f"{repeats} repeats at {len(set(threads))} numbers of threads; a baseline needs at "
                        "least 5 repeats at 2 numbers of threads, such as --threads 1,2")
    jobs = []
    for number in range(repeats):
        jobs += batch.again(folder)
        for job in jobs[len(jobs) // (number + 1) * number:]:
            job.place, job.threads = number, threads[number % len(threads)]
            job.values["run"] = f"{folder.name}-repeat-{number + 1}"
    table = batch.run(jobs, f"{folder.name}-repeat", resume=True, say=say)
    if wrong := [row["notebook"] for row in table if row["status"] != "finished"]:
        raise UserError(f"{len(wrong)} repeats failed, first {wrong[0]}; mend it and bless again: what is "
                        "finished is kept")
    folders = [runs.outputs_dir() / name for name in dict.fromkeys(job.run for job in jobs)]
    found = baseline([folder, *folders])
    path = Path(out) if out else baselines() / f"{folder.name}.json"
    write_json(path, found)
    return path, found


def load(name):
    """A baseline by its name in data_manifests/baselines, or by its path."""
    path = Path(name).expanduser()
    path = path if path.suffix == ".json" else baselines() / f"{name}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UserError(f"{path} is a baseline of format {found['format']}; this library reads {FORMAT}")
        fields = {"notebook": str, "record": str, "tolerance": (int, float), "value": (bool, int, float)}
        if not all(isinstance(row[k], kind) for row in found["records"] for k, kind in fields.items()) \
                or not isinstance(found["claims"], dict):
            raise ValueError
        plain = {"unit": "", "better": None, "timing": False}
        return found | {"records": [plain | row for row in found["records"]],
                        "notebooks": sorted({row["notebook"] for row in found["records"]})}
    except FileNotFoundError:
        known = sorted(p.stem for p in baselines().glob("*.json"))
        raise suggest(name, [*known, "the path of a .json that bless wrote"], "baseline") from None
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(f"{path} is no baseline; write one with: python -m restyle_lib bless RUN") from None


def compare(folder, against, timing=False):
    """A run held against a baseline -> rows {notebook, record, blessed, tolerance, value, verdict}, a crashed
    notebook and a lost claim each having one too. Times count only where `timing` is asked for."""
    now, rows = measured(folder), []
    states = {p.parent.name: runs.read_facts(p.parent)["status"] for p in folder.glob("*/run.json")}
    crashed = {n: s for n, s in states.items() if s != "finished"}
    crashed |= {n: "not run" for n in against["notebooks"] if n not in states}
    for notebook, status in sorted(crashed.items()):
        rows.append(_row(notebook, f"the notebook: {status}", None, None, None, "crashed"))
    for blessed in against["records"]:
        key = blessed["notebook"], blessed["record"]
        found = now.pop(key, None)
        if blessed["notebook"] in crashed or blessed["timing"] and not timing:
            continue
        rows.append(_row(*key, blessed["value"], blessed["tolerance"], found and found["value"],
                         _verdict(blessed, found)))
    for key, found in now.items():
        if timing or not found["timing"]:
            rows.append(_row(*key, None, None, found["value"], "new"))
    have = verdicts(folder)
    for claim, verdict in against["claims"].items():
        if verdict == claims.HOLDS and have.get(claim) != claims.HOLDS:
            rows.append(_row("claims", f"{claim}: {have.get(claim, claims.UNKNOWN)}", *[None] * 3, "lost"))
    return rows


def _row(*values):
    return dict(zip(("notebook", "record", "blessed", "tolerance", "value", "verdict"), values, strict=True))


def _verdict(blessed, found):
    if found is None:
        return "missing"
    value, timing = found["value"], blessed["timing"]
    if value is None or not math.isfinite(value):
        return "worse"
    change = value - blessed["value"]
    if abs(change) <= blessed["tolerance"]:
        return "same"
    if blessed["better"] is None:
        return "changed"
    if (change < 0) == (blessed["better"] == "lower"):
        return "faster" if timing else "better"
    return "slower" if timing else "worse"


def status(rows, strict=False):
    """The exit status that the rows of `compare` stand for, see errors.EXITS: the gravest one."""
    found = {row["verdict"] for row in rows}
    grave = {"crash": {"crashed"}, "drift": DRIFT, "claim lost": {"lost"} if strict else set(),
             "slower": {"slower"}}
    for kind, words in grave.items():
        if found & words:
            return STATUS[kind]
    return STATUS["done"]


def told(rows):
    """The rows that are not the same, as a Table, and a line that counts all."""
    counts = {}
    for row in rows:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    shown = Table(row for row in rows if row["verdict"] != "same")
    return shown, ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) or "nothing to compare"


def junit(rows, path, strict=False):
    """Writes the rows as JUnit XML: a test case each; crashes are errors, drift and slowness failures."""
    suite = ElementTree.Element("testsuite", name="drift", tests=str(len(rows)))
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=_plain(row["notebook"]),
                                      name=_plain(row["record"]))
        if row["verdict"] == "crashed":
            ElementTree.SubElement(case, "error", message=_plain(row["record"]))
        elif status([row], strict):
            words = f"{row['verdict']}: {row['value']} against {row['blessed']} ± {row['tolerance']}"
            ElementTree.SubElement(case, "failure", message=words)
    suite.set("errors", str(len(suite.findall("*/error"))))
    suite.set("failures", str(len(suite.findall("*/failure"))))
    with atomic(path) as stream:
        ElementTree.ElementTree(suite).write(stream, encoding="utf-8", xml_declaration=True)


def _plain(text):
    """Text without what XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", str(text))


def history(folder, rows, path):
    """Adds a run's rows to a CSV of all runs so far, once for each run, and draws it -> the picture."""
    facts = max((runs.read_facts(p.parent) for p in folder.glob("*/run.json")), key=lambda f: f["started"])
    head = {"date": facts["started"], "run": folder.name, "commit": facts.get("commit")}
    before = []
    if Path(path).exists():
        with open(path, encoding="utf-8", newline="") as stream:
            before = [row for row in csv.DictReader(stream)
                      if (row["run"], row["date"]) != (folder.name, facts["started"])]
    everything = before + [{**head, **row} for row in rows]
    with atomic(path, "w") as stream:
        table = csv.DictWriter(stream, COLUMNS, lineterminator="\n", extrasaction="ignore", restval="")
        table.writeheader()
        table.writerows(everything)
    from .figures_drift import trend

    with atomic(Path(path).with_suffix(".png")) as stream:
        trend(everything).savefig(stream, format="png")
    return Path(path).with_suffix(".png")

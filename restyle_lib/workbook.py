"""Listing, checking and executing the notebooks. Only `run` and `prepare` import papermill."""
import ast
import contextlib
import io
import json
import os
import shlex
import time
import tokenize
from dataclasses import dataclass
from pathlib import Path

from . import options, profiles, runs
from .errors import UserError, suggest
from .files import ROOT, write_json
from .provenance import code_version
from .runs import start

__all__ = ["Parameter", "check", "notebooks", "parameters", "prepare", "resolve", "run", "start", "title"]


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""
    name: str
    kind: str
    default: object
    help: str


def folder():
    """Where the notebooks are: RESTYLE_NOTEBOOKS, or notebooks/ beside the library."""
    return Path(os.environ.get("RESTYLE_NOTEBOOKS") or ROOT / "notebooks")


def notebooks():
    """Names of all notebooks in order, such as "00_start_here"."""
    found = sorted(path.stem for path in folder().glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise UserError(f"no notebooks in {folder()}: the workbook runs from its checkout (pip install -e .)")
    return found


def resolve(word):
    """The notebook meant by a number ("03"), a beginning or a path; UserError with a suggestion."""
    word = Path(word).stem if word.endswith(".ipynb") else word
    known = notebooks()
    hits = [word] if word in known else [name for name in known if name.startswith(word)]
    if len(hits) != 1:
        raise suggest(word, known, "notebook")
    return hits[0]


def read(name):
    """The notebook's JSON, with every cell's source as one string."""
    content = json.loads((folder() / f"{name}.ipynb").read_text(encoding="utf-8"))
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])
    return content


def title(name):
    """(heading, first sentence under it) of a notebook."""
    text = read(name)["cells"][0]["source"]
    heading, _, rest = text.partition("\n")
    paragraph = next((p.strip() for p in rest.split("\n\n") if p.strip() and p.strip()[0] not in "[!>|"), "")
    return heading.lstrip("# ").strip(), " ".join(paragraph.split()).split(". ")[0].rstrip(".")


def parameters(name):
    """The Parameters of a notebook's cell tagged `parameters`: literals, types, comments as help."""
    source = next(c["source"] for c in read(name)["cells"] if "parameters" in c["metadata"].get("tags", []))
    notes = {t.start[0]: t.string.lstrip("# ") for t in tokenize.generate_tokens(io.StringIO(source).readline)
             if t.type == tokenize.COMMENT}
    found = []
    for line in ast.parse(source).body:
        value = ast.literal_eval(line.value)
        note = notes.get(line.end_lineno, "")
        found.append(Parameter(line.targets[0].id, type(value).__name__, value, note))
    return found


def check(names, arguments, profile=None):
    """{notebook: {parameter: value}} of name=value arguments; refuses anything unknown or wrong before a run.

    A name must belong to at least one of the notebooks, and goes to those that have it.
    """
    declared = {name: {p.name: p for p in parameters(name)} for name in names}
    kinds = {p.name: p.kind for table in declared.values() for p in table.values()}
    whose = names[0] if len(names) == 1 else "these notebooks"
    values = options.pairs(arguments, kinds, f"parameter of {whose}")
    values = {**({"profile": profile} if profile else {}), **values}
    for name, table in declared.items():
        common = {k: values.get(k, table[k].default) for k in ("profile", "device", "domain")}
        runs.check_common(**common)
        sizes = profiles.size_names(name)
        profiles.sizes(name, common["profile"], {k: v for k, v in values.items() if k in sizes})
    return {name: {k: v for k, v in values.items() if k in table} for name, table in declared.items()}


def run(names, arguments=(), profile=None, run="", say=print, bar=False):
    """Executes notebooks into one run folder, goes on after a failure, and rewrites its index after each.

    Returns (run folder, {notebook: error sentence or None}).
    """
    from . import html, report

    given = check(names, arguments, profile)
    for values in given.values():
        wanted, device = values.get("profile", "smoke"), values.get("device", "auto")
        if wanted in ("gpu", "paper") or device not in ("auto", "cpu"):
            runs.choose_device(device, wanted)
    asked = shlex.join(["run", *(["all"] if names == notebooks() else names), *arguments])
    asked = f"python -m restyle_lib {asked}{f' --profile {profile}' if profile else ''}"
    target = runs.new_run(next(iter(given.values())).get("profile", "smoke"), run or _named(given))
    failed = {}
    for number, (name, values) in enumerate(given.items(), 1):
        say(f"[{number}/{len(given)}] {name}")
        clock, place = time.perf_counter(), target / name
        place.mkdir(exist_ok=True)
        code = code_version(folder() / f"{name}.ipynb")
        failed[name] = _execute(name, values, place, bar)
        seconds = time.perf_counter() - clock
        _mark(place, values, failed[name], seconds_with_kernel=round(seconds, 1), asked=asked, code=code,
              given={key: value for key, value in values.items() if key != "run"})
        html.export(place / "notebook.ipynb")
        report.write_index(target)
        say(f"      {failed[name] or f'{seconds:.0f} s, results in {place}'}")
    return target, failed


def prepare(name, arguments=(), profile=None, run=""):
    """Writes the parametrised notebook into a run folder without executing it; returns its path."""
    import papermill

    values = check([name], arguments, profile)[name]
    place = runs.new_run(values.get("profile", "smoke"), run or values.get("run", "")) / name
    place.mkdir(exist_ok=True)
    papermill.execute_notebook(folder() / f"{name}.ipynb", place / "notebook.ipynb", prepare_only=True,
                               parameters={**values, "run": place.parent.name}, progress_bar=False)
    return place / "notebook.ipynb"


def _named(given):
    return next((values["run"] for values in given.values() if values.get("run")), "")


def _execute(name, values, place, bar):
    """Runs one notebook with papermill; returns None or a sentence that says what went wrong and where."""
    import papermill

    told = " ".join(f"{k}={shlex.quote(str(v))}" for k, v in values.items())
    settings = {"RESTYLE_INTERACTIVE": "0", "JUPYTER_PREFER_ENV_PATH": "1",
                "RESTYLE_OUTPUTS": str(place.parent.parent),
                "RESTYLE_COMMAND": f"python -m restyle_lib run {name} {told}".strip()}
    copy = place / "notebook.ipynb"
    try:
        with _environment(settings), _whole(copy) as part:
            papermill.execute_notebook(folder() / f"{name}.ipynb", part, kernel_name="python3",
                                       cwd=Path.cwd(),          # paths mean what they mean to the caller
                                       parameters={**values, "run": place.parent.name}, progress_bar=bar,
                                       start_timeout=300, extra_arguments=["--log-level=40"])
    except papermill.PapermillExecutionError as error:
        what = error.evalue if error.ename == "UserError" else f"{error.ename}: {error.evalue}"
        return f"{name} failed{_under(copy)}: {what}; the copy with the error is {copy}"
    except KeyboardInterrupt:
        _mark(place, values, "interrupted")
        raise
    except Exception as error:  # a kernel that died or did not start, a full disk
        return f"{name} could not be executed: {type(error).__name__}: {str(error).strip() or 'no message'}"


@contextlib.contextmanager
def _whole(copy):
    """Where papermill may write `copy`, which it does cell by cell; it is in place when the block ends."""
    part = copy.with_name(".part.ipynb")
    try:
        yield part
    finally:
        with contextlib.suppress(OSError, ValueError):
            json.loads(part.read_text(encoding="utf-8"))
            os.replace(part, copy)


def _under(copy):
    """The heading above the first cell that failed."""
    heading = ""
    for cell in json.loads(copy.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            lines = [line for line in "".join(cell["source"]).splitlines() if line.startswith("#")]
            heading = lines[-1].lstrip("# ") if lines else heading
        if any(output["output_type"] == "error" for output in cell.get("outputs", [])):
            return f" under '{heading}'"
    return ""


def _mark(place, values, error, **more):
    """Completes run.json: what the notebook wrote stays, an error or a missing `finish` is told."""
    has = (place / "run.json").exists()
    facts = runs.read_facts(place) if has else {"started": runs.now(), "parameters": values}
    facts["status"] = {None: "finished", "interrupted": "interrupted"}.get(error, "failed")
    facts.update(ended=runs.now(), error=error, **more)
    write_json(place / "run.json", facts)


@contextlib.contextmanager
def _environment(settings):
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)

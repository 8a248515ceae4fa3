"""What `python -m restyle_lib run NOTEBOOK name=value ... --run NAME` leaves, at once: no kernel, for tests.

A line in the run's made.txt for each start; `seed` decides the records; SLOW: seconds that it takes; HEAVY:
megabytes that it holds meanwhile."""
import os
import subprocess
import sys
import time

from restyle_lib import batch, runs, workbook
from restyle_lib.files import write_json
from restyle_lib.provenance import code_version


def main(notebook, *words):
    pairs, name = [word for word in words if "=" in word], words[words.index("--run") + 1]
    values = workbook.check([notebook], pairs)[notebook]
    values.pop("run", None)
    place, code = runs.outputs_dir() / name / notebook, code_version(workbook.folder() / f"{notebook}.ipynb")
    facts = {"status": "running", "started": runs.now(), "parameters": {}, "given": values, "code": code,
             "threads": int(os.environ.get("OMP_NUM_THREADS", "1"))}
    write_json(place / "run.json", facts)
    (place / "records.jsonl").unlink(missing_ok=True)
    with open(place.parent / "made.txt", "a") as stream:
        stream.write(" ".join([notebook, *pairs]) + "\n")
    held = b"x" * int(float(os.environ.get("HEAVY", 0)) * 1e6)
    for step in range(3):
        with open(place / "records.jsonl", "a") as stream:
            value = (1 + values.get("seed", 0)) / (1 + step)
            stream.write(f'{{"name": "mean L2", "value": {value:g}, "unit": "on [-1, 1]", "step": {step}}}\n')
        time.sleep(float(os.environ.get("SLOW", 0)) / 3)
    with open(place / "records.jsonl", "a") as stream:
        stream.write('{"name": "identity similarity", "value": 0.9, "unit": ""}\n'
                     '{"name": "time of an inversion", "value": 0.5, "unit": "s per image"}\n')
    failed = notebook.startswith("10")
    error = {"status": "failed", "error": "no such thing"} if failed else {"status": "finished"}
    write_json(place / "run.json", facts | error | {"seconds": 2.0, "held": len(held)})
    return int(failed)


def instead(popen):
    """A subprocess.Popen that starts this file where the real one would start a notebook."""
    def start(words, **options):
        if words[1:4] == ["-m", "restyle_lib", "run"]:
            words = [words[0], __file__, *words[4:]]
        return popen(words, **options)
    return start


def dask_setup(worker):
    """Makes a worker of dask that preloads this module start this file instead of notebooks."""
    batch.subprocess.Popen = instead(subprocess.Popen)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

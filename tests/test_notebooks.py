"""Every notebook in smoke with other parameters than its defaults; numbers are read from records.jsonl."""

import json

import papermill
import pytest

from restyle_lib import drift, profiles, runs, workbook

SEEN = {}      # what each notebook measured, with one seed


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTYLE_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def check(folder, copy):
    """What holds for every notebook; returns what it measured, but for times and memory."""
    facts, records, shown = runs.read_facts(folder), runs.read_records(folder), runs.read_figures(folder)
    assert facts["status"] == "finished" and facts["parameters"]["seed"] == 3
    assert facts["sizes"].get("images", 3) == 3, "a size that is given wins over the profile"
    assert records and all(r["value"] is not None and r["seed"] == 3 for r in records)
    assert facts["checks"] and all(facts["checks"].values()), facts["checks"]
    assert shown and (folder.parent / "index.html").exists()
    for figure in shown:
        for suffix in (".png", ".pdf", ".csv"):
            assert (folder / "figures" / f"{figure['name']}{suffix}").stat().st_size > 0
    outputs = [o for cell in json.loads(copy.read_text())["cells"] for o in cell.get("outputs", [])]
    assert not [o for o in outputs if o.get("name") == "stderr"], (
        "no warnings, no progress bars in an executed copy"
    )
    assert not [o for o in outputs if "widget-view" in str(o.get("data", {}).keys())], (
        "nothing that needs a kernel"
    )
    return {name: row["value"] for name, row in drift.measured(folder.parent).items() if not row["timing"]}


@pytest.mark.parametrize("name", workbook.notebooks())
def test_runs_with_other_parameters(name, outputs):
    given = ["images=3"] if "images" in profiles.size_names(name) else []
    target, failed = workbook.run([name], ["seed=3", *given], "smoke")
    assert failed == {name: None}
    SEEN[name] = check(target / name, target / name / "notebook.ipynb")


def test_plain_papermill_makes_its_own_run_folder_and_the_same_records(outputs, tmp_path):
    name = workbook.notebooks()[0]
    if name not in SEEN:
        test_runs_with_other_parameters(name, outputs)
    papermill.execute_notebook(
        workbook.folder() / f"{name}.ipynb",
        tmp_path / "out.ipynb",
        progress_bar=False,
        start_timeout=300,
        parameters={"seed": 3, "images": 3},
    )
    folder = sorted(outputs.glob("*-smoke"))[-1] / name
    assert check(folder, tmp_path / "out.ipynb") == SEEN[name], "one seed on one machine: the same"

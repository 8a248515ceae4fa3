"""What every notebook and file keeps to; this page is the authority, tools only help."""

import ast
import json
import re
import tomllib
from importlib import metadata

import nbformat
import papermill
import pytest
import yaml
from packaging.requirements import Requirement

from restyle_lib import html, profiles, workbook
from restyle_lib.files import ROOT
from restyle_lib.notebook_cells import BOOTSTRAP, GALLERY, PARAMETERS, badge
from restyle_lib.provenance import cells_version

NAMES = workbook.notebooks()
RESULTS = ROOT / "outputs" / "gallery" / "RESULTS.md"
FIVE = ["profile", "seed", "device", "run", "domain"]


def cells(name, kind=None, tag=None):
    return [
        c
        for c in workbook.read(name)["cells"]
        if kind in (None, c["cell_type"]) and (tag is None or tag in c["metadata"].get("tags", []))
    ]


def python_files():
    return [p for place in ("restyle_lib", "tests") for p in sorted((ROOT / place).rglob("*.py"))] + [
        ROOT / "conftest.py"
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_clean(name):
    content = workbook.read(name)
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    nbformat.validate(nbformat.from_dict(content))
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    assert content["metadata"].keys() <= {"kernelspec", "language_info"}
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert content["metadata"].get("language_info", {}).keys() <= {"name"}
    for cell in cells(name):
        assert cell["metadata"].keys() <= {"tags"}
    for cell in cells(name, "code"):
        assert cell["execution_count"] is None
        assert not cell["outputs"] or {"nbval-check-output", "keep_output"} <= set(cell["metadata"]["tags"])
        assert len(json.dumps(cell["outputs"])) <= 2048


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_and_ends_as_all_do(name):
    first, bootstrap = cells(name)[0]["source"], cells(name, "code")[0]
    assert re.match(r"# \S.+\n\n\S", first), "a title, then what it is about"
    assert bootstrap["source"] == BOOTSTRAP and "hide-input" in bootstrap["metadata"]["tags"]
    last_code, last = cells(name, "code")[-1], cells(name)[-1]["source"]
    assert ".finish(" in last_code["source"] and "nbval-check-output" in last_code["metadata"]["tags"]
    assert last_code["outputs"], "the checked cell stores its lines"
    assert re.search(r"^Next: \[.+\]\(.+\)", last, re.M) and "## What we saw" in last


@pytest.mark.parametrize("name", NAMES)
def test_its_opening_has_a_badge_and_four_points(name):
    _, line, *_, points = cells(name)[0]["source"].split("\n\n")
    assert line + "\n\n" == badge(name), "write it with: python -m restyle_lib.notebook_cells"
    assert re.findall(r"^- \*\*(.+?)\*\*: ", points, re.M) == ["Paper", "You will see", "In", "Time"]
    assert "**Out**: " in points


@pytest.mark.parametrize("name", NAMES)
def test_it_leads_to_its_section_of_the_gallery(name):
    text = "\n".join(c["source"] for c in cells(name, "markdown"))
    anchors = re.findall(r'^<a id="(\w+)"></a>$', RESULTS.read_text(encoding="utf-8"), re.M)
    targets = re.findall(re.escape(GALLERY) + r"#([^)\s]+)\)", text)
    absent = [target for target in targets if target not in anchors]
    assert name in targets and absent == [], "write it with: report RUN --gallery"


def test_previous_and_next_form_one_chain():
    files = ["../README.md", *(f"{name}.ipynb" for name in NAMES), "../README.md"]
    for name, before, after in zip(NAMES, files, files[2:], strict=False):
        last = cells(name)[-1]["source"]
        found = [re.findall(rf"^{word}: \[.+?\]\((.+?)\)", last, re.M) for word in ("Previous", "Next")]
        assert found == [[before], [after]], name


@pytest.mark.parametrize("name", NAMES)
def test_its_parameters_are_seen_by_papermill_and_by_us(name):
    assert len(cells(name, "code", "parameters")) == 1
    source = cells(name, "code", "parameters")[0]["source"]
    assert source.startswith(PARAMETERS + "\n")
    assigned = [line.targets[0].id for line in ast.parse(source).body]
    ours, theirs = workbook.parameters(name), papermill.inspect_notebook(workbook.folder() / f"{name}.ipynb")
    assert assigned == [p.name for p in ours] == list(theirs) and assigned[:5] == FIVE
    assert all(p.help for p in ours), "one comment per parameter"
    assert {p.name: p.help for p in ours} == {k: v["help"] for k, v in theirs.items()}
    sizes = profiles.size_names(name)
    assert sizes == [p.name for p in ours if p.kind == "int" and p.name != "seed"], (
        "every size is in the table"
    )
    assert all(p.default == 0 for p in ours if p.name in sizes)
    call = re.search(
        r"run = (?:rl\.)?workbook\.start\((.+?)\)", "".join(c["source"] for c in cells(name, "code")), re.S
    )[1]
    assert f'"{name}"' in call and all(f"{p}={p}" in call for p in [*FIVE, *sizes])


@pytest.mark.parametrize("name", NAMES)
def test_it_narrates_and_the_library_computes(name):
    for cell in cells(name, "code"):
        assert len(cell["source"].splitlines()) <= 25
        tree = ast.parse(cell["source"])
        assert not [
            n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
        ]
    text = "\n".join(c["source"] for c in cells(name, "markdown"))
    for first, second in html.MATH.findall("".join(html.CODE.split(text)[::2])):
        assert html.picture(first or second).startswith("<img"), (
            f"not drawable without a network: {first or second}"
        )


@pytest.mark.parametrize(
    "path",
    [
        *(f"notebooks/{name}.ipynb" for name in NAMES),
        "README.md",
        "outputs/README.md",
        "restyle_lib/README.md",
        "restyle_lib/OPERATIONS.md",
        "tests/SKIPS.md",
        "outputs/gallery/RESULTS.md",
    ],
)
def test_links_resolve(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    text = (
        "\n".join(c["source"] for c in cells((ROOT / path).stem, "markdown"))
        if path.endswith(".ipynb")
        else text
    )
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://|#", target):
            assert ((ROOT / path).parent / target.partition("#")[0]).exists(), target


def test_every_notebook_has_times_sizes_and_a_place_in_the_gallery():
    assert {row[0] for row in profiles.SIZES} <= set(profiles.SECONDS) == set(NAMES)
    sections = re.findall(r"^## (\w+): ", RESULTS.read_text(encoding="utf-8"), re.M)
    assert [s for s in NAMES if s not in sections] == [], "write it with: report RUN --gallery"
    for picture in (ROOT / "outputs" / "gallery").iterdir():
        assert picture.stat().st_size < 300_000


def test_no_figure_of_the_gallery_is_older_than_its_notebooks_code():
    _, *parts = re.split(r'^<a id="(\w+)"></a>$', RESULTS.read_text(encoding="utf-8"), flags=re.M)
    made = {
        name: re.findall(r"code cells `(\w+)`$", section, re.M)
        for name, section in zip(parts[::2], parts[1::2], strict=True)
    }
    if any(made.values()):  # a gallery written before digests were kept has none
        now = {name: [cells_version(workbook.folder() / f"{name}.ipynb")] for name in NAMES}
        assert [name for name in NAMES if made.get(name) != now[name]] == [], (
            "run them again, then: report RUN --gallery"
        )


def test_files_are_short():
    assert {
        str(p.relative_to(ROOT)): n
        for p in python_files()
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > 300
    } == {}


def test_environment_files_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(line for line in conda if str(line).startswith("python"))
    assert python.startswith("python" + project["requires-python"])
    pip = next(line["pip"] for line in conda if isinstance(line, dict))
    assert pip[0] == "-c constraints.txt" and pip[-1] == "-e ." and sorted(pip[1:-1]) == sorted(wanted)
    assert not re.search(r"[<=~!]=?\d", " ".join(r.replace(">=", "") for r in wanted)), "lower bounds only"
    assert not {"torchvision", "lpips"} & {Requirement(r).name for r in project["dependencies"]}, (
        "each torchvision asks for one torch and would replace an installed one"
    )
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"
    )
    for requirement in map(Requirement, wanted):
        assert pins[requirement.name] in requirement.specifier
    if metadata.version("torchvision") == pins["torchvision"]:
        assert any(
            r.name == "torch" and pins["torch"] in r.specifier and "2.4" not in r.specifier
            for r in map(Requirement, metadata.requires("torchvision"))
        ), "the pair belongs together"


def test_no_machine_or_registry_is_named():
    places = re.compile(
        r"pypi\.|pythonhosted|download\.pytorch|anaconda\.org|index-url|find-links|/opt/|/root/|/w[o]rk/"
    )
    files = [
        ROOT / f for f in ("pyproject.toml", "environment.yml", "constraints.txt", "Makefile", ".ci/run")
    ]
    files += sorted((ROOT / "notebooks").glob("*.ipynb")) + sorted(
        (ROOT / "outputs" / "gallery").glob("*.md")
    )
    assert {f.name: found for f in files if (found := places.findall(f.read_text(encoding="utf-8")))} == {}


def test_every_skip_is_listed_with_its_reason():
    skipping = {
        p.name
        for p in (ROOT / "tests").rglob("test_*.py")
        if p.name != "test_hygiene.py"
        and re.search(r"pytest\.skip|mark\.skip|importorskip|mark\.xfail", p.read_text(encoding="utf-8"))
    }
    listed = set(
        re.findall(r"^\| `(test_\w+\.py)`", (ROOT / "tests" / "SKIPS.md").read_text(encoding="utf-8"), re.M)
    )
    assert skipping == listed

"""The cells that are the same in every notebook; a test compares them byte by byte.

`python -m restyle_lib.notebook_cells` writes them, and the line below each title, into all notebooks."""
import json
import re

# The one place that says where the workbook lies on GitHub. While it does not, which the underscore tells (no
# account there has one), the first cell asks for the address.
OWNER, REPOSITORY, BRANCH = "your_account", "restyle-workbook", "main"
ASKED = 'input("Clone URL of this workbook: ")' if "_" in OWNER else f'"https://github.com/{OWNER}/{REPOSITORY}"'
GALLERY = "../outputs/gallery/RESULTS.md"
BADGE = re.compile(r"\[!\[Open in Colab\]\(\S+\)\]\(\S+\)(?: \[[^\]\n]+\]\(\S+\))?\n\n")

# The first code cell. It never changes directory and never installs torch.
BOOTSTRAP = f"""\
# Setup, the same in every notebook: find restyle_lib from here upward; in Colab, clone it first.
import os, pathlib, subprocess, sys
folders = [pathlib.Path.cwd(), *pathlib.Path.cwd().parents, pathlib.Path("/content/restyle")]
if "google.colab" in sys.modules and not any((f / "restyle_lib").is_dir() for f in folders):
    source = os.environ.get("RESTYLE_REPOSITORY") or {ASKED}
    subprocess.run(["git", "clone", "-q", "--depth=1", "--branch={BRANCH}", source, folders[-1]], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "kornia", "lpips"], check=True)
root = next((str(f) for f in folders if (f / "restyle_lib").is_dir()), None)
if root and root not in sys.path:
    sys.path.insert(0, root)
import restyle_lib as rl"""

# The first five lines of the cell tagged `parameters`; a notebook's size parameters follow, all 0 by default.
PARAMETERS = """\
profile = "smoke"   # sizes: smoke, quick, gpu or paper
seed = 0            # of everything random
device = "auto"     # auto, cpu, cuda or mps
run = ""            # name of the run folder; empty makes a new one
domain = "avatars"  # a domain of data_manifests/domains, or the path of a YAML file"""


def badge(name):
    """The line below a notebook's title: its Colab badge, and the link to its section of the gallery, whose
    anchor is the notebook's name (`report.write_gallery`)."""
    return ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research."
            f"google.com/github/{OWNER}/{REPOSITORY}/blob/{BRANCH}/notebooks/{name}.ipynb) "
            f"[What it measured]({GALLERY}#{name})\n\n")


def write():
    """Brings the set-up cell and the line below the title of every notebook up to date."""
    from . import workbook
    from .files import atomic

    for name in workbook.notebooks():
        content = workbook.read(name)
        first = content["cells"][0]
        heading, _, rest = BADGE.sub("", first["source"]).partition("\n\n")
        first["source"] = f"{heading}\n\n{badge(name)}{rest}"
        next(cell for cell in content["cells"] if cell["cell_type"] == "code")["source"] = BOOTSTRAP
        for cell in content["cells"]:
            cell["source"] = cell["source"].splitlines(keepends=True)
        with atomic(workbook.folder() / f"{name}.ipynb", "w") as stream:
            stream.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write()

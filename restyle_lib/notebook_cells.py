"""The cells that are the same in every notebook; a test compares them byte by byte."""

# The first code cell. It never changes directory and never installs torch.
BOOTSTRAP = """\
# Setup, the same in every notebook: find restyle_lib from here upward; in Colab, clone it first.
import os, pathlib, subprocess, sys
folders = [pathlib.Path.cwd(), *pathlib.Path.cwd().parents, pathlib.Path("/content/restyle")]
if "google.colab" in sys.modules and not any((f / "restyle_lib").is_dir() for f in folders):
    source = os.environ.get("RESTYLE_REPOSITORY") or input("Clone URL of this workbook: ")
    subprocess.run(["git", "clone", "-q", "--depth", "1", source, str(folders[-1])], check=True)
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

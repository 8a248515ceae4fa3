"""What decides a result beside its parameters: commit, command, versions, hardware, checksums."""
import contextlib
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from .files import ASSETS, PACKAGE, ROOT

PACKAGES = ("torch", "torchvision", "numpy", "pillow", "kornia", "lpips", "safetensors", "matplotlib",
            "papermill", "nbconvert")


def provenance(domain):
    """A JSON-able dict of all of it; checksums are of the domain's manifest and shipped weights."""
    files = [Path(domain), ROOT / "data_manifests" / "domains" / f"{domain}.yaml",
             *(ASSETS / Path(domain).stem).glob("*/*.safetensors")]
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"command": os.environ.get("RESTYLE_COMMAND", "by hand, in Jupyter or with papermill"),
            "commit": commit, "dirty": bool(changed), "python": platform.python_version(),
            "platform": platform.platform(), "hardware": hardware(), "threads": threads(),
            "packages": {package: _version(package) for package in PACKAGES},
            "files": {shorter(p): sha256(p) for p in sorted(files) if p.is_file()}}


def code_version(notebook):
    """A digest of what decides a notebook's results beside its parameters: the library, the manifests, the
    shipped weights (by their config.json, which holds their checksums), the notebook."""
    files = [*PACKAGE.rglob("*.py"), *ASSETS.rglob("config.json"), Path(notebook),
             *(path for path in (ROOT / "data_manifests").rglob("*") if path.is_file()
               and path.parent.name != "baselines")]
    total = hashlib.sha256()
    for name, path in sorted((shorter(path), path) for path in files):
        total.update(f"{name} {sha256(path)}\n".encode())
    return total.hexdigest()[:16]


def cells_version(notebook):
    """A digest of a notebook's code cells, which its executed copy shares: prose and outputs do not count,
    nor does the set-up cell, the same in every notebook, nor what a run put in. None if it cannot be read."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
                   and not {"hide-input", "injected-parameters"} & set(cell["metadata"].get("tags", []))]
        return hashlib.sha256("\n\n".join(sources).encode()).hexdigest()[:16]
    return None


def threads():
    """How many threads torch computes with, None before it is loaded."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def hardware():
    """One line: the GPU if torch is loaded and sees one, processor, cores, memory."""
    torch = sys.modules.get("torch")
    words = [torch.cuda.get_device_name(0)] if torch and torch.cuda.is_available() else []
    try:
        names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        memory = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (OSError, ValueError, AttributeError):
        names, memory = [], ""
    words += [names[0] if names else platform.machine(), f"{os.cpu_count()} cores", memory]
    return ", ".join(filter(None, words))


def sha256(path):
    """Hex digest of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shorter(path):
    """`path` relative to the repository where it lies inside."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def peak_memory():
    """The process's peak resident memory in MiB, None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _git(*words):
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

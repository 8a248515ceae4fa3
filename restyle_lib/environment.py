"""Is this machine ready? A row for each thing that the workbook needs, with a remedy where it is missing."""
import os
import platform
import re
import sys
from importlib import metadata

from . import weights
from .domains import load_domain
from .errors import UserError
from .files import ASSETS, cache_dir
from .provenance import hardware
from .runs import choose_device
from .tables import Table

OK, OPTIONAL, MISSING = "ok", "not needed here", "needs you"
LIBRARIES = ("matplotlib", "papermill", "nbconvert", "ipywidgets", "kornia", "scikit-learn", "safetensors")


def check(domain="avatars", device="auto"):
    """A Table of what was found, whether it is enough, and the remedy; see `ready`."""
    import torch

    new_enough = OK if sys.version_info >= (3, 11) else MISSING
    rows = [("Python", platform.python_version(), new_enough, "install Python 3.11 or newer"),
            ("torch", torch.__version__, OK, ""), _pair(torch.__version__), _libraries(),
            ("device", *_device(device)), ("hardware", hardware(), OK, ""), _networks(domain), _cache()]
    return Table({"what": what, "found": found, "state": state, "remedy": remedy if state != OK else ""}
                 for what, found, state, remedy in rows)


def ready(table):
    """True when no row of `check` needs you."""
    return all(row["state"] != MISSING for row in table)


def partner(version):
    """The torchvision for a torch version: "2.12.1+cpu" -> "0.27" (its minor number + 15)."""
    major, minor = map(int, re.match(r"(\d+)\.(\d+)", version).groups())
    return f"0.{minor + 15}" if major == 2 else ""


def _pair(torch_version):
    """torchvision must come from the same index as torch; one built for another fails when it is imported."""
    wanted = partner(torch_version) or "0.*"
    install = f"torch=={torch_version.split('+')[0]} torchvision=={wanted}.*"
    try:
        found = metadata.version("torchvision")
    except metadata.PackageNotFoundError:
        return "torchvision", "not installed", OPTIONAL, "only LPIPS uses it"
    try:
        import torchvision
        found = torchvision.__version__
        fits = found.startswith(f"{wanted}.") or wanted == "0.*"
        found += "" if fits else f"; this torch goes with {wanted}"
    except (ImportError, RuntimeError, OSError) as error:
        fits, found = False, f"{found}, built for another torch ({str(error).splitlines()[0]:.60})"
    remedy = f"both from one index: pip install --force-reinstall {install}"
    return "torchvision", found, OK if fits else MISSING, remedy


def _libraries():
    missing = []
    for name in LIBRARIES:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    found = ", ".join(f"no {name}" for name in missing) or f"{len(LIBRARIES)} of {len(LIBRARIES)} there"
    return "libraries", found, MISSING if missing else OK, f"pip install {' '.join(missing)}"


def _device(device):
    import torch

    try:
        chosen = choose_device(device)
    except UserError as error:
        return device, MISSING, str(error)
    cuda = chosen.startswith("cuda")
    more = torch.cuda.get_device_name(chosen) if cuda else f"{torch.get_num_threads()} threads"
    return f"{chosen} ({more})", OK, ""


def _networks(domain):
    """The domain's generator, encoder and feature networks: shipped, or a path that is there."""
    spec = load_domain(domain)
    wanted = [n for n in (spec.generator, f"{spec.name}/restyle-psp", *spec.networks.values()) if n]
    there, missing = [], []
    for name in dict.fromkeys(wanted):
        try:
            there.append(weights.find(name))
        except UserError:
            missing.append(name)
    size = sum(f.stat().st_size for p in there for f in ([p] if p.is_file() else p.glob("*"))) / 2**20
    shipped = there and all(p.is_relative_to(ASSETS) for p in there)
    found = f"{len(there)} networks, {size:.1f} MiB{', shipped' if shipped else ''}"
    found += "".join(f", no {name}" for name in missing)
    remedy = "restore restyle_lib/assets from the repository, or name other files in the domain"
    return f"networks of {spec.name}", found, MISSING if missing else OK, remedy


def _cache():
    remedy = "set RESTYLE_CACHE to a writable folder"
    try:
        folder = cache_dir()
    except OSError as error:
        return "cache", error.strerror, MISSING, remedy
    return "cache", str(folder), OK if os.access(folder, os.W_OK) else MISSING, remedy

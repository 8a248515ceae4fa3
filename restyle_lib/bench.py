"""Speed and memory, measured: the candidates of a case take turns, after a warm-up; medians, spread, FLOPs.

A case's first row is what the others are compared with, in the same minutes on the same machine.
"""
import copy
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .errors import UserError, suggest
from .files import ROOT, write_json
from .models.stylegan2 import Generator
from .provenance import hardware, peak_memory
from .runs import choose_device
from .tables import Table

PUBLISHED = dict(resolution=1024)   # the widths and depth of the published FFHQ generator
EMBEDDED = dict(resolution=64, z_dim=192, w_dim=192, mapping_layers=4,
                channels={4: 192, 8: 192, 16: 128, 32: 64, 64: 32})
BATCHES = dict(generator=1, embedded=16, inversion=8, training=16)
TWIN = ROOT / "tests" / "reference" / "stylegan2_plain.py"
COLUMNS = ("case", "what", "images", "seconds", "low", "high", "times_faster", "gflop", "of_peak",
           "memory_mb")
MODEL, STEPS = "avatars/restyle-psp", 5


@dataclass
class Candidate:
    """One row of a case: `call()` handles `images` images; `note` says why it was not measured, if so."""
    what: str
    call: Callable | None
    images: int
    dtype: torch.dtype = torch.float32
    note: str = ""
    seconds: list = field(default_factory=list)


def run(case="all", repeats=5, out=None, device="auto"):
    """Measures a case of CASES, several, or "all": prints a table, returns rows, writes JSON to `out`.

    UserError for an unknown case, and where the plain twin is not there because this is no full checkout."""
    names = list(CASES) if case == "all" else [case] if isinstance(case, str) else list(case)
    for name in names:
        if name not in CASES:
            raise suggest(name, CASES, "case")
    device, rows = torch.device(choose_device(device)), []
    peaks = matmul_peaks(device)
    for name in names:
        rows += _measure(name, CASES[name](device, BATCHES[name]), repeats, device, peaks)
    print(Table({column: row[column] for column in COLUMNS} for row in rows))
    print(*(f"{row['case']}, {row['what']}: {row['note']}" for row in rows if row["note"]), sep="\n")
    if out:
        write_json(out, {"hardware": hardware(), "torch": torch.__version__, "rows": rows})
    return rows


def matmul_peaks(device, sides=(64, 128, 512, 1024)):
    """{dtype: GFLOP/s of its fastest square matrix product}; 0 where it is far slower than float32.

    Processors without bfloat16 arithmetic emulate it, hundreds of times slower: small sides find that out."""
    peaks = {torch.float32: 0.0, torch.bfloat16: 0.0}
    for side in (*sides, *([4 * sides[-1]] if device.type == "cuda" else ())):
        rates = {}
        for dtype in list(peaks):
            a = torch.randn(side, side, device=device).to(dtype)
            rates[dtype] = 2e-9 * side**3 / min(_timed(partial(torch.mm, a, a), device) for _ in range(6))
            peaks[dtype] = max(peaks[dtype], rates[dtype])
        if torch.bfloat16 in rates and rates[torch.bfloat16] < 0.3 * rates[torch.float32]:
            del peaks[torch.bfloat16]
    return {torch.bfloat16: 0.0} | peaks


@torch.no_grad()
def generator(device, batch):
    """The generator at its published size against the plain twin, and in bfloat16."""
    return _against_twin(PUBLISHED, device, batch)


@torch.no_grad()
def embedded(device, batch):
    """The embedded world's generator against the plain twin, and in bfloat16."""
    return _against_twin(EMBEDDED, device, batch)


def _against_twin(sizes, device, batch):
    plain = _twin()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(**sizes)
        w = torch.randn(batch, network.n_styles, network.w_dim).to(device)
    for conv in network.convs:
        conv.noise_strength.fill_(0.1)
    network = network.to(device).eval().requires_grad_(False)
    state, half = network.state_dict(), copy.deepcopy(network).bfloat16()
    return [Candidate("plain twin", lambda: plain.synthesize(state, w), batch),
            Candidate("this library", lambda: network(w), batch),
            Candidate("this library, bfloat16", lambda: half(w.bfloat16()), batch, torch.bfloat16)]


def inversion(device, batch):
    """ReStyle with the shipped encoder, five steps."""
    from .weights import load_inverter, shipped

    what = f"{MODEL}, {STEPS} steps"
    if MODEL not in shipped():
        return [Candidate(what, None, batch, note="not measured: no such model is shipped")]
    inverter = load_inverter(MODEL, device=device)
    images = torch.zeros(batch, inverter.domain.channels, *inverter.domain.encoder_size, device=device)
    return [Candidate(what, lambda: inverter(images, steps=STEPS).images, batch)]


def training(device, batch):
    """Forward and backward of the embedded generator and its discriminator: a step without its optimiser."""
    from .models.stylegan2 import Discriminator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(**EMBEDDED)
        critic = Discriminator(EMBEDDED["resolution"], channels=EMBEDDED["channels"])
        z = torch.randn(batch, generator.z_dim).to(device)
    generator, critic = generator.to(device), critic.to(device)
    real = torch.zeros(batch, 3, generator.resolution, generator.resolution, device=device)

    def step(penalty):
        images = generator(generator.mapping(z), noise="random")
        F.softplus(-critic(images)).mean().backward()
        x = real.clone().requires_grad_(penalty)
        logits = critic(x)
        loss = (F.softplus(critic(images.detach())) + F.softplus(-logits)).mean()
        if penalty:
            loss = loss + torch.autograd.grad(logits.sum(), x, create_graph=True)[0].square().sum()
        loss.backward()
        for parameter in (*generator.parameters(), *critic.parameters()):
            parameter.grad = None
    return [Candidate("generator and discriminator", lambda: step(False), batch),
            Candidate("... with R1", lambda: step(True), batch)]


CASES = {"generator": generator, "embedded": embedded, "inversion": inversion, "training": training}


def _twin():
    if not TWIN.exists():
        raise UserError("the plain twin that this case compares with is in tests/reference of the "
                        "repository; run it from a full checkout")
    spec = importlib.util.spec_from_file_location(TWIN.stem, TWIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _measure(case, candidates, repeats, device, peaks):
    """The candidates by turns, `repeats` rounds after one warm-up each -> rows."""
    gradients = torch.enable_grad() if case == "training" else torch.no_grad()
    with gradients:
        for candidate in candidates:
            if not peaks[candidate.dtype]:
                candidate.call, candidate.note = None, "not measured: no fast bfloat16 on this processor"
        runnable = [candidate for candidate in candidates if candidate.call]
        facts = {candidate.what: _warm_up(candidate, device) for candidate in runnable}
        for _ in range(repeats):
            for candidate in runnable:
                candidate.seconds.append(_timed(candidate.call, device))
    first = candidates[0]
    reference = facts.get(first.what, {}).pop("output", None)
    rows = []
    for candidate in candidates:
        seconds, fact = candidate.seconds, facts.get(candidate.what, {})
        output, rate = fact.pop("output", None), statistics.median(seconds) if seconds else None
        compared = seconds and candidate is not first
        ratios = [a / b for a, b in zip(first.seconds, seconds, strict=True)] if compared else []
        error = _difference(output, reference) if compared and output is not None else None
        gflop = fact.get("gflop")
        rows.append({"case": case, "what": candidate.what, "images": candidate.images,
                     "repeats": len(seconds), "seconds": rate,
                     "low": min(seconds, default=None), "high": max(seconds, default=None),
                     "times_faster": statistics.median(ratios) if ratios else None, "difference": error,
                     "gflop": gflop, "memory_mb": fact.get("memory_mb"),
                     "of_peak": gflop / rate / peaks[candidate.dtype] if seconds else None,
                     "peak_gflops": peaks[candidate.dtype], "device": str(device),
                     "dtype": str(candidate.dtype).removeprefix("torch."),
                     "threads": torch.get_num_threads(), "note": candidate.note})
    return rows


def _difference(output, reference):
    """Largest difference in units of the reference's standard deviation."""
    return float((output.float() - reference.float()).abs().max() / reference.float().std())


def _warm_up(candidate, device):
    """First calls, which also count the arithmetic and the memory above what was resident before."""
    with _Flops() as counter:
        output = candidate.call()
    before = _reset_memory(device)
    candidate.call()
    memory = _peak(device)
    return {"gflop": counter.total / 1e9, "output": output if torch.is_tensor(output) else None,
            "memory_mb": None if before is None or memory is None else round(memory - before)}


class _Flops(TorchDispatchMode):
    """Adds up the arithmetic of convolutions and matrix products, also of their derivatives."""
    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def _timed(call, device):
    _wait(device)
    start = time.perf_counter()
    call()
    _wait(device)
    return time.perf_counter() - start


def _wait(device):
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def _reset_memory(device):
    """Forgets the peak so far; the memory in use now, MiB. None where the system cannot forget its peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return None


def _peak(device):
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else _status("VmHWM")


def _status(name):
    """A line of /proc/self/status in MiB, or the process's peak where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return peak_memory()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))

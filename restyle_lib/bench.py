"""Speed and memory, measured: the candidates of a case take turns, after a warm-up; medians, spread, FLOPs.

A case's first row is what the others are compared with, in the same minutes on the same machine.
"""
import contextlib
import json
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

from . import memory
from .bench_apart import Apart
from .errors import UserError, suggest
from .files import write_json
from .provenance import hardware, peak_memory
from .runs import choose_device
from .tables import Table

COLUMNS = ("case", "what", "images", "first_call", "seconds", "low", "high", "times_faster", "difference",
           "gflop", "of_peak", "memory_mb")


@dataclass
class Candidate:
    """One row of a case: `call()` handles `images` images; `note` says why it was not measured, if so.

    apart: on a CPU it is made and called in a process of its own (see bench_apart), `call` here is not."""
    what: str
    call: Callable | None
    images: int
    dtype: torch.dtype = torch.float32
    note: str = ""
    apart: bool = False
    seconds: list = field(default_factory=list)


def run(case="all", repeats=5, out=None, device="auto", batch=0, compare=None):
    """Measures a case of `bench_cases`, several, or "all": prints a table, returns its rows, also to `out`.

    batch: images in a batch (0: the case's own). compare: JSON of an earlier run, whose seconds stand beside
    these. UserError for an unknown case, and where the plain twin is not there: this is no full checkout."""
    from .bench_cases import CASES
    names = list(CASES) if case == "all" else [case] if isinstance(case, str) else list(case)
    for name in names:
        if name not in CASES:
            raise suggest(name, CASES, "case")
    before = _earlier(compare) if compare else {}
    device, rows = torch.device(choose_device(device)), []
    peaks = matmul_peaks(device)
    for name in names:
        _, images, gradients = CASES[name]
        with torch.set_grad_enabled(gradients):
            rows += _measure(name, candidates(name, device, batch or images), repeats, device, peaks)
    print(Table({column: row[column] for column in COLUMNS} for row in rows))
    print(*(f"{row['case']}, {row['what']}: {row['note']}" for row in rows if row["note"]), sep="\n")
    if before:
        print(Table(_change(row, before) for row in rows if row["seconds"]))
    if out:
        write_json(out, {"hardware": hardware(), "torch": torch.__version__, "rows": rows})
    return rows


def candidates(case, device, batch):
    """Those of a case, on the same random numbers whenever and in whatever process they are made."""
    from .bench_cases import CASES
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CASES[case][0](device, batch)


def _earlier(path):
    """{(case, what, images, device): row} of an earlier run's JSON."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        return {(row["case"], row["what"], row["images"], row["device"]): row for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is no result of bench: expected what `bench --json FILE` wrote") from None


def _change(row, before):
    old = before.get((row["case"], row["what"], row["images"], row["device"]), {}).get("seconds")
    return {"case": row["case"], "what": row["what"], "seconds": row["seconds"], "before": old,
            "change": f"{100 * (row['seconds'] / old - 1):+.0f} %" if old else "not measured before"}


def matmul_peaks(device, sides=(64, 128, 512, 1024)):
    """{dtype: GFLOP/s of its fastest square matrix product}; 0 where it is far slower than float32.

    As a product, and as convolutions of 1x1 and 3x3, which another library may compute: matrix products, too,
    and on some processors twice as fast. Without bfloat16 arithmetic it is emulated, hundreds of times as
    slow: small sides find that out."""
    peaks = {torch.float32: 0.0, torch.bfloat16: 0.0}
    for side in (*sides, *([4 * sides[-1]] if device.type == "cuda" else ())):
        rates = {}
        for dtype in list(peaks):
            a = torch.randn(side, side, device=device).to(dtype)
            image = a.t().reshape(1, side, -1, 8).contiguous(memory_format=torch.channels_last)
            wide, half = torch.randn(1, side // 2, 64, 64, device=device).to(dtype), a[:side // 2, :side // 2]
            wide = wide.contiguous(memory_format=torch.channels_last)
            taps = half[:, :, None, None].expand(-1, -1, 3, 3).contiguous(memory_format=torch.channels_last)
            ways = {partial(torch.mm, a, a): side**3, partial(F.conv2d, image, a[:, :, None, None]): side**3,
                    partial(F.conv2d, wide, taps, padding=1): (side // 2 * 3 * 64)**2}
            rates[dtype] = max(2e-9 * work / timed(way, device)
                               for way, work in ways.items() for _ in range(6))
            peaks[dtype] = max(peaks[dtype], rates[dtype])
        if torch.bfloat16 in rates and rates[torch.bfloat16] < 0.3 * rates[torch.float32]:
            del peaks[torch.bfloat16]
    return {torch.bfloat16: 0.0} | peaks


def check_bfloat16(device):
    """UserError where a device is slower in bfloat16 than in float32."""
    device = torch.device(device)
    if not matmul_peaks(device, sides=(64, 128))[torch.bfloat16]:
        raise UserError(f"this {device.type} computes bfloat16 slower than float32; use float32")


def _measure(case, candidates, repeats, device, peaks):
    """The candidates by turns, `repeats` rounds after one warm-up each -> rows."""
    for candidate in candidates:
        if not peaks[candidate.dtype]:
            candidate.call, candidate.note = None, "not measured: no fast bfloat16 on this processor"
    runnable = [candidate for candidate in candidates if candidate.call]
    with contextlib.ExitStack() as stack:
        turns, facts = {}, {}
        for candidate in runnable:
            warm, turn = partial(warm_up, candidate, device), partial(timed, candidate.call, device)
            if candidate.apart and device.type == "cpu":
                apart = stack.enter_context(contextlib.closing(Apart(case, device, candidate.images)))
                warm, turn = apart.warm_up, apart.turn
            turns[candidate.what] = turn
            facts[candidate.what] = warm()
        for _ in range(repeats):
            for candidate in runnable:
                candidate.seconds.append(turns[candidate.what]())
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
                     "repeats": len(seconds), "first_call": fact.get("first_call"), "seconds": rate,
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


def warm_up(candidate, device):
    """First calls, which also count the arithmetic and the memory above what was resident before."""
    _wait(device)
    start = time.perf_counter()
    with _Flops() as counter:
        output = candidate.call()
    _wait(device)
    first = time.perf_counter() - start
    memory.give_back()
    before = _reset_memory(device)
    candidate.call()
    peak = _peak(device)
    return {"first_call": first, "gflop": counter.total / 1e9,
            "output": output if torch.is_tensor(output) else None,
            "memory_mb": None if before is None or peak is None else round(peak - before)}


class _Flops(TorchDispatchMode):
    """Adds up the arithmetic of convolutions and matrix products, also of their derivatives."""
    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def timed(call, device):
    """The seconds of call()."""
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

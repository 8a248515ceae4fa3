"""Several processes, as `torchrun` begins them: which one this is, its share, averages, one after another.

Batches and orders of data are those of all processes together, so that their number changes no result but by
rounding and random draws. In a single process every function here does nothing, and costs nothing."""
import atexit
import contextlib
import datetime
import os
import sys

import torch
from torch import distributed as dist
from torch.optim.optimizer import register_optimizer_step_pre_hook

from .errors import UserError
from .runs import choose_device

PATIENCE = datetime.timedelta(days=1)      # a process that died ends them all, by torchrun, long before


def start(device="auto"):
    """Joins the processes that torchrun began -> this one's device: a GPU of its own, or "cpu". From then on
    only the first one prints."""
    device, count = choose_device(device), int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "LOCAL_RANK" not in os.environ:
        return device
    gpu, place = device.startswith("cuda"), int(os.environ["LOCAL_RANK"])
    if gpu and place >= torch.cuda.device_count():
        raise UserError(f"torchrun began process {place + 1} here, beside {torch.cuda.device_count()} GPUs; "
                        "use fewer with --nproc-per-node, or device cpu")
    if gpu:
        torch.cuda.set_device(place)
    if not dist.is_initialized():
        store, number, count = next(dist.rendezvous("env://"))
        life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")   # a second one met the first's addresses
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE, rank=number,
                                world_size=count, store=dist.PrefixStore(f"life {life}", store))
        atexit.register(dist.destroy_process_group)
        if rank():
            sys.stdout = open(os.devnull, "w")
            atexit.register(sys.stdout.close)
    return f"cuda:{place}" if gpu else device


def size():
    """How many processes work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank():
    """Which of them this is, from 0; the first one validates and writes."""
    return dist.get_rank() if size() > 1 else 0


def alone(what):
    """UserError where several processes would do `what`, which takes one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(f"{what} runs in one process; call it without torchrun")


def share(rows):
    """This process's part of a batch: rows [B] -> [B / size]. UserError unless that is whole."""
    each, over = divmod(len(rows), size())
    if over:
        raise UserError(f"a batch of {len(rows)} has no {size()} equal parts, for a process each; change it")
    return rows[rank() * each:(rank() + 1) * each]


def mean(value):
    """A tensor's average over the processes, without gradients."""
    if size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / size()


def together(tensor):
    """[B, ...] of each process -> [size * B, ...], the same in all."""
    if size() == 1:
        return tensor
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def told(value):
    """A picklable value of each process -> the list of all."""
    if size() == 1:
        return [value]
    values = [None] * size()
    dist.all_gather_object(values, value)
    return values


def any_of(*flags):
    """Of each flag, whether it is true in any process."""
    if size() == 1:
        return flags
    raised = torch.tensor([bool(flag) for flag in flags], dtype=torch.uint8)    # on the CPU: no GPU waits
    dist.all_reduce(raised, dist.ReduceOp.MAX)
    return raised.bool().tolist()


def wait():
    """Until all processes are here."""
    any_of(False)


@contextlib.contextmanager
def first():
    """The first process goes through the block alone, the others after it (a cache is filled once)."""
    if rank():
        wait()
    yield
    if not rank():
        wait()


@contextlib.contextmanager
def averaging():
    """Within, every optimiser steps on the average of the processes' gradients: one all-reduce before each of
    its steps, however many backward passes have added to them."""
    with contextlib.ExitStack() as stack:
        if size() > 1:
            stack.callback(register_optimizer_step_pre_hook(_average).remove)
        yield


def _average(optimizer, *_):
    slopes = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    flat = mean(torch.cat([slope.flatten() for slope in slopes]))
    for slope, part in zip(slopes, flat.split([slope.numel() for slope in slopes]), strict=True):
        slope.copy_(part.view(slope.shape))


def batch_norm(module, device):
    """The module; on several GPUs its batch statistics are those of all processes."""
    if size() > 1 and torch.device(device).type == "cuda":
        return torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return module

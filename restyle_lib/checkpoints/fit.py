"""Holding a file's tensors against a network's: what matched, is missing, left over or of another size."""
from dataclasses import dataclass

import torch

from ..errors import UserError


@dataclass(frozen=True)
class Match:
    """Names of tensors, compared with a network's own."""
    matched: list
    missing: list
    unexpected: list
    sizes: list               # (name, the network's shape, the file's)

    def __str__(self):
        sizes = [f"{name} {list(theirs)} for {list(ours)}" for name, ours, theirs in self.sizes]
        groups = [("missing", self.missing), ("unexpected", self.unexpected), ("of another size", sizes)]
        words = [f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                 for what, names in groups if names]
        return ", ".join([f"{len(self.matched)} tensors match", *words])


def compare(shapes, tensors):
    """{name: shape} of a network and {name: tensor} of a file -> Match. Axes of length 1 do not count."""
    def plain(shape):
        return [side for side in shape if side != 1]
    there = [name for name in shapes if name in tensors]
    fits = {name: plain(shapes[name]) == plain(tensors[name].shape) for name in there}
    return Match([name for name in there if fits[name]], [name for name in shapes if name not in tensors],
                 [name for name in tensors if name not in shapes],
                 [(name, shapes[name], tensors[name].shape) for name in there if not fits[name]])


def fit(what, network, tensors, optional=(), copy=True):
    """`network` (may be on the meta device) with the file's `tensors`, in eval mode, without gradients.

    UserError unless all names and sizes match; those in `optional` may be missing and stay as they are, and
    batch norm's counters, which old files lack. copy: not needed for tensors that nothing else holds."""
    own = network.state_dict()
    counters = [name for name in own if name.endswith("num_batches_tracked") and name not in tensors]
    tensors = tensors | {name: torch.zeros(own[name].shape, dtype=own[name].dtype) for name in counters}
    match = compare({name: value.shape for name, value in own.items()}, tensors)
    missing = [name for name in match.missing if name not in optional]
    if missing or match.unexpected or match.sizes:
        raise UserError(f"no complete {what}: {match}")
    state = {name: tensors[name].to("cpu", own[name].dtype, copy=copy).reshape(own[name].shape)
             for name in match.matched}
    network.load_state_dict(state, strict=False, assign=True)
    return network.eval().requires_grad_(False)


def on_meta(build, *args, **kwargs):
    """A network without memory, to be fitted."""
    with torch.device("meta"):
        return build(*args, **kwargs)

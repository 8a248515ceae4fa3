"""Names of the encoders' tensors: published `styles.K.convs.J`, one head after another, and ours, stacked."""
import torch

from ..errors import UserError
from ..models.encoders import Encoder
from .fit import compare, fit, on_meta


def _head_names(encoder):
    """(published name, own name, slice of its rows) of every tensor of the heads."""
    for group, (start, heads) in enumerate(zip(encoder.starts, encoder.heads, strict=False)):
        for index in range(heads.count):
            wide = slice(index * heads.width, (index + 1) * heads.width)
            last = slice(index * heads.w_dim, (index + 1) * heads.w_dim)
            published, own = f"styles.{start + index}", f"heads.{group}"
            for layer in range(len(heads.weights)):
                yield f"{published}.convs.{2 * layer}.weight", f"{own}.weights.{layer}", wide
                yield f"{published}.convs.{2 * layer}.bias", f"{own}.biases.{layer}", wide
            yield f"{published}.linear.weight", f"{own}.linear_weight", last
            yield f"{published}.linear.bias", f"{own}.linear_bias", last


def _body_name(own):
    """The published name of a tensor outside the heads."""
    if own.startswith("lateral."):
        _, index, kind = own.split(".")
        return f"latlayer{int(index) + 1}.{kind}"
    return own.removeprefix("backbone.")


def encoder_architecture(state, progressive=False):
    """Encoder's arguments, read from a published encoder's tensors."""
    face = "input_layer.0.weight" in state
    first = state["input_layer.0.weight" if face else "conv1.weight"]
    depth = sum(name.startswith("styles.0.convs.") and name.endswith("weight") for name in state)
    w_dim, width = state["styles.0.linear.weight"].shape
    return dict(backbone="irse50" if face else "resnet34",
                head="pyramid" if "latlayer1.weight" in state else "single", progressive=progressive,
                n_styles=1 + max(int(name.split(".")[1]) for name in state if name.startswith("styles.")),
                w_dim=w_dim, in_channels=first.shape[1], input_size=[16 * 2**depth] * 2,
                head_channels=None if width == w_dim else width)


def read_encoder(state, progressive=False):
    """A published encoder's state dict -> Encoder in eval mode; UserError for a tensor missing or left over.

    Its input is taken as square, which no tensor tells; Encoder.resize changes that."""
    try:
        encoder = on_meta(Encoder, **encoder_architecture(state, progressive))
    except (KeyError, ValueError) as error:
        raise UserError(f"no complete encoder of a known shape: {error} is missing or strange") from None
    wanted = {name: value.shape for name, value in published_encoder(encoder).items()}
    match = compare({name: shape for name, shape in wanted.items()
                     if name in state or not name.endswith("num_batches_tracked")}, state)
    if match.missing or match.unexpected or match.sizes:
        raise UserError(f"no complete encoder of a known shape: {match}")
    own, rows = {}, {}
    for published, name, _ in _head_names(encoder):
        rows.setdefault(name, []).append(state[published])
    for name in encoder.state_dict():
        if name in rows:
            own[name] = torch.cat(rows[name])
        elif _body_name(name) in state:
            own[name] = state[_body_name(name)].clone()
    return fit("encoder", encoder, own, copy=False)


def published_encoder(encoder):
    """The state dict of an Encoder in the published layout (the inverse of `read_encoder`)."""
    own = encoder.state_dict()
    state = {_body_name(name): value for name, value in own.items() if not name.startswith("heads.")}
    return state | {published: own[name][rows] for published, name, rows in _head_names(encoder)}

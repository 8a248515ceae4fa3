"""Methods by name: `get(spec, domain)` -> a callable (images, generator, domain) -> Trajectory."""
import dataclasses
from pathlib import Path

from ..domains import load_domain
from ..errors import UserError, suggest
from ..weights import load_inverter, load_network, shipped
from .domain_guided import DomainGuided
from .foreign import Function, Results, steps_in
from .naive import NaiveRefeeding
from .onepass import EncoderMethod
from .optimise import Optimise

ALONE = {"optimise-w": dict(space="w"), "optimise-w+": dict(space="w+")}
PREFIXES = ("hybrid", "naive", "domain-guided")         # before an encoder's name: "naive:avatars/psp"
HYBRID = dict(ramp_up=0.01, w_noise=0.0)                # the start is worth keeping: no search around it
SPECS = ("an encoder's name or path", *ALONE, *(f"{prefix}:ENCODER" for prefix in PREFIXES),
         "package.module:function", "a folder of results")


def get(spec, domain, *, generator=None, device="cpu", **settings):
    """A method by its name; `settings` (steps=..., lr=...) are its fields. UserError in one sentence.

    spec: one of SPECS, or a function. generator: the module that encoders are to work with, by default the
    one that they name; the method is called with it."""
    domain = load_domain(domain)
    if callable(spec):
        return Function(spec, **settings)
    spec = str(spec)
    prefix, sign, name = spec.partition(":")
    if spec in ALONE:
        return _built(Optimise, spec, ALONE[spec] | _network(Optimise, domain, device, settings) | settings)
    if sign and prefix in PREFIXES:
        inverter = _inverter(name, domain, generator, device)
        if prefix == "naive":
            return _built(NaiveRefeeding, spec, {"inverter": inverter} | settings)
        if prefix == "domain-guided":
            more = _network(DomainGuided, domain, device, settings)
            return _built(DomainGuided, spec, {"inverter": inverter} | more | settings)
        first = EncoderMethod(inverter=inverter, steps=settings.pop("encoder_steps", 0))
        more = _network(Optimise, domain, device, settings)
        return _built(Optimise, spec, HYBRID | {"first": first} | more | settings)
    if spec not in shipped() and steps_in(spec):
        return Results(spec, **settings)
    if sign and prefix.replace(".", "").isidentifier() and not Path(spec).exists():
        return Function(spec, **settings)
    return _built(EncoderMethod, spec, {"inverter": _inverter(spec, domain, generator, device)} | settings)


def _built(cls, spec, values):
    accepted = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in accepted:
            raise suggest(name, [n for n in accepted if n not in ("name", "inverter", "first", "network")],
                          f"setting of {spec}")
    return cls(**{"name": spec} | values)


def _network(cls, domain, device, settings):
    """The domain's perceptual network, loaded once, where the method weighs it."""
    weight = settings.get("perceptual", cls.perceptual)
    kind = next((kind for kind in ("perceptual", "lpips") if kind in domain.networks), None)
    return {"network": load_network(domain.networks[kind], kind, device)} if weight and kind else {}


def _inverter(name, domain, generator, device):
    """An encoder's Inverter; where its weights are missing, how to get them."""
    if name not in shipped() and not Path(name).expanduser().exists():
        from ..training.presets import CONTROLS, methods
        folder, _, model = name.rpartition("/")
        if model in (*methods(), *CONTROLS) and folder in ("", domain.name):
            raise UserError(f"the weights {name} are not here; train them: python -m restyle_lib train "
                            f"encoder {model} --domain {domain.called} --out FOLDER, then name FOLDER/last")
        error = suggest(name, [*shipped(), *SPECS[1:]], "method or model")
        raise UserError(f"{error}; a network of your own is named by its folder or file")
    return load_inverter(name, domain, generator, device)

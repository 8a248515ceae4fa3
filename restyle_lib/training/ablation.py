"""Ablations: variants of one training at equal compute, in a plan that is a YAML file.

data_manifests/ablation.yaml asks what the paper leaves open; other plans are a reader's own.
"""
import dataclasses
import hashlib
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from .. import ablation, data, metrics, options, scoring, weights
from ..ablation import SHIPPED
from ..checkpoints.own import read_config
from ..domains import LOSSES, MANIFESTS
from ..errors import UserError, suggest
from ..files import write_json
from ..losses import OwnLoss
from ..models.encoders import HEADS
from ..runs import choose_device
from ..schema import FLAG, POSITIVE, TEXT, _build, _choice, _field, _number, _read
from . import checkup, commands, presets
from .encoder_settings import EncoderTraining
from .loop import STATE

PLAN = MANIFESTS / "ablation.yaml"
STEPS, IMAGES = 20, 200                    # at inference; held out
TABLE = (lambda v: isinstance(v, dict)), "a table"
TWO = (lambda v: isinstance(v, dict) and len(v) > 1), "a table of two variants or more"
WEIGHTS = (lambda v: isinstance(v, dict) and all(_number(x) and x >= 0 for x in v.values())), \
    "a table of losses and their weights, from 0 on"


@dataclass(frozen=True)
class Variant:
    """What differs from the plan; null: nothing. See data_manifests/ablation.yaml."""
    asks: str = _field(TEXT, "")
    steps: int = _field(POSITIVE, None)
    head: str = _field(((lambda v: v in HEADS), " or ".join(HEADS)), None)
    update: str = _field(_choice("step", "batch"), None)
    losses: dict = _field(WEIGHTS, None)                  # in place of the domain's
    method: str = _field(TEXT, None)
    settings: dict = _field(TABLE, dict)                  # any other of EncoderTraining
    start: str = _field(_choice("given", "trunk", "random"), "given")
    seeds: int = _field(POSITIVE, None)
    against: str = _field(TEXT, None)
    gpu: bool = _field(FLAG, False)


@dataclass(frozen=True)
class Plan:
    """Variants {name: Variant} of a method on a domain. passes: of a batch through encoder and generator."""
    variants: dict = _field(TWO)
    domain: str = _field(TEXT, "avatars")
    method: str = _field(TEXT, "restyle-psp")
    size: str = _field(TEXT, "embedded")
    passes: int = _field(POSITIVE, 2000)
    seeds: int = _field(POSITIVE, 1)
    settings: dict = _field(TABLE, dict)
    path: object = None

    def config(self, name, seed=0):
        """EncoderTraining of a variant: the preset, the plan's settings, the variant's; equal passes."""
        variant = self.variants[name]
        own = {k: getattr(variant, k) for k in ("steps", "head", "update") if getattr(variant, k) is not None}
        kinds = options.field_kinds(EncoderTraining)
        kinds = {k: kind for k, kind in kinds.items() if k not in ("iterations", "seed")}   # the budget's
        pairs = [f"{k}={v}" for k, v in {**self.settings, **variant.settings, **own}.items()]
        changes = options.pairs(pairs, kinds, f"setting of the variant {name}")
        method = variant.method or self.method
        steps = changes.get("steps") or presets.encoder(method, self.size).steps
        count = max(1, self.passes // steps)
        common = {"validate_every": count, "sample_every": count, "log_every": max(1, count // 20),
                  "progressive_start": count // 10, "progressive_every": max(1, count // 50)}
        return presets.encoder(method, self.size, **common | changes, iterations=count, seed=seed)

    def losses(self, name, domain):
        """({loss: weight} of a variant, {loss: OwnLoss} of those from the reader's files)."""
        found = self.variants[name].losses
        found = dict(domain.losses if found is None else found)
        return found, {spec: OwnLoss(spec, self.path.parent) for spec in found if ":" in spec}

    def reference(self, name):
        """The variant that another is compared with."""
        return self.variants[name].against or next(iter(self.variants))

    def command(self, name, seeds=None, given="ENCODER"):
        """The shell line that trains a variant, from the encoder `given` where it starts from one."""
        plan = "" if self.path == PLAN else f" {self.path}"
        given = f" --init-from {given}" if given and self.variants[name].start == "given" else ""
        more = f" --seeds {seeds}" if seeds else ""
        return f"python -m restyle_lib train ablation{plan} --out DIR --only {name}{more}{given}"


def load(path=None):
    """The Plan of a YAML file, by default the shipped one. UserError: file, field, what is accepted."""
    path = PLAN if path is None else Path(path)
    plan, variants = _build(Plan, _read(path), path), {}
    for name, values in plan.variants.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", str(name)) or name == SHIPPED:
            raise UserError(f"{path}: the variant '{name}' needs a name of a-z, 0-9 and -, and not 'shipped'")
        variants[name] = _build(Variant, {} if values is None else values, path, f"variants.{name}.")
    plan = replace(plan, variants=variants)
    domain = data.load_domain(plan.domain)
    if domain.generator is None:
        raise UserError(f"{path}: the domain {domain.name} names no generator to train encoders with")
    for name, variant in variants.items():
        if variant.against not in (None, *variants):
            raise suggest(variant.against, variants, f"variant that {name} is against")
        plan.config(name)
        _try_losses(plan, name, domain)
    return plan


def _try_losses(plan, name, domain):
    """Wrong losses are told before anything is trained."""
    import torch
    for spec in plan.variants[name].losses or ():
        if ":" not in spec and spec not in LOSSES:
            raise suggest(spec, [*LOSSES, "FILE.py:FUNCTION"], f"loss of the variant {name}")
    for spec, loss in plan.losses(name, domain)[1].items():
        x = torch.rand(2, domain.channels, *domain.encoder_size, requires_grad=True)
        try:
            loss(2 * x - 1, torch.zeros_like(x))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the loss {spec} of the variant {name} fails: {type(error).__name__}: {error}") \
                from None


def project(plan, *, count=None, device="cpu"):
    """(seconds a pass, trainings of the plan without a GPU's) on this machine, from the first variant's."""
    domain, name = data.load_domain(plan.domain), next(iter(plan.variants))
    config, (losses, own) = plan.config(name), plan.losses(name, domain)
    images = data.images(data.domain_dataset(domain, "train"), "train", domain.encoder_size, fit=domain.fit,
                         count=max(count or 0, config.batch), progress=False)
    named = {k: domain.networks[k] for k in losses if k in domain.networks}
    networks = {k: weights.load_network(name, k, device) for k, name in named.items()} | own
    generator = weights.load_generator(domain.generator, device)
    trainer = checkup.encoder_trainer(images, config, domain=domain, losses=losses, networks=networks,
                                      generator=generator, device=device)
    each = checkup.pace(trainer, 1)["seconds"] / config.steps
    return each, sum(v.seeds or plan.seeds for v in plan.variants.values() if not v.gpu)


def train(plan, out, *, only=(), everything=False, seed=0, seeds=None, init_from=None, count=None,
          images=IMAGES, steps=STEPS, shipped=True, device="auto", max_seconds=0.0, headless=False,
          say=print):
    """Trains a Plan's variants into `out` and measures each on held-out `images` at up to `steps` steps.

    only: names of variants (none: all but those for a GPU, or `everything`). seed: the first. count: training
    images. shipped: also measure the shipped encoder. What is finished is passed over, what was stopped goes
    on. max_seconds: stop after so long. -> [result]."""
    ablation.check(images, steps)
    domain, out, device = data.load_domain(plan.domain), Path(out), choose_device(device)
    for name in only:
        if name not in (*plan.variants, SHIPPED):
            raise suggest(name, [*plan.variants, SHIPPED], "variant")
    dataset, begun = data.domain_dataset(domain, "test"), time.monotonic()
    rows = dataset.split("test").spread(images)
    pixels = data.images(dataset, "test", domain.encoder_size, indices=rows, fit=domain.fit,
                         progress=not headless)[:]
    measured = {"domain": domain.name, "images": len(rows), "inference": steps}
    how = dict(device=device, measured=measured, x=metrics.to_floats(pixels, device),
               judges=scoring.judges(domain, device))
    name = f"{domain.name}/{plan.method}"
    if name in weights.shipped() and (SHIPPED in only or shipped and not only):
        facts = weights.facts(name)
        told = {"model": name, "steps": facts["training"]["steps"], "iterations": facts["iterations"]}
        ablation.measure(out / SHIPPED / "seed-0", name, domain, told, **how)
    for name, variant in plan.variants.items():
        if name not in only and (only or variant.gpu and not everything):
            continue
        for number in range(seed, seed + (seeds or variant.seeds or plan.seeds)):
            rest = max_seconds - (time.monotonic() - begun) if max_seconds else 0.0
            told = f"{name}, seed {number}"
            over = max_seconds and rest <= 0
            if over or not _train(plan, name, number, out, domain, init_from, count, rest, headless, how):
                say(f"{told}: max_seconds={max_seconds:g} are over; call again to go on")
                return ablation.gather(out)
            say(f"{told} is done")
    return ablation.gather(out)


def _train(plan, name, seed, out, domain, init_from, count, rest, headless, how):
    """Trains and measures a variant with a seed; False where time was up."""
    variant, config, (losses, own) = plan.variants[name], plan.config(name, seed), plan.losses(name, domain)
    folder, given = out / name / f"seed-{seed}", init_from if variant.start == "given" else None
    trunk = "attributes" if "attributes" in domain.networks else None
    start = "random" if variant.start == "random" else "trunk" if given is None else ablation.short(given)
    told = {"variant": name, "seed": seed, "method": variant.method or plan.method, "start": start,
            "losses": losses, "count": count, "settings": json.loads(json.dumps(config.options())),
            "own": {spec: hashlib.sha256(loss.path.read_bytes()).hexdigest() for spec, loss in own.items()}}
    if (folder / STATE).exists():
        before = json.loads((folder / "variant.json").read_text(encoding="utf-8"))
        if changed := [key for key in told if told[key] != before.get(key)]:
            raise UserError(f"{folder} was trained with other {' and '.join(changed)}; use another folder, "
                            "or remove this one")
    write_json(folder / "variant.json", told)
    pairs = [f"{k}={v}" for k, v in dataclasses.asdict(config).items()]
    trunk = "none" if variant.start == "random" else None if given else trunk
    if not (folder / "result.json").exists():
        commands.encoder(told["method"], domain, folder, pairs, size=plan.size, count=count, init_from=given,
                         trunk=trunk, losses=losses, networks=own, held_out=how["measured"]["images"],
                         device=how["device"], headless=headless, max_seconds=rest)
    done = read_config(folder / "last")["facts"]["iterations"]
    if done < config.iterations:
        return False
    log = checkup.read_log(folder)["seconds"][1] if (folder / "log.jsonl").read_text() else [0.0]
    told |= {"iterations": done, "steps": config.steps, "passes": done * config.steps, "batch": config.batch,
             "training_seconds": float(log[-1]),
             "command": plan.command(name, given=given and ablation.short(given))}
    ablation.measure(folder, folder / "last", domain, told, **how)
    return True

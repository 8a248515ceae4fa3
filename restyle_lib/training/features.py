"""Training the small networks that look at images: identity (ArcFace), attribute reader, perceptual distance;
their judges, of another architecture and seed, which measure and never train anything; MoCo (see `contrast`).

They train on imperfect images (see `distortions`), because they are to read a generator's samples too. What
they know is measured on held-out images, on the fp16 file as shipped, and stands in its config.json."""
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .. import distributed
from ..checkpoints.own import halved, save_model
from ..errors import UserError, suggest
from ..metrics import to_floats
from ..models.features import AttributeReader, ContrastNet, IdentityNet, PerceptualNet
from .contrast import ContrastTrainer
from .distortions import PAIRS, imperfect, known_changes, mirrored
from .loop import DataOrder, Loop, warmed_cosine
from .margins import ArcMargin, CurricularMargin
from .measure import measure

# name of a kind  network          the architecture's changes where they are not given
KINDS = {
    "identity":         (IdentityNet, {}),
    "attributes":       (AttributeReader, {}),
    "perceptual":       (PerceptualNet, {}),
    "identity-judge":   (IdentityNet, {"backbone": "resnet_small"}),
    "perceptual-judge": (PerceptualNet, {"backbone": "resnet_small", "channels": [16, 48, 80, 128]}),
    "attributes-judge": (AttributeReader, {"backbone": "resnet_small"}),
    "moco":             (ContrastNet, {}),
}
FREE = ("save_every", "log_every")       # may differ when a run is resumed


@dataclass(frozen=True)
class FeatureTraining:
    """Settings of a feature network's training. Counts are images seen, never minutes."""
    images: int = 100_000
    batch: int = 64
    lr: float = 3e-3                     # AdamW; warmed up over 5 % of the steps, falling to zero as a cosine
    weight_decay: float = 1e-3
    augment: float = 1.0                 # strength of shifts, colour, blur and noise; 0: none
    flip: bool = True                    # mirror half of the images, if the attributes say what changes sign
    centres: str = "pairs"               # ArcFace's centre of an image's class: the other image of its pair,
                                         # for short trainings; "classes": learned, as published
    scale: float = 16.0                  # ArcFace: s
    margin: float = 0.2                  # ArcFace: m in radians, reached after 30 % of the steps
    identity_weight: float = 1.0         # tasks of identity and perceptual networks; the identity one learns
    attributes_weight: float = 1.0       # attributes too, because encoders start from its trunk
    emphasis: dict = field(default_factory=dict)     # {attribute: weight in the readers' loss}, others 1
    calibration: int = 120               # perceptual: last steps, which learn the distance's weights alone
    network: dict = field(default_factory=dict)      # further arguments of the network
    amp: str = ""                        # "bf16": mixed precision
    seed: int = 0
    save_every: int = 12_800
    log_every: int = 3_200

    def options(self):
        """The settings as JSON-able values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class ContrastTraining(FeatureTraining):
    """Settings of MoCo's training; those of labels and tasks do nothing here."""
    queue: int = 1024                    # keys to tell the own one from
    momentum: float = 0.99               # of the key network
    temperature: float = 0.2             # as in MoCo v2
    dim: int = 64                        # of query and key, after the head


def train_features(kind, images, labels, out, *, attributes=(), held_out=None, config=None, device="cpu",
                   init_from=None, resume=True, force=False, headless=False, max_seconds=0.0, facts=None):
    """Trains a network of `kind` (see KINDS) in the run folder `out`.

    Returns the folder out/kind of the network, written once the training is complete. As a file a judge is of
    the kind that it judges.
    images      uint8 array-like [N, H, W, C]
    labels      {"identity": [N], attribute name: [N]}; NaN where a value is unknown
    attributes  those to read: dicts or objects with name, kind, low, high, classes and, for mirroring, flips
    held_out    (images, labels) never trained on: the facts are measured on them
    init_from   a network of this kind to start from, its name or path
    UserError for an unknown kind, missing labels, a set smaller than the batch, a loss that is not finite.
    """
    if kind not in KINDS:
        raise suggest(kind, KINDS, "kind of feature network")
    c, folder, spec = config or settings_class(kind)(), Path(out) / kind, [as_spec(a) for a in attributes]
    if c.amp not in ("", "bf16"):
        raise UserError(f"amp is '' or 'bf16', not {c.amp!r}")
    trainer = ContrastTrainer(images, c, device) if kind == "moco" else _Trainer(
        kind, images, labels, spec, c, device)
    known = {"images": c.images, "seed": c.seed, "training": c.options()} | dict(facts or {})
    if init_from is not None:
        known["before"] = trainer.start_from(init_from)
    loop = Loop(out, trainer.parts(), options={"kind": kind} | c.options(), free=FREE, seed=c.seed,
                total=trainer.total, device=device, images_per_step=c.batch,
                log_every=max(1, c.log_every // c.batch), save_every=max(1, c.save_every // c.batch),
                resume=resume, force=force, headless=headless, max_seconds=max_seconds, title=kind)
    if loop.run(trainer.step) < trainer.total or loop.rank:
        return folder
    model = halved(trainer.result())
    if held_out is not None:
        known["held_out"] = measure(judged(kind), model, *held_out, spec, device=device)
    save_model(folder, model, judged(kind), **known)
    return folder


def settings_class(kind):
    """The dataclass of a kind's settings."""
    return ContrastTraining if kind == "moco" else FeatureTraining


def judged(kind):
    """The kind that a judge judges, else the kind itself."""
    return kind.removesuffix("-judge")


def as_spec(attribute):
    """A plain dict of an attribute: name, kind, low, high (real), classes (category), flips, weight."""
    if not isinstance(attribute, dict):
        attribute = {n: getattr(attribute, n) for n in ("name", "kind", "low", "high", "classes", "flips")
                     if hasattr(attribute, n)}
    wanted = {"real": ("low", "high"), "category": ("classes",)}.get(attribute["kind"], ())
    kept = ("name", "kind", *wanted, "flips", "weight")
    spec = {n: attribute[n] for n in kept if attribute.get(n) is not None}
    return spec | ({"classes": list(spec["classes"])} if isinstance(spec.get("classes"), tuple) else {})


class _Trainer:
    def __init__(self, kind, images, labels, spec, config, device):
        (network, own), self.margin = KINDS[kind], CurricularMargin if kind == "identity-judge" else ArcMargin
        kind = judged(kind)
        self.kind, self.images, self.spec, self.c = kind, images, spec, config
        self.device, c, size = torch.device(device), config, list(images.shape[1:3])
        if c.centres not in ("pairs", "classes"):
            raise suggest(c.centres, ("pairs", "classes"), "centres")
        self.paired = kind != "attributes" and "identity" in labels and c.centres == "pairs"
        self.order = DataOrder(len(images), c.batch // 2 if self.paired else c.batch, c.seed)
        missing = [a["name"] for a in spec if a["name"] not in labels]
        missing += ["identity"] if kind == "identity" and "identity" not in labels else []
        if missing or kind != "identity" and not (spec or kind == "perceptual" and "identity" in labels):
            raise UserError(f"training '{kind}' needs labels for {', '.join(missing) or 'some attributes'}; "
                            f"there are: {', '.join(labels) or 'none'}")
        self.targets = {a["name"]: torch.tensor(np.asarray(labels[a["name"]], dtype=np.float32))
                        for a in spec}
        self.identities, self.groups, count = None, None, 0
        if "identity" in labels:
            _, group, counts = np.unique(labels["identity"], return_inverse=True, return_counts=True)
            self.identities, count = torch.as_tensor(group), len(counts)
            self.groups = np.split(np.argsort(group, kind="stable"), np.cumsum(counts)[:-1])
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(c.seed)
            if kind == "attributes":
                plain = [{k: v for k, v in a.items() if k != "flips"} for a in spec]
                self.model = network(plain, input_size=size, **own | c.network)
            else:
                self.model = network(input_size=size, **own | c.network)
            self.tasks = self._tasks(kind, size, count)
        self.tasks = distributed.batch_norm(self.tasks, self.device)
        self.tasks.to(self.device, memory_format=torch.channels_last)
        self.flip = c.flip and all("flips" in a for a in spec)
        self.steps = -(-c.images // c.batch)
        self.total = self.steps + (c.calibration if kind == "perceptual" else 0)
        weights = list(self.model.weights) if kind == "perceptual" else []
        calibrated = {id(p) for p in weights}
        free = [p for p in self.tasks.parameters() if id(p) not in calibrated]
        self.optimizer = torch.optim.AdamW(free, lr=c.lr, weight_decay=c.weight_decay)
        self.calibrator = torch.optim.Adam(weights, lr=0.02) if weights else None

    def _tasks(self, kind, size, classes):
        """All that trains: the model and the heads that supervise it, further ones on its trunk."""
        tasks = nn.ModuleDict({"model": self.model})
        trunk = self.model if kind == "perceptual" else self.model.backbone
        thin = dict(input_size=size, channels=(4, 4, 4, trunk.channels[-1]))       # its own trunk is replaced
        if kind != "attributes" and self.identities is not None:
            embed = self.model if kind == "identity" else _over(IdentityNet(**thin), trunk)
            classes = 0 if self.paired else classes
            tasks["identity"] = embed
            tasks["margin"] = self.margin(embed.config["dim"], classes, self.c.scale)
        if kind == "attributes":
            tasks["reader"] = self.model
        elif self.spec:
            tasks["reader"] = _over(AttributeReader(self.spec, **thin), trunk)
        return tasks

    def parts(self):
        parts = {"tasks": self.tasks, "optimizer": self.optimizer}
        return parts | ({"calibrator": self.calibrator} if self.calibrator else {})

    def result(self):
        """What to ship; a perceptual distance is scaled so that two training images are 0.5 apart."""
        if self.kind != "perceptual":
            return self.model
        model = halved(self.model).to(self.device)
        rows = self.order(0)
        x, y = self._images(rows), self._images(np.roll(rows, 1))
        with torch.no_grad():
            scale = 0.5 / model.distance(x, y).mean().clamp_min(1e-8)
            for weight in model.weights:
                weight.copy_(weight.abs() * scale)
        return model

    def _images(self, rows):
        return to_floats(np.stack([self.images[row] for row in rows]), self.device)

    def _rows(self, number):
        """The images of an iteration; in pairs, the second half shows the first half's identities again."""
        rows = self.order(number)
        if not self.paired:
            return rows
        rng, own = np.random.default_rng([self.c.seed, number]), self.identities.numpy()[rows]
        others = [self.groups[i][self.groups[i] != row] for i, row in zip(own, rows, strict=True)]
        return np.r_[rows, [rng.choice(o) if len(o) else row for o, row in zip(others, rows, strict=True)]]

    def step(self, number):
        """One iteration: {term: value}."""
        if number >= self.steps:
            return self._calibrate(number)
        c, rows = self.c, self._rows(number)
        x, targets = self._images(rows), {n: value[rows].to(self.device) for n, value in self.targets.items()}
        if self.flip:
            chosen = torch.rand(len(x), device=self.device) < 0.5
            x = mirrored(x, chosen)
            for name in (a["name"] for a in self.spec if a.get("flips") and a["name"] in targets):
                targets[name] = torch.where(chosen, -targets[name], targets[name])
        x = imperfect(x, c.augment).contiguous(memory_format=torch.channels_last)
        self.tasks.train()
        for group in self.optimizer.param_groups:
            group["lr"] = warmed_cosine(c.lr, number, self.steps)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.amp == "bf16"):
            terms = self._losses(x, rows, targets, number)
        self.optimizer.zero_grad(set_to_none=True)
        terms["loss"].backward()
        self.optimizer.step()
        return {name: value.detach() for name, value in terms.items()}

    def start_from(self, source):
        """Copies a network of the same kind and shape -> what its config says of its training."""
        from ..weights import facts, load_network
        try:
            self.model.load_state_dict(load_network(source, judged(self.kind)).state_dict())
        except RuntimeError as error:
            text = str(error).splitlines()[1].strip()
            raise UserError(f"the network to start from differs: {text}") from None
        known = facts(source)
        return [*known.get("before", []), {name: known[name] for name in ("images", "training")}]

    def _losses(self, x, rows, targets, number):
        terms, total = {}, 0.0
        if "reader" in self.tasks:
            terms["attributes"], _ = self.tasks["reader"].loss(x, targets, self.c.emphasis)
            total = total + terms["attributes"] * self.c.attributes_weight
        if "identity" in self.tasks:
            margin = self.c.margin * min(1.0, number / (0.3 * self.steps))
            embeddings, who = self.tasks["identity"](x).float(), self.identities[rows].to(self.device)
            terms["identity"], terms["accuracy"] = self.tasks["margin"](embeddings, who, margin)
            total = total + terms["identity"] * self.c.identity_weight
        return terms | {"loss": total}

    def _calibrate(self, number):
        """Learns the distance's weights alone: known changes in known order, by ratios of distances."""
        rows = self.order(number)
        same, other = self._partners(rows, np.random.default_rng([self.c.seed, number]))
        x, same, other = (None if r is None else self._images(r) for r in (rows, same, other))
        self.tasks.eval()
        with torch.no_grad():
            maps = self.model(x)
            changed = {name: self.model(y) for name, y in known_changes(x, same, other).items()}
        logs = {name: self.model.distance(maps, y).clamp_min(1e-8).log() for name, y in changed.items()}
        gaps = torch.stack([logs[more] - logs[less] for less, more in PAIRS if less in logs and more in logs])
        mean = 1 / len(self.model.weights)
        prior = torch.stack([(w / mean - 1).square().mean() for w in self.model.weights]).mean()
        loss = F.softplus((0.1 - gaps) / 0.2).mean() + 0.02 * prior
        self.calibrator.zero_grad(set_to_none=True)
        loss.backward()
        self.calibrator.step()
        return {"calibration": loss.detach(), "in_order": (gaps > 0).float().mean()}

    def _partners(self, rows, rng):
        """For each row another picture of its identity (None if some lack one), and one of another's."""
        groups = self.groups
        if groups is None or len(groups) < 2:
            return None, np.roll(rows, 1)
        own = self.identities.numpy()[rows]
        other = [rng.choice(groups[(i + 1 + rng.integers(len(groups) - 1)) % len(groups)]) for i in own]
        if any(len(groups[i]) < 2 for i in own):
            return None, other
        return [rng.choice(groups[i][groups[i] != row]) for i, row in zip(own, rows, strict=True)], other


def _over(head, trunk):
    """`head` (an identity net or a reader) on top of another trunk of the same last map."""
    head.backbone = trunk
    return head

"""Which inversion methods a domain has, and all of them measured on the same images (Section 5.2)."""
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from . import data, recorded, scoring, weights
from .comparison import METRICS, curves, envelope
from .domains import RenderedSource, load_domain
from .errors import UserError
from .methods import kept, registry
from .methods.optimise import plans
from .metrics import to_floats
from .tables import Table
from .training import inherit
from .weights import load_generator, load_network, shipped

class Shipped(NamedTuple):
    """An encoder of a domain. weights: their name after "DOMAIN/"; refines: it takes several steps; hybrid:
    optimisations begin with its latents. prefix: "naive:" feeds it its own output."""
    label: str
    weights: str
    refines: bool = False
    hybrid: bool = False
    prefix: str = ""


ENCODERS = (            # the last two are controls that keep scheme and head apart
    Shipped("ReStyle-pSp", "restyle-psp", refines=True, hybrid=True),
    Shipped("ReStyle-e4e", "restyle-e4e", refines=True, hybrid=True),
    Shipped("pSp", "psp", hybrid=True),
    Shipped("e4e", "e4e", hybrid=True),
    Shipped("IDInvert, encoder", "idinvert"),
    Shipped("pSp, single head", "psp-single"),
    Shipped("ReStyle, N = 1", "restyle-one"),
)
NAIVE = (               # Figure 16: against one-pass encoders that are fed their own output
    *ENCODERS[:2], Shipped("naive pSp", "psp", refines=True, prefix="naive:"),
    Shipped("naive e4e", "e4e", refines=True, prefix="naive:"),
)
REFINED = tuple(encoder.label for encoder in ENCODERS if encoder.refines)
FLOOR = "optimisation in W+"                            # the family whose longest plan is a generator's floor


def label_of(method):
    """A method's name as it is written ("ReStyle-pSp"), by that of the presets ("restyle-psp")."""
    return next((encoder.label for encoder in ENCODERS if encoder.weights == method), method)


class Entry(NamedTuple):
    """A method in a comparison. family: what its plans belong to, for the envelope; plan: planned steps of
    an optimisation, 0 for encoders; costly: shown fewer images."""
    label: str
    method: object
    family: str
    plan: int = 0

    @property
    def costly(self):
        return self.plan > 0


def lineup(domain, generator=None, device="cpu", *, steps=10, longest=200, hybrid=50, more=(),
           encoders=ENCODERS):
    """(entries, lines that name what is missing): every method of the paper that this domain has weights for.

    steps: of iterative encoders. longest, hybrid: the longest plans of optimisation and of hybrids (0: none).
    more: {label: spec} of somebody's own methods. encoders: which of them, NAIVE or ENCODERS."""
    entries, missing, there = [], [], []

    def add(label, spec, family, plan=0, **settings):
        try:
            found = registry.get(spec, domain, generator=generator, device=device, **settings)
        except UserError as error:
            missing.append(f"{label}: {error}")
            return False
        entries.append(Entry(label, found, family, plan))
        return True

    for encoder in encoders:
        iterative = {"steps": steps} if encoder.refines else {}
        spec = f"{encoder.prefix}{domain.name}/{encoder.weights}"
        if add(encoder.label, spec, encoder.label, **iterative):
            there.append(encoder)
    if longest and "idinvert" in [encoder.weights for encoder in there]:
        add("IDInvert", f"domain-guided:{domain.name}/idinvert", "IDInvert", 100)
    for space in ("w", "w+") if longest else ():
        family = f"optimisation in {space.upper()}"
        for plan in sorted({*plans(longest), longest}):
            add(f"{family}, {plan}", f"optimise-{space}", family, plan, steps=plan)
    for encoder in there if hybrid else ():
        family = f"{encoder.label} + optimisation"
        for plan in sorted({*plans(hybrid), hybrid}) if encoder.hybrid else ():
            add(f"{family}, {plan}", f"hybrid:{domain.name}/{encoder.weights}", family, plan, steps=plan)
    for label, spec in dict(more).items():
        add(label, spec, label)
    return entries, missing


def measure(entries, images, names, generator, domain, judges, *, few=4, folder=None, progress=True):
    """Runs every entry on images [N, C, H, W] in [-1, 1], the costly ones on the first `few` -> (Scores,
    {label: Trajectory}, lines about methods that failed). Results are kept (`methods.kept`)."""
    scorer, made, failed = scoring.Scorer(judges), {}, []
    for entry in entries:
        count = few if entry.costly else len(images)
        try:
            found = kept.run(entry.method, images[:count], generator, domain, folder, progress=progress)
        except UserError as error:
            failed.append(f"{entry.label}: {error}")
            continue
        made[entry.label] = found
        scorer.add(found, images[:count], names[:count], method=entry.label)
    return scorer.scores(), made, failed


def budgets(domain):
    """A row for each encoder that ships for a domain: head, parameters and what its training has seen."""
    rows = Table()
    for encoder in ENCODERS:
        name = f"{domain.name}/{encoder.weights}"
        if name in shipped():
            facts, network = weights.facts(name), load_network(name, "encoder")
            warm, passes = inherit.passes(facts)
            rows.append({"domain": domain.name, "method": encoder.label, "head": facts["training"]["head"],
                         "parameters": sum(p.numel() for p in network.parameters()),
                         "steps each": facts["training"]["steps"], "passes": passes, "warm passes": warm})
    return rows


@dataclass(frozen=True, eq=False)
class Study:
    """All methods of a domain on images of one split."""
    domain: object
    generator: object
    images: object               # [N, C, H, W] in [-1, 1]
    pixels: np.ndarray           # the same as uint8 [N, H, W, C]
    names: list
    truth: dict                  # {attribute: [N]}, empty where there is none
    entries: list
    missing: list                # lines about methods that are not here or failed
    scores: scoring.Scores
    made: dict                   # {label: Trajectory}
    few: int
    past: object = None          # recorded.Recorded of longer optimisations, or None

    @property
    def world(self):
        """Which of the claims' worlds the images belong to."""
        return "rendered" if isinstance(self.domain.dataset("test").source, RenderedSource) else "photographs"

    @property
    def plans(self):
        """{label: planned steps} of optimisations and hybrids."""
        return {entry.label: entry.plan for entry in self.entries if entry.plan}

    @property
    def from_average(self):
        """Labels of the measured methods that begin with the average style, not with an encoder's latents."""
        return [entry.label for entry in self.entries
                if entry.label in self.made and getattr(entry.method, "first", None) is None]

    def curves(self, kind):
        """{label: Curve} of a metric; the passes of a hybrid count those of its encoder. Beside optimisations
        stands what was recorded of methods that are not measured now."""
        found = curves(self.scores, kind, self.plans)
        before = {entry.label: recorded.before(entry) for entry in self.entries}
        found = {label: replace(c, passes=c.passes + before[label]) for label, c in found.items()}
        return found | (self.past.curves(kind, self.made) if self.past and self.plans else {})

    def kept(self, kind):
        """{label: Curve} of a metric, all of them from the recorded run: those are paired with each other."""
        found = self.past.curves(kind) if self.past else {}
        return {label.removesuffix(recorded.SUFFIX): curve for label, curve in found.items()}

    def controls(self, kind):
        """`kept`, in which an encoder that was trained on since then stands as it was beside its controls,
        at equal passes: the recorded run has it as "ReStyle-pSp, 40k passes"."""
        found, past = self.kept(kind), recorded.PASSES
        return found | {past.sub("", label): c for label, c in found.items() if past.search(label)}

    def kept_family(self, name, kind):
        """The Curves of a family in the recorded run, all of its plans."""
        found, methods = self.kept(kind), self.past.methods if self.past else {}
        return [curve for label, curve in found.items()
                if methods[label + recorded.SUFFIX][0] == name + recorded.SUFFIX]

    def envelopes(self, found, against="seconds"):
        """{family: (seconds or passes, mean)} of optimisations, hybrids: the lower envelope of their plans'
        Curves; recorded ones are families of their own."""
        return {family: envelope(group, against)[:2] for family, group in self._families(found).items()}

    def _families(self, found):
        families = {}
        named = {entry.label: entry.family for entry in self.entries if entry.costly}
        past = self.past.methods if self.past else {}
        named |= {label: family for label, (family, plan, _) in past.items() if plan}
        for label, family in named.items():
            if label in found:
                families.setdefault(family, []).append(found[label])
        return families

    def kinds(self):
        """The metrics that were measured."""
        return [kind for kind in METRICS if np.isfinite(self.scores.values(kind)).any()]

    def floor(self, found):
        """The Curve of the longest optimisation in W+ among `found`, or None: the generator's floor."""
        return max(self.family(FLOOR, found), key=lambda c: c.plan, default=None)

    def family(self, name, found):
        """The Curves among `found` that belong to a family, recorded ones after those of this run."""
        families = self._families(found)
        return families.get(name, []) + families.get(name + recorded.SUFFIX, [])

    def last(self, labels, rows):
        """{label: images [n, C, H, W]} of each method's last step, at some images' numbers."""
        return {label: self.made[label].images[-1][list(rows)] for label in labels}


def study(domain, *, split="test", count=64, few=4, device="cpu", folder=None, progress=True, **lines):
    """Measures all methods of a domain on `count` images of a split, evenly spread -> Study.

    few: images for optimisations and hybrids, the first of them; lines: see `lineup`."""
    domain = load_domain(domain)
    dataset = data.domain_dataset(domain, "test")
    source = dataset.split(split)
    rows = source.spread(count)
    pixels = data.images(dataset, split, domain.encoder_size, indices=rows, fit=domain.fit,
                         progress=progress)[:]
    images, names = to_floats(pixels, device), [str(source.names[row]) for row in rows]
    generator = load_generator(domain.generator, device)
    entries, missing = lineup(domain, generator, device, **lines)
    if not entries:
        raise UserError(f"the domain {domain.name} has no method to compare: " + "; ".join(missing))
    judges = scoring.judges(domain, device)
    scores, made, failed = measure(entries, images, names, generator, domain, judges, few=few, folder=folder,
                                   progress=progress)
    past = None
    try:
        past = recorded.read(recorded.place(domain.name), generator, scores.protocol.networks)
    except UserError as error:
        missing.append(str(error))
    return Study(domain, generator, images, pixels, names, source.table(rows) or {}, entries,
                 missing + failed, scores, made, min(few, len(images)), past)

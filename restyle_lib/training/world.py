"""Every network of a rendered domain, one after another, each on those before it: what ships was made so."""
import time
from dataclasses import replace
from pathlib import Path

from .. import data
from ..errors import UserError
from . import commands, presets

ROLES = {"perceptual": "perceptual", "attributes": "attributes", "identity": "identity", "moco": "moco",
         "judge_perceptual": "perceptual-judge", "judge_identity": "identity-judge",
         "judge_attributes": "attributes-judge"}                                        # role: kind
TEACHERS = ("perceptual", "attributes", "identity", "moco")     # needed by what follows; judges come last


def train_world(domain, out, *, size="embedded", methods=(), count=None, device="auto", max_seconds=0.0,
                say=print):
    """Trains what a domain names: feature networks, generator, encoders, judges, each in a folder of `out`.

    methods: encoders and controls of the presets (none: all). Finished trainings are passed over and others
    resumed, so that a stopped call goes on when it is called again. max_seconds: stop after so long, all in
    all. -> (the Domain with the trained networks' paths, {name: path} of what is finished)."""
    domain, out, begun, done = data.load_domain(domain), Path(out), time.monotonic(), {}
    how = dict(count=count, device=device)

    def left():
        """Seconds that remain; UserError when there are none, with what is finished."""
        rest = max_seconds - (time.monotonic() - begun) if max_seconds else 0.0
        if max_seconds and rest <= 1:
            raise UserError(f"max_seconds={max_seconds:g} are over; finished: "
                            f"{', '.join(done) or 'nothing'}; call again to go on")
        return rest

    def train(name, function, *arguments, **settings):
        say(f"{name} ...")
        path = function(*arguments, out / name, max_seconds=left(), **settings, **how)
        left()
        done[name] = str(path)
        return str(path)

    def teach(roles):
        found = {}
        for role in [role for role in roles if role in domain.networks]:
            found[role] = train(ROLES[role], commands.features, ROLES[role], domain)
        return replace(domain, networks={**domain.networks, **found})

    domain = teach(TEACHERS)
    domain = replace(domain, generator=train("generator", commands.grown, domain))
    for method in methods or (*presets.methods(), *presets.CONTROLS):
        family, first, own = presets.world(size, method)
        if (warm := f"warm-{family}") not in done:
            train(warm, _encoder(first, size), method, domain,
                  trunk="attributes" if "attributes" in domain.networks else None)
        train(method, _encoder(own, size), method, domain, init_from=done[warm])
    return teach([role for role in ROLES if role not in TEACHERS]), done


def _encoder(settings, size):
    """commands.encoder with settings of its own."""
    pairs = [f"{name}={value}" for name, value in settings.items()]

    def train(method, domain, out, **how):
        return commands.encoder(method, domain, out, pairs, size=size, **how)
    return train

"""Finding and loading networks: by the name of shipped weights ("avatars/restyle-psp") or by a path."""
import contextlib
import difflib
from pathlib import Path

from . import registry
from .domains import load_domain
from .errors import UserError, suggest
from .files import ASSETS


def shipped():
    """Names of the shipped networks, "domain/model", sorted."""
    return sorted(str(c.parent.relative_to(ASSETS).as_posix()) for c in ASSETS.glob("*/*/config.json"))


def find(name, default="generator"):
    """A network's folder or file: a path, a shipped "domain/model", a "domain" (its `default` model), or the
    name of a published file that was fetched."""
    path = Path(name).expanduser()
    asset = f"{name}/{default}" if "/" not in str(name) else str(name)
    if asset in shipped():
        return ASSETS / asset
    if path.exists():
        inside = [path / part for part in (default, "encoder")
                  if part and (path / part / "config.json").exists()]
        return inside[0] if inside and not (path / "config.json").exists() else path
    if str(name) in registry.files():
        return registry.find(str(name))
    if len(path.parts) > 2 or path.suffix:
        raise UserError(f"there is no file or folder {path}; shipped: {', '.join(shipped()) or 'none'}")
    near = difflib.get_close_matches(str(name), registry.files(), n=1)
    raise suggest(name, shipped() + near, "model")


def facts(name, default="restyle-psp"):
    """What config.json says of a network beside its architecture (seed, scores, ...); {} for other files."""
    from .checkpoints import inspect, own
    path = find(name, default)
    return own.read_config(path).get("facts", {}) if inspect.kind_of(path) == "own" else {}


def load_network(name, kind, device="cpu"):
    """A network of one kind ("identity", "perceptual", ...), by shipped name or path -> module."""
    return _load(find(name, kind), kind, device)[0]


def load_reader(domain, device="cpu"):
    """The attribute reader that judges a domain: one that has taught no generator, where it is there."""
    named = [(role, domain.networks[role]) for role in ("judge_attributes", "attributes")
             if role in domain.networks]
    for role, name in named:
        with contextlib.suppress(UserError):
            return load_network(name, role, device)
    told = " or ".join(name for _, name in named) or "no attribute reader"
    raise UserError(f"the domain {domain.name} names {told}, which is not here; train one: "
                    f"python -m restyle_lib train features attributes --domain {domain.train} --out FOLDER")


def load_other_reader(domain, device="cpu"):
    """A reader trained apart from the one of `load_reader`, to hold it against; None where there is none."""
    names = [domain.networks[role] for role in ("judge_attributes", "attributes") if role in domain.networks]
    if len(set(names)) == 2:
        with contextlib.suppress(UserError):
            load_network(names[0], "attributes", device)
            return load_network(names[1], "attributes", device)
    return None


def load_generator(name, device="cpu"):
    """A generator by shipped name ("avatars"), or a path: our own folder or a published file."""
    return _load(find(name), "generator", device)[0]


def load_parts(name, kinds, device="cpu"):
    """{kind: module} of those `kinds` that a file, or what `convert` made of it, holds; the first must be."""
    path = find(name, kinds[0])
    module, config = _load(path, kinds[0], device)
    parts = {**config.get("parts", {}), kinds[0]: module}
    for kind in kinds:
        beside = path.parent / kind
        if kind not in parts and "layout" in config.get("facts", {}) and (beside / "config.json").exists():
            parts[kind] = _load(beside, kind, device)[0]
    return {kind: parts[kind] for kind in kinds if kind in parts}


def load_inverter(name, domain=None, generator=None, device="cpu"):
    """Encoder, generator and domain together, by shipped name ("avatars/restyle-psp") or an encoder's path.

    The domain comes from the file unless given (name, YAML path or Domain), the generator from the file or
    domain unless given (name, path or module). UserError when the encoder was trained on another generator or
    cannot fit.
    """
    from .inverter import Inverter, check_generator
    path = find(name, "restyle-psp")
    encoder, config = _load(path, "encoder", device)
    published = "layout" in config.get("facts", {})
    domain = domain or config.get("facts", {}).get("domain") or _domain_of(name, path)
    if domain is None:
        raise UserError(f"{name} does not say which domain it inverts; name one: domain=...")
    domain = load_domain(domain)
    beside = path.parent / "generator"       # of a converted file
    beside = beside if published and (beside / "config.json").exists() else None
    generator = generator or config.get("parts", {}).get("generator") or beside or domain.generator
    if generator is None:
        raise UserError(f"the domain {domain.name} names no generator; name one: generator=...")
    if isinstance(generator, (str, Path)):
        generator = load_generator(generator, device)
    if published:                            # such a file does not tell its images' shape
        check_generator(generator, domain, str(name))
        encoder.resize(domain.encoder_size)
    inverter = Inverter(encoder, generator, domain, name=str(name))
    trained = config.get("generator")
    if trained and trained != inverter.fingerprint:
        raise UserError(f"{name} was trained with generator {trained[:12]}, the one given is "
                        f"{inverter.fingerprint[:12]}; this is a checkpoint of another domain or generator")
    return inverter


def _domain_of(name, path):
    if str(name) in registry.files():
        return registry.entry(str(name)).domain
    return path.parent.name if path.is_relative_to(ASSETS) else None


def _load(path, kind, device):
    """(module, config) of a network file: our own folders here, published files by their layout."""
    from .checkpoints import inspect, own
    found, kind = inspect.kind_of(path), kind and kind.removeprefix("judge_")
    if found == "own":
        return own.load_model(path, kind, device)
    if found in ("torch", "pickle"):
        from .checkpoints import published
        return published.load(path, kind, device)
    raise UserError(f"{path} is {inspect.NAMES[found]}; expected a network of kind '{kind}'")

"""YAML files read into frozen dataclasses, whose fields say what they accept."""
import difflib
import math
from collections import Counter
from dataclasses import MISSING, field, fields
from itertools import accumulate

import yaml

from .errors import UserError

MAX_BYTES, MAX_NODES, MAX_DEPTH = 200_000, 20_000, 50


# ---- what a field accepts: a test, and the same in words

def _number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)


def _integer(low):
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low


def _integers(count, low):
    return lambda v: isinstance(v, (list, tuple)) and len(v) == count and all(map(_integer(low), v))


def _table(names, test):
    return lambda v: isinstance(v, dict) and all(k in names and test(x) for k, x in v.items())


def _choice(*values):
    return (lambda v: any(type(v) is type(a) and v == a for a in values)), " or ".join(map(str, values))


def _range(v):
    return isinstance(v, (list, tuple)) and len(v) == 2 and all(map(_number, v)) and v[0] < v[1]


TEXT = (lambda v: isinstance(v, str) and v.strip() != ""), "a text"
FLAG = (lambda v: isinstance(v, bool)), "true or false"
NATURAL = _integer(0), "an integer from 0 on"
POSITIVE = _integer(1), "an integer from 1 on"
SIZE = _integers(2, 1), "two positive integers [height, width]"
RANGE = _range, "two numbers [low, high]"


def _field(accepts, default=MISSING):
    """A dataclass field that accepts what `accepts` says, and null where null is its default."""
    test, words = accepts
    metadata = {"test": (lambda v: v is None or test(v)) if default is None else test,
                "words": words + (", or null" if default is None else "")}
    return field(**{"default_factory" if callable(default) else "default": default}, metadata=metadata)


# ---- reading

def _names(cls):
    return [f.name for f in fields(cls) if f.metadata]


def _build(cls, values, path, prefix=""):
    """A dataclass from a mapping: unknown keys, wrong types and missing fields raise a UserError."""
    if not isinstance(values, dict):
        raise UserError(f"{path}: {prefix.rstrip('.') or 'the file'} must be a table; accepted keys: "
                        f"{', '.join(_names(cls))}")
    known = {f.name: f for f in fields(cls) if f.metadata}
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise UserError(f"{path}: unknown field '{prefix}{key}'; {hint}accepted: {', '.join(known)}")
        if not known[key].metadata["test"](value):
            raise UserError(f"{path}: {prefix}{key} is {value!r:.60}; accepted: "
                            f"{known[key].metadata['words']}")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise UserError(f"{path}: {prefix}{name} is missing; accepted: {f.metadata['words']}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    named = {f.name for f in fields(cls) if not f.metadata}       # where it was read, which no file says
    return cls(**values, **({"path": path} if "path" in named else {}))


def _read(path, top=dict):
    """A YAML file's `top` table; refuses damage, doubled keys, and aliases that stand for too many values."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES:,} bytes; such YAML files are refused")
        text = path.read_text(encoding="utf-8")
        if max(accumulate((c in "[{") - (c in "]}") for c in text), default=0) > MAX_DEPTH:
            raise RecursionError                          # the parser's time grows with the depth's square
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if _weigh(node, {}, path) > MAX_NODES:
            raise UserError(f"{path}: its aliases grow to more than {MAX_NODES:,} values; write them out")
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, RecursionError):
        raise UserError(f"{path} is not a YAML text in UTF-8, or is nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML "
                        f"({getattr(error, 'problem', None) or str(error).splitlines()[0]})") from None
    if not isinstance(values, top):
        raise UserError(f"{path} must hold a table of fields, as `name: ...`")
    return values


def _weigh(node, sizes, path):
    """How many values a YAML node stands for with its aliases followed (each node is looked at once)."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in sizes:
        if sizes[id(node)] is None:
            raise UserError(f"{path}: an alias holds itself")
        return sizes[id(node)]
    sizes[id(node)] = None
    children = node.value
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if double := [key for key, count in Counter(keys).items() if count > 1]:
            raise UserError(f"{path}, line {node.start_mark.line + 1}: the field '{double[0]}' stands there "
                            "twice")
        children = [child for pair in node.value for child in pair]
    sizes[id(node)] = 1 + sum(_weigh(child, sizes, path) for child in children)
    return sizes[id(node)]

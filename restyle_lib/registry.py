"""Published files: what the registry (data_manifests/weights.txt) says of them, and those that are here.

A file's sha256 is recorded beside it when it is first seen, and held against that record ever after."""
import functools
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from .domains import MANIFESTS
from .errors import UserError, suggest
from .files import cache_dir, write_json
from .provenance import sha256
from .schema import POSITIVE, TEXT, _build, _choice, _field, _read

NOT_READ = ("tensorflow", "stylegan1", "stylegan3", "hypernetwork", "classifier", "detector", "landmarks")
KINDS = ("inverter", "generator", "identity", "trunk", "moco", "lpips", "direction", "pca", "points",
         *NOT_READ)
BY_HAND = ("folder", "page")                                      # hosts whose links only a person can follow
ABOUT = re.compile(r"~(\d+) MB")
FILLED = (lambda v: isinstance(v, list) and bool(v) and all(map(TEXT[0], v))), "a list of places"
SIZE = (lambda v: POSITIVE[0](v) or isinstance(v, str) and bool(ABOUT.fullmatch(v))), 'bytes, or "~N MB"'
QUOTA = re.compile("quota|too many users|download limit", re.IGNORECASE)


class Link(NamedTuple):
    """Where a file has been: the host's short name, its address for a browser, and what follows the host."""
    host: str
    url: str
    rest: str


@dataclass(frozen=True)
class Terms:
    """A licence, and whether it allows commercial use (None: not stated)."""
    licence: str = _field(TEXT)
    commercial: bool = _field(_choice(True, False), None)

    def __str__(self):
        mark = {True: "", False: " [non-commercial]", None: " [commercial use: not stated]"}
        return f"{self.licence}{mark[self.commercial]}"


@dataclass(frozen=True)
class Published:
    """One line of the registry; `links` in the order in which they are tried."""
    what: str = _field(TEXT)
    kind: str = _field(_choice(*KINDS))
    terms: object = _field(TEXT)                      # a Terms, once read
    at: tuple = _field(FILLED)
    file: str = _field(TEXT, None)                    # None: several files, to be had by hand
    size: object = _field(SIZE, None)
    sha256: str = _field(TEXT, None)                  # its first digits
    domain: str = _field(TEXT, None)
    name: str = ""
    links: tuple = ()

    @property
    def place(self):
        """Where the file lies, or is to be put."""
        return cache_dir() / "weights" / (self.file or self.name)

    @property
    def least(self):
        """The fewest bytes that it may have."""
        if isinstance(self.size, str):
            return int(0.9e6 * int(ABOUT.fullmatch(self.size)[1]))
        return self.size or 1

    @property
    def size_words(self):
        return f"{self.size:,} bytes" if isinstance(self.size, int) else self.size or "size not stated"

    def by_hand(self):
        """The way that always works, in words."""
        links = " or ".join(link.url for link in self.links)
        return f"by hand: open {links} and put the file at {self.place}"


@functools.lru_cache(maxsize=4)
def files(path=MANIFESTS / "weights.txt"):
    """{name: Published} of the registry, in its order. UserError: file, field, what is accepted."""
    values = _read(path)
    hosts = values.get("hosts", {})
    terms = {k: _build(Terms, v, path, f"terms.{k}.") for k, v in values.get("terms", {}).items()}
    found = {}
    for name, row in values.get("files", {}).items():
        entry = _build(Published, row, path, f"files.{name}.")
        if entry.terms not in terms:
            raise UserError(f"{path}: files.{name}.terms: {suggest(entry.terms, terms, 'terms')}")
        links = []
        for place in entry.at:
            host, _, rest = place.partition(":")
            web = host in ("http", "https")
            if not web and host not in hosts:
                raise UserError(f"{path}: files.{name}.at: {suggest(host, ['https', *hosts], 'host')}")
            links.append(Link("web" if web else host, place if web else hosts[host].format(rest), rest))
        found[name] = replace(entry, name=name, terms=terms[entry.terms], links=tuple(links))
    return found


def entry(name):
    """A Published by its name; UserError suggests one."""
    if name not in files():
        raise suggest(name, files(), "published file")
    return files()[name]


def find(name, thorough=False):
    """The path of a published file that is here, checked; UserError says how to get one that is not."""
    found = entry(name)
    if not found.place.exists():
        raise UserError(f"{name} ({found.what}; {found.size_words}; {found.terms}) is not on this "
                        f"machine: python -m restyle_lib weights fetch {name}, or {found.by_hand()}")
    return checked(found, thorough)


def checked(found, thorough=False):
    """The path of a Published that is here, equal to its record, which is made on first sight.

    A file whose size and time are the recorded ones is believed, unless `thorough`. UserError: it is not the
    file of the registry, or no longer the one that was recorded."""
    path, record = found.place, found.place.with_name(f"{found.place.name}.json")
    facts = path.stat()
    seen = {"bytes": facts.st_size, "modified": facts.st_mtime_ns}
    try:
        old = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        old = {}
    if not thorough and old.get("sha256") and seen == {key: old.get(key) for key in seen}:
        return path
    digest = refuse_others(found, path)
    if old.get("sha256", digest) != digest:
        raise UserError(f"{path} has changed: its sha256 is {digest[:16]}, recorded is {old['sha256'][:16]}; "
                        f"delete it and fetch {found.name} again, or, if you changed it, delete {record}")
    write_json(record, {"name": found.name, "sha256": digest, **seen})
    return path


def refuse_others(found, path):
    """The sha256 of a file that may be a Published; UserError says what it is instead."""
    from .checkpoints.inspect import kind_of
    path, size = Path(path), Path(path).stat().st_size
    kind = kind_of(path)
    if kind == "html":
        raise UserError(page(path.read_bytes()[:65536].decode("utf-8", "replace")))
    if size < found.least or isinstance(found.size, int) and size != found.size:
        raise UserError(f"what is there has {size:,} bytes, not {found.size_words.replace('~', 'about ')}: "
                        f"{'cut short' if size < found.least else 'another file'}")
    if kind not in ("torch", "pickle", "script") and re.search(r"\.(pt|pth|pth\.tar|pkl)$", found.file):
        raise UserError("what is there is no PyTorch file or pickle, or was cut short")
    digest = sha256(path)
    if found.sha256 and not digest.startswith(found.sha256):
        raise UserError(f"what is there has the sha256 {digest[:16]}, not {found.sha256[:16]}: another file")
    return digest


def page(text):
    """What a web page is that came in place of a file."""
    if QUOTA.search(text):
        return "the host's quota page came in place of the file: too many downloads, try again in a day"
    return "a web page came in place of the file (a confirmation, an error, or a link that has moved)"

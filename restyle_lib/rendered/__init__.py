"""The embedded world: images that are pure functions of (seed, identity, instance), with their truth.

WORLDS maps a world's name to its module. A world has NAMES (the attribute table), VERSION (part of every
cache key), REGIONS, `attributes(seed, identity, instance, correlated, hard)` and `render(attributes,
height, width, masks, device)`.
"""
import importlib

from ..errors import suggest

WORLDS = {name: f"restyle_lib.rendered.{name}" for name in ("avatars", "toons", "minicars")}


def world(name):
    """The module of the rendered world `name`."""
    if name not in WORLDS:
        raise suggest(name, WORLDS, "rendered world")
    return importlib.import_module(WORLDS[name])

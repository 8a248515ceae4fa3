"""Minicars: three-dimensional cars from rounded convex solids, painted in the car's coordinates.

An identity fixes the design: body type, proportions, wheels, lamps, grille, roof and what is mounted; an
instance fixes the view, paint, tint of the windows, lamps, place and light. In training, a long body goes
with a roof rack and dark paint with tinted windows (Pearson correlation about 0.5 each); `correlated=False`
draws them independently. `hard=True` draws steep views, close-ups, mounted parts, and a post or a bush
before the car.
"""
import numpy as np

from . import cars
from .carbody import TYPES
from .cars import REGIONS  # noqa: F401  (part of a world's interface)
from .draws import attribute_table, cdf, in_chunks, linked, normal, opened, pick, rare, truncated
from .places import PLACES

VERSION = 1
FOCUS = {"body": 0.4, "windows": 1.0, "wheels": 1.0, "lights": 1.0}                # see splits.focus
EMPHASIS = {"rim_style": 4, "spoiler": 4, "roof_rack": 4, "lamps_on": 3, "window_tint": 3}   # see avatars
COLOUR = 1.0                                                 # share of a stage's (training.presets.STAGES)
TYPE_SHARES = (0.20, 0.20, 0.14, 0.18, 0.09, 0.08, 0.11)
RACK_WITH_LENGTH, TINT_WITH_DARK = 0.65, 0.51                # correlation of the underlying normals

_IDENTITY = ("body_type", "body_length", "body_height", "belt_height", "cabin_place", "roof_rake",
             "roundness", "wheel_size", "rim_style", "rim_dark", "lamp_slim", "grille_size", "cladding",
             "roof", "roof_rack", "spoiler")
_INSTANCE = ("yaw", "elevation", "zoom", "paint_hue", "paint_lightness", "paint_chroma", "paint_metallic",
             "window_tint", "lamps_on", "background", "light_side", "light_height", "light_warmth",
             "light_ambient", "shadow_softness", "occluder")
_RANGES = {"yaw": (-150, 150, "degrees"), "elevation": (2, 35, "degrees"), "zoom": (0.9, 1.6, ""),
           "light_side": (-1, 1, ""), "light_warmth": (-1, 1, "")}
_BINARY = ("rim_dark", "cladding", "roof_rack", "spoiler", "lamps_on", "paint_metallic")
_CLASSES = {"body_type": TYPES, "rim_style": ("five", "many", "disc", "steel"), "background": PLACES,
            "roof": ("plain", "sunroof", "contrast"), "occluder": ("none", "post", "bush")}

NAMES = attribute_table(_IDENTITY, _INSTANCE, _RANGES, _BINARY, _CLASSES, flips=("yaw", "light_side"))
WRAPS = (_INSTANCE.index("paint_hue"),)                      # instance's draws whose ends meet
CODES = (len(_IDENTITY), len(_INSTANCE), 0, 45)              # how many draws of each kind the scene uses


def attributes(seed, identity, instance, correlated=True, hard=False):
    """All attributes of the images (identity, instance): name -> float64 [n], plus "key" int64 [n, 3] for
    unnamed details.

    seed: int. identity, instance: int arrays [n]. Categories are class indices, binaries 0 or 1.
    """
    a, out = opened(seed, identity, instance, NAMES)
    # identity
    out["body_type"] = pick(a["body_type"], TYPE_SHARES)
    out["rim_style"] = pick(a["rim_style"], (0.35, 0.30, 0.20, 0.15))
    out["rim_dark"] = rare(a["rim_dark"], 0.25, 1.0)
    out["cladding"] = rare(a["cladding"], 0.3, 1.0)
    out["roof"] = pick(a["roof"], (0.65, 0.20, 0.15))
    rack = linked(a["roof_rack"], normal(a["body_length"]), correlated * RACK_WITH_LENGTH)
    out["roof_rack"] = (rack > normal(np.array([0.70]))).astype(float)
    out["spoiler"] = rare(a["spoiler"], 0.22, 1.0)
    # instance
    out["yaw"] = 300 * a["yaw"] - 150
    out["elevation"] = 18 + 17 * a["elevation"] if hard else 9 + truncated(a["elevation"], 4, 7)
    out["zoom"] = 1.2 + 0.4 * a["zoom"] if hard else 0.94 + 0.14 * a["zoom"]
    out["paint_chroma"] = np.clip((a["paint_chroma"] - 0.35) / 0.6, 0.03, 1)
    out["paint_metallic"] = rare(a["paint_metallic"], 0.5, 1.0)
    dark = -normal(a["paint_lightness"])
    out["window_tint"] = cdf(linked(a["window_tint"], dark, correlated * TINT_WITH_DARK))
    out["lamps_on"] = rare(a["lamps_on"], 0.25, 1.0)
    out["background"] = pick(a["background"], (0.35, 0.25, 0.20, 0.20))
    out["light_side"], out["light_warmth"] = 2 * a["light_side"] - 1, 2 * a["light_warmth"] - 1
    out["occluder"] = pick(a["occluder"], (0.4, 0.3, 0.3)) * hard
    return out


def render(attributes, height, width, masks=False, device="cpu", supersample=2, chunk=4):
    """uint8 [n, 3, height, width] images of `attributes` (from `attributes()`, edited at will); with
    masks=True also {region: float32 [n, height, width] in [0, 1]}. The same attributes give the same pixels
    to one grey level anywhere."""
    def draw(tensors, lasting, detail):
        return cars.draw(tensors, lasting, detail, height, width, supersample, masks)
    return in_chunks(draw, attributes, masks, device, chunk)

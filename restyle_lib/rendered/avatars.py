"""Avatars: three-dimensional heads from ellipsoids, painted in head coordinates; every attribute known.

An identity fixes shape, skin, hair and age; an instance fixes pose, expression, light, background and what
is worn. In training, age goes with grey hair and with glasses (Pearson correlation about 0.5 each);
`correlated=False` draws them independently. `hard=True` draws extreme poses, expressions and accessories,
and a hand or a mask before the face.
"""
import numpy as np

from . import scene
from .draws import attribute_table, cdf, in_chunks, linked, normal, opened, pick, rare, truncated
from .looks import PLAIN
from .shapes import REGIONS  # noqa: F401  (part of a world's interface)

VERSION = 3
FOCUS = {"eyes": 0.75, "mouth": 0.75, "glasses": 0.375, "head": 0.25, "hair": 0.25}  # see splits.focus
READING = {"smile": 4, "mouth_open": 2, "gaze_x": 2}          # weights in readers' losses, others 1
EMPHASIS = {"smile": 60, "mouth_open": 50, "eye_open": 15, "gaze_x": 10, "glasses": 6, "eye_melanin": 6,
            "gaze_y": 5, "beard": 4, "glasses_tint": 3, "hat": 3}   # ... in what a generator learns to draw
HAIR_STYLES = ("bald", "short", "fringe", "parted", "long", "curly", "bun")
HAIR_SHARES = (0.07, 0.20, 0.15, 0.17, 0.22, 0.11, 0.08)
GREY_WITH_AGE, GLASSES_WITH_AGE = 0.55, 0.70                 # correlation of the underlying normals

_IDENTITY = ("head_width", "jaw_width", "chin_length", "cheeks", "eye_spacing", "eye_size", "eye_tilt",
             "eye_melanin", "brow_thickness", "brow_tilt", "nose_size", "nose_length", "mouth_width",
             "lip_fullness", "ear_size", "skin_melanin", "skin_blood", "freckles", "age", "beard",
             "hair_style", "hair_melanin", "hair_red", "hair_grey", "hair_dyed", "hair_length", "hair_volume")
_INSTANCE = ("yaw", "pitch", "roll", "smile", "mouth_open", "eye_open", "gaze_x", "gaze_y", "brow_raise",
             "brow_frown", "light_side", "light_height", "light_warmth", "light_ambient", "glasses",
             "glasses_round", "glasses_tint", "earrings", "hat", "makeup", "clothes_pattern", "occluder")
_SIGNED = {"yaw": (-45, 45, "degrees"), "pitch": (-20, 20, "degrees"), "roll": (-15, 15, "degrees")} | {
    name: (-1, 1, "") for name in ("smile", "gaze_x", "gaze_y", "eye_tilt", "brow_tilt", "brow_raise",
                                   "skin_blood", "light_side", "light_warmth")}
_BINARY = ("hair_dyed", "glasses", "glasses_round", "glasses_tint", "earrings", "hat")
_CLASSES = {"hair_style": HAIR_STYLES, "clothes_pattern": ("plain", "stripes", "checks"),
            "occluder": ("none", "hand", "mask")}

NAMES = attribute_table(_IDENTITY, _INSTANCE, _SIGNED, _BINARY, _CLASSES,
                        flips=("yaw", "roll", "gaze_x", "light_side"))
CODES = (len(_IDENTITY), len(_INSTANCE), 14, 56)             # how many draws of each kind the scene uses


def attributes(seed, identity, instance, correlated=True, hard=False):
    """All attributes of the images (identity, instance): name -> float64 [n], plus "key" int64 [n, 3] for
    unnamed details.

    seed: int. identity, instance: int arrays [n]. Categories are class indices, binaries 0 or 1.
    """
    a, out = opened(seed, identity, instance, NAMES)
    for name in ("eye_tilt", "brow_tilt", "skin_blood", "light_side", "light_warmth"):
        out[name] = 2 * a[name] - 1
    # identity
    age = normal(a["age"])
    grey = linked(a["hair_grey"], age, correlated * GREY_WITH_AGE)
    out["hair_grey"] = np.clip((cdf(grey) - 0.55) / 0.40, 0, 1)
    out["hair_style"] = pick(a["hair_style"], HAIR_SHARES)
    out["hair_red"] = rare(a["hair_red"], 0.12, 0.85)
    out["hair_dyed"] = rare(a["hair_dyed"], 0.03, 1.0)
    out["freckles"] = np.clip((a["freckles"] - 0.75) * 4, 0, 1)
    out["beard"] = np.clip((a["beard"] - 0.72) * 4.5, 0, 1)
    # instance
    spread, limit = (40, 45) if hard else (22, 45)
    out["yaw"] = truncated(a["yaw"], spread, limit)
    if hard:
        out["yaw"] = np.sign(out["yaw"]) * (25 + np.abs(out["yaw"]) * 20 / 45)
    out["pitch"] = truncated(a["pitch"], 14 if hard else 7, 20)
    out["roll"] = truncated(a["roll"], 5, 15)
    out["smile"] = 2 * a["smile"] ** 0.8 - 1
    out["mouth_open"] = np.clip((a["mouth_open"] - 0.5) * (2.0 if hard else 1.7), 0, 1)
    out["eye_open"] = np.where(a["eye_open"] < 0.06, 0.0, 0.55 + 0.45 * a["eye_open"])
    out["gaze_x"], out["gaze_y"] = truncated(a["gaze_x"], 0.45, 1), truncated(a["gaze_y"], 0.45, 1)
    out["brow_raise"] = truncated(a["brow_raise"], 0.5, 1)
    out["brow_frown"] = np.clip((a["brow_frown"] - 0.6) * 2.5, 0, 1)
    worn = linked(a["glasses"], age, correlated * GLASSES_WITH_AGE)
    out["glasses"] = (worn > normal(np.array([0.55 if hard else 0.70]))).astype(float)
    out["glasses_round"] = (a["glasses_round"] < 0.5).astype(float)
    out["glasses_tint"] = (a["glasses_tint"] < (0.5 if hard else 0.12)).astype(float)
    out["earrings"] = (a["earrings"] < (0.5 if hard else 0.18)).astype(float)
    out["hat"] = (a["hat"] < (0.4 if hard else 0.08)).astype(float)
    out["makeup"] = np.clip((a["makeup"] - 0.65) * 3, 0, 1) * (out["beard"] < 0.2)
    out["clothes_pattern"] = pick(a["clothes_pattern"], (0.6, 0.25, 0.15))
    out["occluder"] = pick(a["occluder"], (0.3, 0.35, 0.35)) * hard
    return out


def render(attributes, height, width, masks=False, device="cpu", supersample=2, chunk=4, look=PLAIN):
    """uint8 [n, 3, height, width] images of `attributes` (from `attributes()`, edited at will); with
    masks=True also {region: float32 [n, height, width] in [0, 1]}. The same attributes give the same pixels
    to one grey level anywhere. `look` says how the scene is drawn."""
    def draw(tensors, lasting, detail):
        return scene.draw(tensors, lasting, detail, height, width, supersample, masks, look)
    return in_chunks(draw, attributes, masks, device, chunk)

"""Toons: the identities and instances of the avatars, drawn. Flat shades, dark outlines, larger eyes, hair
in a few bold locks, friendly colours; every attribute means what it means for an avatar."""
from functools import partial

from . import avatars
from .avatars import CODES, EMPHASIS, FOCUS, NAMES, READING, REGIONS, attributes  # noqa: F401  (a world's interface)
from .looks import Look

VERSION = 3
LOOK = Look(eye_wide=1.08, eye_high=1.40, iris=1.25, nose=0.9, skin_detail=0.3, brow=1.35, brow_lift=0.10,
            bold=1.0, steps=2.0, outline=0.011, vivid=0.5)

render = partial(avatars.render, look=LOOK)

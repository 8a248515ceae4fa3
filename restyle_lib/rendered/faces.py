"""Painting a face in head coordinates: albedo of the skin and what lies on it.

(u, v) on the head: u = angle around the vertical axis scaled to the head's width (0 is the middle of the
face, positive towards the image's right of a frontal head), v = height over the head's half height (-1
chin, 1 crown). `a` holds the attributes as [B, 1] tensors, `n` per-image uniforms for what has no name,
`look` how it is drawn.
"""
import torch

from .shapes import bump, ramp, smooth, waves

EYE_HEIGHT, BROW_HEIGHT, MOUTH_HEIGHT = 0.02, 0.27, -0.51


def colour(*rgb):
    """[1, 3, 1] constant colour."""
    return torch.tensor(rgb).view(1, 3, 1)


def mix(a, b, share):
    """a towards b by `share` ([B, P] or [B, 1])."""
    return torch.lerp(*torch.broadcast_tensors(a, b, share[:, None]))


def curve(stops, t):
    """[B, 3, 1] colour at t [B, 1] in [0, 1] on evenly spaced stops."""
    stops = torch.tensor(stops, device=t.device)
    place = t.clamp(0, 1) * (len(stops) - 1)
    low = place.floor().clamp(max=len(stops) - 2).long()
    share = (place - low)[..., None]
    first, second = stops[low.squeeze(1)], stops[low.squeeze(1) + 1]
    return (first[..., None] * (1 - share) + second[..., None] * share)


def skin_colour(a):
    """Melanin from pale to deep brown; blood shifts it between sallow and rosy."""
    base = curve([[.97, .83, .74], [.91, .71, .58], [.78, .57, .43], [.60, .41, .29], [.42, .27, .19],
                  [.29, .18, .13]], a["skin_melanin"])
    return base * (1 + a["skin_blood"][..., None] * torch.tensor([.05, -.03, -.05]).view(1, 3, 1))


def hair_colour(a, n):
    """Melanin from blond to black, red pigment, grey share, and (rarely) dye."""
    base = curve([[.86, .74, .52], [.66, .50, .30], [.42, .28, .18], [.24, .16, .11], [.09, .075, .07]],
                 a["hair_melanin"])
    base = mix(base, colour(.58, .25, .11), a["hair_red"])
    base = mix(base, colour(.74, .74, .75), a["hair_grey"])
    hue = 6.2832 * n["dye"][:, :1]
    dye = torch.stack([.45 + .3 * torch.cos(hue), .42 + .26 * torch.cos(hue + 2.1),
                       .50 + .3 * torch.cos(hue + 4.2)], 1)
    return mix(base, dye, a["hair_dyed"])


def paint_skin(u, v, a, n, skin, look):
    """Skin with blush, freckles, age lines, beard and make-up: [B, 3, P]."""
    x, age = u * 0.78, a["age"]
    side = u.abs() * 0.78
    mottle = waves(u, v, n["skin"], ((7.0, 5.0, 1.0), (13.0, 17.0, .7)))
    out = skin * (1 + 0.025 * look.skin_detail * mottle)[:, None]
    flush = 0.10 + 0.35 * a["makeup"] + 0.08 * a["smile"].clamp(min=0)
    rosy = bump(side - 0.40, v + 0.28, 0.20, 0.16) * flush
    out = mix(out, out * colour(1.06, .72, .70), rosy)
    cells = torch.sin(23 * u + 11 * v + 6.28 * n["skin"][:, 2:3])
    cells = cells * torch.sin(19 * v - 14 * u + 6.28 * n["skin"][:, 3:4])
    spots = ramp(0.35, 0.8, cells) * bump(side - 0.22, v + 0.18, 0.34, 0.18)
    out = mix(out, out * colour(.70, .55, .45), spots * a["freckles"] * 0.75)
    lines = ramp(0.55, 1.0, torch.cos(42 * (v - 0.03 * x * x))) * bump(x, v - 0.45, 0.34, 0.13)
    smile_x = 0.20 + 0.10 * ramp(-0.2, -0.5, v) + 0.03 * a["smile"]
    folds = bump(side - smile_x, v + 0.37, 0.022, 0.13)
    worn = 0.34 * look.skin_detail * age * ramp(0.35, 0.8, age) * lines
    out = out * (1 - worn - look.skin_detail * (0.05 + 0.30 * age) * folds)[:, None]
    stubble = 0.75 + 0.25 * waves(u, v, n["skin"], ((31.0, 23.0, 1.0), (45.0, 37.0, 1.0)))
    jaw = ramp(-0.36, -0.62, v + 0.25 * (1 - ramp(0.25, 0.75, side))) * ramp(1.75, 1.35, u.abs())
    cheek = ramp(0.62, 0.80, side) * ramp(-0.08, -0.40, v) * ramp(1.75, 1.35, u.abs())
    lip = bump(x, v + 0.365, 0.24, 0.062)
    beard = torch.maximum(torch.maximum(jaw, cheek), lip) * a["beard"] * stubble
    return mix(out, n["hair_rgb"] * 0.80, 0.92 * beard.clamp(0, 1))


def paint_mouth(out, u, v, a, pixel, skin):
    """Lips, teeth and the inside of the mouth; returns albedo and the share of the mouth [B, P]."""
    half = 0.200 + 0.080 * a["mouth_width"] + 0.045 * a["smile"]
    x = u * 0.78 / half
    dome = (1 - x * x).clamp(min=0)
    line = MOUTH_HEIGHT + a["smile"] * 0.125 * (x.clamp(-1.3, 1.3).square() - 0.40)
    gap = 0.170 * a["mouth_open"] * dome.sqrt()
    upper, lower = line + 0.30 * gap, line - 0.70 * gap
    bow = 1 - 0.35 * torch.exp(-(x / 0.16) ** 2)
    top = upper + (0.030 + 0.030 * a["lip_fullness"]) * dome.sqrt() * bow
    bottom = lower - (0.038 + 0.042 * a["lip_fullness"]) * dome.sqrt()
    edge = 1.6 * pixel
    inside = ramp(0.0, 0.10, dome)
    lips = smooth(torch.minimum(top - v, v - bottom), edge) * inside
    hole = smooth(torch.minimum(upper - v, v - lower) - 0.006, edge) * inside
    hole = hole * ramp(0.02, 0.12, a["mouth_open"])
    rouge = mix(skin * colour(.86, .56, .54), colour(.66, .12, .17), 0.75 * a["makeup"])
    rouge = rouge * (0.90 + 0.14 * ramp(0.0, -0.05, v - line))[:, None]
    out = mix(out, rouge, 0.92 * lips)
    crease = bump(x, v - line, 0.95, 0.012 + 0.3 * pixel) * (1 - ramp(0.0, 0.12, a["mouth_open"]))
    out = out * (1 - 0.62 * crease)[:, None]
    teeth = smooth(v - (upper - 0.065 - 0.2 * gap), edge) * (0.97 - 0.10 * x * x)
    mouth = mix(colour(.26, .07, .08).expand_as(out), colour(.93, .91, .86), teeth.clamp(0, 1))
    tongue = bump(x, v - lower - 0.01, 0.6, 0.035) * (1 - teeth.clamp(0, 1))
    out = mix(out, mix(mouth, colour(.66, .27, .28), tongue), hole)
    return out, lips.maximum(hole)


def paint_eye(out, u, v, a, n, pixel, side, skin, look):
    """One eye with lids, lashes, iris, highlight, make-up and brow; side is -1 or 1. Returns albedo and the
    eye's share."""
    x = (u - side * (0.365 + 0.085 * a["eye_spacing"])) * 0.78
    y = v - EYE_HEIGHT
    size = 0.85 + 0.35 * a["eye_size"]
    wide, high = 0.195 * look.eye_wide * size, 0.140 * look.eye_high * size * (0.12 + 0.88 * a["eye_open"])
    y = y - x * side * 0.16 * a["eye_tilt"]
    dome = (1 - (x / wide) ** 2).clamp(min=0)
    top, bottom = high * dome ** 0.7, -0.62 * high * dome
    edge = 1.4 * pixel
    inside = smooth(torch.minimum(top - y, y - bottom), edge) * ramp(0.0, 0.08, dome)
    socket = bump(x, y - 0.03, 1.5 * wide, 0.17)
    out = out * (1 - 0.13 * look.skin_detail * socket)[:, None]
    shadow_rgb = curve([[.35, .25, .45], [.20, .35, .50], [.45, .25, .22]], n["shadow"][:, :1])
    shadow = bump(x, y - 0.14, 1.15 * wide, 0.075) * a["makeup"]
    out = mix(out, shadow_rgb, 0.62 * shadow)
    bags = bump(x, y + 0.13, 0.9 * wide, 0.03)
    out = out * (1 - look.skin_detail * (0.06 + 0.24 * a["age"]) * bags)[:, None]
    crease = bump(x, y - top - 0.045, 0.95 * wide, 0.016)
    out = out * (1 - 0.28 * crease)[:, None]
    ix, iy = x - 0.45 * wide * a["gaze_x"], y - 0.10 * high - 0.035 * a["gaze_y"]
    far = (ix * ix + iy * iy + 1e-6).sqrt()
    iris_r = 0.104 * look.iris * size
    iris = curve([[.45, .62, .72], [.42, .55, .40], [.46, .32, .16], [.20, .12, .07]], a["eye_melanin"])
    dim = 0.25 * ramp(0.4, 1.0, (x / wide).abs()) + 0.30 * ramp(0.5, 1.1, y / (high + 0.01))
    ball = colour(.93, .92, .90) * (1 - dim)[:, None]
    ball = mix(ball, iris * (0.62 + 0.5 * (far / iris_r).clamp(0, 1))[:, None], smooth(iris_r - far, edge))
    ball = mix(ball, colour(.03, .03, .04), smooth(0.46 * iris_r - far, edge))
    spark = ((ix - 0.32 * iris_r) ** 2 + (iy - 0.38 * iris_r) ** 2 + 1e-6).sqrt()
    glint = smooth(0.30 * iris_r - spark, edge)
    ball = mix(ball, colour(1.0, 1.0, 1.0), glint)
    out = mix(out, ball, inside)
    lash = smooth(0.013 + 0.016 * a["makeup"] + 0.003 - (y - top).abs(), edge) * ramp(0.0, 0.08, dome)
    rim = smooth(0.006 - (y - bottom).abs(), edge) * ramp(0.0, 0.08, dome)
    out = mix(out, colour(.09, .06, .05), 0.90 * lash + 0.35 * rim * (1 - lash))
    return _brow(out, x, v - look.brow_lift, a, n, side, edge, skin, look.brow), inside


def _brow(out, x, v, a, n, side, edge, skin, bold):
    along = (x * side + 0.13) / 0.37                          # 0 at the nose, 1 at the temple
    raised = BROW_HEIGHT + 0.045 * a["brow_raise"] + 0.012 * a["smile"]
    slope = 0.055 * a["brow_tilt"] - 0.05 * a["brow_frown"]
    middle = raised + 0.05 * (1 - (2 * along - 1.15) ** 2) - slope * (1 - 2 * along)
    thick = (0.017 + 0.024 * a["brow_thickness"]) * bold * (1.15 - 0.75 * along.clamp(0, 1))
    hairs = 0.82 + 0.18 * torch.sin(46 * along + 20 * (v - middle) + 6.28 * n["skin"][:, :1])
    ends = ramp(-0.04, 0.06, along) * ramp(1.04, 0.90, along)
    brow = smooth(thick - (v - middle).abs(), 1.5 * edge) * ends * hairs
    tone = n["hair_rgb"] * (0.68 - 0.12 * a["hair_grey"][..., None])
    return mix(out, torch.minimum(tone, skin * 0.72), 0.92 * brow)


def paint_face(u, v, a, n, pixel, skin, look):
    """The whole face: albedo [B, 3, P] and the region shares of eyes and mouth ([B, P] each)."""
    out = paint_skin(u, v, a, n, skin, look)
    out, mouth = paint_mouth(out, u, v, a, pixel, skin)
    out, left = paint_eye(out, u, v, a, n, pixel, -1, skin, look)
    out, right = paint_eye(out, u, v, a, n, pixel, 1, skin, look)
    nostril = bump(u.abs() * 0.78 - 0.052, v + 0.275, 0.026, 0.018)
    out = out * (1 - 0.50 * nostril)[:, None]
    under = bump(u * 0.78, v + 0.315, 0.13, 0.035)
    return out * (1 - 0.20 * under)[:, None], left + right, mouth

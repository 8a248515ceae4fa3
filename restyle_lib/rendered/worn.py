"""What an avatar wears: clothes, earrings, hat, glasses, and (rarely) a hand or a mask before the face."""
import torch

from .faces import EYE_HEIGHT, colour, mix
from .shapes import angles, ramp, rotation, shown, smooth, vec, waves


def clothes(hit, a, d):
    """Albedo of the torso [B, 3, P]: plain, striped or checked, with folds."""
    hue = 6.2832 * d[:, 30:31]
    tone = 0.16 + 0.6 * d[:, 31:32]
    chroma = 0.05 + 0.20 * d[:, 32:33]
    base = torch.stack([tone + chroma * torch.cos(hue + s) for s in (0.0, 2.1, 4.2)], 1).clamp(0.03, 0.97)
    second = (1.0 - base) * 0.55 + 0.25 * base
    x, y = hit.point[:, 0], hit.point[:, 1]
    number = 14 + 14 * d[:, 33:34]
    across, up = smooth(torch.sin(number * y), 0.5), smooth(torch.sin(number * x), 0.5)
    kind = a["clothes_pattern"]
    stripes, checks = ramp(0.4, 0.6, kind) * ramp(1.6, 1.4, kind), ramp(1.4, 1.6, kind)
    share = stripes * across + checks * 0.5 * (across + up)
    folds = waves(x, y, d[:, 34:38], ((5.0, 2.0, 1.0), (9.0, 4.0, .6)))
    return mix(base.expand(-1, -1, x.shape[1]), second, 0.8 * share) * (1 + 0.06 * folds)[:, None]


def accessories(canvas, hit, head, origin, radii, style, a, d, pixel, skin):
    """Everything worn on the head, where an image of the chunk wears it."""
    zero = 0 * a["age"]
    if shown(a["earrings"]):
        gold = mix(colour(.80, .66, .30), colour(.80, .80, .84), ramp(0.4, 0.6, d[:, 45:46]))
        for side in (-1.0, 1.0):
            place = vec(side * radii[:, :1] * 1.06, -0.17, -0.04)
            ring = hit(head, origin, place, vec(0.032 + zero, 0.042, 0.032))
            canvas.lay(ring, gold, "head", a["earrings"], gloss=0.6)
    if shown(a["glasses"]):
        _glasses(canvas, hit, head, origin, radii, a, d, pixel)
    if shown(a["hat"]):
        _hat(canvas, hit, head, origin, radii, style, a, d)
    if shown(a["occluder"]):
        _occluder(canvas, hit, head, origin, radii, a, d, skin)


def _hat(canvas, hit, head, origin, radii, style, a, d):
    tone = 0.15 + 0.6 * d[:, 50:51]
    hue = 6.2832 * d[:, 51:52]
    knit = torch.stack([tone + 0.14 * torch.cos(hue + s) for s in (0.0, 2.1, 4.2)], 1).clamp(0.03, 0.97)
    volume = style["volume"] * (0.7 + 0.8 * a["hair_volume"])        # over the hair's two shells
    grow = 1.06 * (1.03 + volume) + 0.02
    tall = 1.06 * (0.86 + 0.9 * volume) + 0.02
    size = vec(radii[:, :1] * grow, radii[:, 1:2] * tall, radii[:, 2:] * grow)
    dome = hit(head, origin, vec(0 * a["age"], 0.12, -0.05), size)
    u, v = angles(dome.point, radii)
    band = 1 - 0.28 * ramp(0.56, 0.52, v)
    ribs = 1 + 0.10 * torch.sin(26 * u)
    canvas.lay(dome, knit * (band * ribs)[:, None], "clothes", a["hat"] * smooth(v - 0.40, 0.05))


def _occluder(canvas, hit, head, origin, radii, a, d, skin):
    """A paper mask on the lower face, or a hand held before the mouth."""
    zero = 0 * a["age"]
    shell = hit(head, origin, vec(zero, -0.14, 0.075),
                vec(radii[:, :1], radii[:, 1:2] * 0.78, radii[:, 2:] * 0.99))
    u, v = angles(shell.point, radii)
    cloth = smooth(torch.minimum(-0.14 - v - 0.10 * u * u, v + 1.2), 0.06) * smooth(1.15 - u.abs(), 0.1)
    paper = colour(.72, .83, .88) * (1 - 0.10 * smooth(torch.sin(30 * v), 0.8))[:, None]
    canvas.lay(shell, paper, "clothes", ramp(1.4, 1.6, a["occluder"]) * cloth)
    raised = ramp(0.4, 0.6, a["occluder"]) * ramp(1.6, 1.4, a["occluder"])
    where = 0.25 * (2 * d[:, 52:53] - 1)
    lean = rotation(zero, zero, where * 2.0)
    for x, y, wide, long in ((0.0, -0.62, 0.20, 0.20), (-0.13, -0.36, 0.055, 0.23),
                             (-0.035, -0.31, 0.057, 0.26), (0.062, -0.33, 0.055, 0.24),
                             (0.15, -0.41, 0.048, 0.19)):
        finger = hit(lean, origin, vec(where + x, y, 0.66), vec(wide + zero, long, 0.06))
        canvas.lay(finger, skin * 0.97, "clothes", raised, gloss=0.05)


def _glasses(canvas, hit, head, origin, radii, a, d, pixel):
    zero = 0 * a["age"]
    shell = hit(head, origin, vec(zero, 0.0, 0.04),
                vec(radii[:, :1] * 1.09, radii[:, 1:2] * 1.25, radii[:, 2:] * 1.06))
    u, v = angles(shell.point, radii)
    x, y = u.abs() * 0.80 - 0.78 * (0.365 + 0.085 * a["eye_spacing"]) - 0.01, v - EYE_HEIGHT + 0.02
    wide, high = 0.235 + 0.02 * d[:, 46:47], 0.185 + 0.03 * d[:, 47:48]
    power = 2.0 + 3.0 * (1 - a["glasses_round"])
    wider, higher = (x / wide).abs().clamp(min=1e-4), (y / high).abs().clamp(min=1e-4)
    radius = (wider ** power + higher ** power) ** (1 / power)
    thick = 0.016 + 0.014 * d[:, 48:49]
    edge = 1.6 * pixel / 0.55
    rim = smooth(thick - ((radius - 1) * 0.17).abs(), edge)
    bridge = smooth(thick * 0.9 - (y - 0.04).abs(), edge) * ramp(0.02, -0.02, x + wide)
    arm = smooth(thick * 0.8 - (y - 0.05).abs(), edge) * smooth(x - wide, 0.04) * ramp(1.60, 1.45, u.abs())
    frame = torch.maximum(torch.maximum(rim, bridge), arm)
    lens = smooth(1 - radius, 0.08)
    tone = mix(colour(.07, .06, .06), colour(.45, .26, .14), ramp(0.55, 0.75, d[:, 49:50]))
    tone = mix(tone, colour(.62, .60, .58), ramp(0.85, 0.95, d[:, 49:50]))
    tint = mix(colour(.86, .90, .94), colour(.06, .06, .08), a["glasses_tint"])
    glass = lens * (0.10 + 0.02 * y + 0.76 * a["glasses_tint"])
    cover = (frame + glass * (1 - frame)) * a["glasses"]
    share = frame / (frame + glass * (1 - frame) + 1e-6)
    albedo = mix(tint.expand(-1, -1, u.shape[1]), tone, share)
    canvas.lay(shell, albedo, "glasses", cover, gloss=0.25)

"""Hair of an avatar: styles, strands, the line where it ends, and the shells that carry it."""
import torch

from .shapes import angles, bump, ramp, shown, smooth, vec, waves

FIELDS = ("drawn", "volume", "front", "fringe", "side", "curtain", "rough", "bun")
STYLES = torch.tensor([                                      # one row per hair style, one column per field
    [0.0, 0.00, 0.90, 0.0, 0.30, 0.0, 0.10, 0.0],            # bald
    [1.0, 0.05, 0.64, 0.0, 0.02, 0.0, 0.30, 0.0],            # short
    [1.0, 0.09, 0.36, 1.0, -0.15, 0.0, 0.20, 0.0],           # fringe
    [1.0, 0.12, 0.60, 0.5, -0.05, 0.0, 0.25, 0.0],           # parted
    [1.0, 0.10, 0.60, 0.3, -0.25, 1.0, 0.15, 0.0],           # long
    [1.0, 0.24, 0.52, 0.2, -0.30, 0.45, 1.0, 0.0],           # curly
    [1.0, 0.05, 0.66, 0.0, 0.05, 0.0, 0.15, 1.0]])           # bun


def hair_style(index):
    """field -> [B, 1], of the styles numbered `index` [B, 1]."""
    row = STYLES.to(index.device)[index.squeeze(1).long()]
    return {name: row[:, i:i + 1] for i, name in enumerate(FIELDS)}


def _strands(u, v, n, rough):
    """Brightness of hair: strands along the fall, loosened into curls where it is rough."""
    straight = waves(u, v, n["hair"], ((17.0, 1.5, 1.0), (31.0, -2.5, .8), (47.0, 3.0, .5)))
    curls = waves(u, v, n["hair"], ((11.0, 9.0, 1.0), (17.0, -15.0, 1.0), (23.0, 19.0, .6)))
    return torch.lerp(straight, curls, rough.clamp(0, 1).expand_as(u))


def _locks(u, v, n, rough):
    """Drawn hair: a few bold dark lines along the fall; arcs where it is rough."""
    fall = torch.sin(8.0 * u + 0.9 * v + 6.28 * n["hair"][:, :1] + 1.2 * torch.sin(2.3 * u - 1.1 * v))
    curl = torch.sin(8.0 * u + 1.7 * torch.sin(7.0 * v + 6.28 * n["hair"][:, 1:2]))
    lines = torch.lerp(ramp(0.93, 0.98, fall), ramp(0.86, 0.93, curl), ramp(0.3, 0.7, rough).expand_as(u))
    return lines * ramp(1.1, 0.6, v)


def _hair_albedo(u, v, n, rough, look, back=False):
    strands = _strands(u, v, n, rough)
    if look.bold:
        band = ramp(0.10, 0.07, (v - 0.66 - 0.05 * torch.sin(9 * u)).abs()) * ramp(1.1, 0.8, u.abs())
        tone = 1.0 + 0.22 * band - 0.45 * _locks(u, v, n, rough)
        return n["hair_rgb"] * (tone * (0.72 if back else 1.0))[:, None]
    sheen = bump(torch.zeros_like(v), v - 0.62 - 0.04 * strands, 1.0, 0.14) * (1 - 0.6 * rough)
    tone = (0.88 + 0.20 * strands + 0.26 * sheen) * (0.55 if back else 1.0)
    return n["hair_rgb"] * tone[:, None]


def hairline(u, v, n, style, a):
    """Signed distance in v to the cap's lower edge: front hairline or fringe, sideburns, nape."""
    drawn, front, fringe, side, rough = (style[k] for k in ("drawn", "front", "fringe", "side", "rough"))
    part = 1.2 * (n["hair"][:, 4:5] - 0.5)
    swept = 0.26 * fringe * (1 - fringe).clamp(min=0) * 4 * torch.tanh(2.2 * (u - part))
    jagged = (0.025 + 0.035 * fringe) * torch.sin(13 * u + 6.28 * n["hair"][:, 5:6]) \
        + 0.03 * rough * torch.sin(21 * u + 6.28 * n["hair"][:, 6:7])
    receding = 0.16 * ramp(0.55, 1.0, a["age"]) * (1 - fringe) * ramp(0.15, 0.55, u.abs())
    around = u.abs()
    edge = front - 0.10 * a["hair_length"] * fringe + swept + jagged + receding
    edge = edge + (side - edge) * ramp(0.62, 1.12, around)
    edge = edge + (-0.55 - edge) * ramp(1.55, 2.0, around)
    return v - edge - 3.0 * (1 - drawn)


def _curtain_radii(radii, style, a):
    grow = 1.10 + 0.6 * style["volume"]
    return vec(radii[:, :1] * grow, radii[:, 1:2] * (1.02 + 0.42 * a["hair_length"]), radii[:, 2:] * grow)


def back_hair(canvas, hit, head, origin, radii, style, n, a, look):
    """What hangs behind neck and shoulders, seen from inside."""
    _bun(canvas, hit, head, origin, style, n, a, look)
    if not shown(style["curtain"]):
        return
    size = _curtain_radii(radii, style, a)
    far = hit(head, origin, vec(0 * a["age"], -0.24 - 0.2 * a["hair_length"], -0.06), size, back=True)
    u, v = angles(far.point, radii)
    cover = ramp(0.3, 0.5, style["curtain"]) * ramp(-1.75, -1.6, v)
    canvas.lay(far, _hair_albedo(u, v, n, style["rough"], look, back=True), "hair", cover)


def _bun(canvas, hit, head, origin, style, n, a, look):
    if not shown(style["bun"]):
        return
    bun = hit(head, origin, vec(0 * a["age"], 0.56 + 0.10 * a["hair_length"], -0.24),
              vec(0.17 + 0.08 * a["hair_volume"], 0.19, 0.19))
    albedo = _hair_albedo(bun.point[:, 0] * 6, bun.point[:, 1] * 3, n, style["rough"], look)
    canvas.lay(bun, albedo, "hair", style["bun"])


def front_hair(canvas, hit, head, origin, radii, style, n, a, look):
    """The cap on the skull, and the curtain of long hair that opens before the face."""
    zero = 0 * a["age"]
    volume = style["volume"] * (0.7 + 0.8 * a["hair_volume"])
    for grow, rough in ((1.0, 0.0), (1.06, 1.0)):            # the second, ragged shell: curls and loose hair
        if rough and not shown(ramp(0.4, 1.0, style["rough"])):
            continue
        size = vec(radii[:, :1] * (1.03 + volume) * grow, radii[:, 1:2] * (0.86 + 0.9 * volume) * grow,
                   radii[:, 2:] * (1.02 + volume) * grow)
        cap = hit(head, origin, vec(zero, 0.12, -0.05), size)
        u, v = angles(cap.point, radii)
        edge = smooth(hairline(u, v, n, style, a), 0.06)
        if rough:
            ragged = smooth(_strands(u, v, n, style["rough"]) + 0.05, 0.5)
            edge = edge * ramp(0.4, 1.0, style["rough"]) * ragged
        canvas.lay(cap, _hair_albedo(u, v, n, style["rough"], look), "hair", edge, gloss=0.10)
    if not shown(style["curtain"]):
        return
    size = _curtain_radii(radii, style, a)
    fall = hit(head, origin, vec(zero, -0.24 - 0.2 * a["hair_length"], -0.06), size)
    u, v = angles(fall.point, radii)
    wavy = 0.10 * torch.sin(4.0 * v + 6.28 * n["hair"][:, 7:8]) + 0.05 * style["rough"] * torch.sin(17 * v)
    opening = 0.98 + 0.22 * (1 - a["hair_volume"]) + wavy + 0.35 * ramp(-0.9, -1.6, v)
    cover = smooth(u.abs() - opening, 0.12) * ramp(0.75, 0.45, v) * ramp(0.2, 0.5, style["curtain"])
    canvas.lay(fall, _hair_albedo(u, v, n, style["rough"], look), "hair", cover, gloss=0.10)

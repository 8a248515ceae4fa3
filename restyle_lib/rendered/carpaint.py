"""Painting a car: panels, windows, lights, grille and plates as decals in the car's own coordinates."""
import torch

from .faces import colour, curve, mix
from .shapes import ramp, shown, smooth

RUBBER, PLASTIC, CHROME = (.055, .055, .06), (.10, .10, .105), (.72, .73, .75)


def paint_colour(a):
    """[B, 3, 1] from hue (0 red, 1/3 green, 2/3 blue, 1 red; as cars are painted), lightness and chroma."""
    stops = [[.66, .07, .08], [.70, .28, .08], [.62, .50, .24], [.16, .36, .20], [.10, .38, .42],
             [.10, .28, .60], [.16, .17, .45], [.42, .08, .18], [.66, .07, .08]]
    rich = curve(stops, a["paint_hue"])
    tone = (0.03 + 0.87 * a["paint_lightness"])[..., None]
    grey = rich.mean(1, keepdim=True)
    chroma = a["paint_chroma"][..., None] * (1.2 - tone) * (0.25 + 2.2 * tone).clamp(max=1)
    return (tone + chroma * (rich - grey) * 1.4).clamp(0.015, 0.93)


def decal(point, x, y, z, long, high, wide):
    """Signed measure of a rounded box around (x, y, ±z): `high` in its middle, 0 at its edge, negative
    outside; painted where it cuts the surface. Measures are [B, 1] or numbers."""
    far = ((point[:, 0] - x) / long).square().square_()
    far = far + ((point[:, 1] - y) / high).square().square_()
    far = far + ((point[:, 2].abs() - z) / wide).square().square_()
    return (1 - far.add_(1e-8).sqrt_().sqrt_()) * high


def lamps(point, car, a, pixel, rear):
    """Share of the head (or tail) lamps [B, P] and the depth inside them."""
    slim = a["lamp_slim"]
    if rear:
        high = 0.046 - 0.018 * slim + 0.045 * (1 - car.notch)
        inside = decal(point, car.tail + 0.02, 0.2 * car.hood + 0.62 * car.deck,
                       car.half * (0.90 - 0.05 * slim), 0.05 + 0.07 * slim, high, 0.045 + 0.085 * slim)
    else:
        high = 0.054 - 0.022 * slim
        inside = decal(point, car.length - 0.05, car.hood * 0.84, car.half * (0.77 - 0.04 * slim),
                       0.13 + 0.05 * slim, high, 0.070 + 0.060 * slim)
    return smooth(inside / pixel, 1.5), inside / high


def paint_body(hit, share, car, a, n, pixel):
    """Lower body: albedo [B, 3, P], gloss [B, P], share of the lamps and of the wheel arches [B, P]."""
    x, y, z = hit.point.unbind(1)
    sides = share[:, 10:].sum(1)
    front, back = share[:, :3].sum(1) + share[:, 12] + share[:, 16], share[:, 6:9].sum(1)
    flank = ramp(0.45, 0.75, sides)
    out = n["paint"] * (1 - 0.22 * ramp(0.30, 0.0, y))[:, None]
    gloss = torch.ones_like(x)

    def lay(tone, cover, shine):
        nonlocal out, gloss
        out, gloss = mix(out, tone, cover), gloss + cover * (shine - gloss)
    arch = torch.zeros_like(x)
    rim = torch.zeros_like(x)
    for axle in car.axles:
        off = ((x - axle).square() + (y - car.wheel).square()).sqrt()
        arch = torch.maximum(arch, smooth((car.wheel + 0.030 - off) / pixel, 1.2))
        rim = torch.maximum(rim, smooth((car.wheel + 0.055 - off) / pixel, 1.2))
    low = smooth((car.sill + 0.055 - y) / pixel, 1.2)
    trim = torch.maximum(low, rim * flank) * (0.25 + 0.75 * a["cladding"])
    lay(colour(*PLASTIC), trim * (0.6 * (1 - a["cladding"]) + a["cladding"]), 0.25)
    line, handle = torch.zeros_like(x), torch.zeros_like(x)
    first, middle, last = car.cuts
    double = ramp(1.4, 1.6, car.doors)
    for place, drawn in ((first, 1.0), (middle, double), (last, 1.0)):
        line = torch.maximum(line, smooth((0.004 + 0.35 * pixel - (x - place).abs()) / pixel, 1.0) * drawn)
    line = line * smooth((y - car.sill - 0.06) / pixel, 2.0) * smooth((car.belt - y) / pixel, 2.0) * flank
    lay(out * 0.35, 0.75 * line * (1 - rim), 0.4)
    for place, drawn in ((middle + 0.07, double), (last + 0.04, 1.0)):
        handle = torch.maximum(handle, smooth((0.035 - (x - place).abs()) / pixel, 1.2) * drawn)
    handle = handle * smooth((0.009 - (y - car.belt + 0.075).abs()) / pixel, 1.2)
    lay(out * 0.55, 0.8 * handle * flank, 1.0)
    # front and rear
    wide = 0.15 + 0.13 * a["grille_size"]
    high = 0.025 + 0.045 * a["grille_size"]
    grille = smooth(decal(hit.point, car.length, car.hood * 0.74, 0.0, 0.14, high, wide) / pixel, 1.5)
    slats = 0.6 + 0.4 * torch.sin(y * 200.0)
    lay(colour(.09, .09, .10) * slats[:, None], grille * front, 0.4)
    intake = smooth(decal(hit.point, car.length, car.sill + 0.035, 0.0, 0.2, 0.024, 0.25) / pixel, 1.5)
    lay(colour(.05, .05, .055), intake * front, 0.2)
    for end, up, there in ((car.length, car.sill + 0.085, front), (car.tail, car.deck * 0.54, back)):
        plate = smooth(decal(hit.point, end, up, 0.0, 0.2, 0.027, 0.105) / pixel, 1.5)
        lay(colour(.86, .86, .82), plate * there, 0.3)
    bumper = smooth((0.005 + 0.3 * pixel - (y - car.sill - 0.125).abs()) / pixel, 1.0)
    lay(out * 0.45, 0.6 * bumper * ramp(0.4, 0.7, front + back) * (1 - grille), 0.5)
    head, inside = lamps(hit.point, car, a, pixel, False)
    bulb = ramp(0.25, 0.6, inside)
    on = a["lamps_on"]
    glass = mix(colour(.42, .44, .47), colour(.90, .92, .94), bulb) * (1 + (1.6 * on * (0.2 + bulb))[:, None])
    lay(glass, head, 1.2)
    tail, inside = lamps(hit.point, car, a, pixel, True)
    red = colour(.40, .025, .03) * (1 + ((0.6 + 1.6 * on) * ramp(0.1, 0.6, inside))[:, None])
    lay(red, tail, 1.2)
    # a bed behind the cabin of a pickup
    inner = smooth((car.half - 0.06 - z.abs()) / pixel, 1.2) * smooth((car.roof[1] - 0.12 - x) / pixel, 1.2)
    inner = inner * smooth((x - car.tail - 0.08) / pixel, 1.2) * car.bed
    inner = inner * ramp(0.4, 0.8, share[:, 4:6].sum(1))
    lay(colour(.07, .07, .075) * (1 + 0.3 * torch.sin(z * 60.0))[:, None], inner, 0.1)
    hollow = arch * flank
    lay(colour(.025, .025, .028), hollow, 0.0)
    return out, gloss, torch.maximum(head, tail) * (1 - hollow), hollow


def paint_cabin(hit, share, inner, car, a, n, pixel):
    """Cabin: albedo [B, 3, P], gloss [B, P] and share of the windows [B, P]."""
    x, y, _ = hit.point.unbind(1)
    sides, screen, back = share[:, 6:].sum(1), share[:, 0], share[:, 4]
    roof = ramp(0.4, 0.7, share[:, 1:4].sum(1))
    ends = torch.maximum(inner[:, 0] + 0.045, inner[:, 4] + 0.055)
    walls = torch.maximum(inner[:, 6], inner[:, 9])
    low = car.belt + 0.018 - y
    above = inner[:, 1:4].amax(1)
    posts = (0.014 - (x - car.cuts[1]).abs()) * (0.3 + 0.7 * (car.doors > 1.5))
    posts = torch.maximum(posts, 0.016 - (x - car.axles[1] - 0.05).abs())
    side = torch.maximum(torch.maximum(ends, above + 0.045), torch.maximum(low, posts))
    face = torch.maximum(torch.maximum(walls + 0.045, above + 0.035), low)
    glass = smooth(-side / pixel, 1.2) * ramp(0.4, 0.7, sides)
    glass = glass + smooth(-face / pixel, 1.2) * ramp(0.5, 0.8, screen + back)
    frame = smooth(0.016 - side, 0.016) * ramp(0.4, 0.7, sides) * smooth(-0.03 - above, 0.02)
    contrast = (a["roof"] - 2).abs().lt(0.5).float()
    sun = (a["roof"] - 1).abs().lt(0.5).float()
    top = mix(n["paint"], colour(.05, .05, .055), ramp(0.3, 0.5, a["paint_lightness"]))
    top = mix(top, colour(.88, .88, .87), ramp(0.5, 0.3, a["paint_lightness"]))
    out = mix(n["paint"].expand(-1, -1, x.shape[1]), top, roof * contrast)
    out = mix(out, colour(.045, .045, .05), 0.85 * frame)
    hole = torch.maximum(torch.maximum(walls + 0.10, x - car.roof[0] + 0.06), car.roof[1] + 0.16 - x)
    sunroof = smooth(-hole / pixel, 1.2) * roof * sun
    glass = (glass + sunroof).clamp(0, 1)
    depth = (y - car.belt) / (car.top - car.belt)
    pane = mix(colour(.24, .27, .28), colour(.03, .03, .035), 0.25 + 0.75 * a["window_tint"])
    pane = pane * (1.15 - 0.55 * depth.clamp(0, 1))[:, None]
    return mix(out, pane, glass), 1 - 0.5 * frame * (1 - glass) + 0.6 * glass, glass


def paint_wheel(off, x, y, a, pixel, outward):
    """Face of a wheel: albedo [B, 3, P] and gloss [B, P] at radius `off` (1 at the tyre's edge) and place
    (x, y) from its axle; dark where it does not face outward ([B, 1])."""
    if not shown(outward):
        return colour(.03, .03, .03), 0.0
    turn = torch.atan2(y, x + 1e-6)

    def style(i):
        return (a["rim_style"] - i).abs().lt(0.5).float()
    five, many, disc, steel = (style(i) for i in range(4))
    spokes = five * ramp(-0.2, 0.25, torch.cos(5 * turn)) + many * ramp(-0.3, 0.3, torch.cos(11 * turn))
    spokes = spokes + disc * (1 - 0.5 * ramp(0.5, 0.9, torch.cos(16 * turn)))
    spokes = spokes + steel * ramp(0.75, 0.2, torch.cos(8 * turn))
    within = smooth((0.60 - off) / pixel, 1.0) * smooth((off - 0.20) / pixel, 1.0)
    dark = 0.85 * steel + (1 - steel) * ramp(0.55, 0.75, a["rim_dark"])
    metal = mix(colour(*CHROME), colour(.22, .22, .23), dark)
    metal = mix(metal, colour(*CHROME), steel * ramp(0.34, 0.28, off))
    alloy = metal * (0.30 + 0.70 * (1 - within * (1 - spokes)))[:, None]
    rim = smooth((0.69 - off) / pixel, 1.0)
    tyre = colour(*RUBBER) * (1 + 0.7 * ramp(0.10, 0.0, (off - 0.84).abs()))[:, None]
    shade = 0.5 + 0.5 * outward[..., None]
    return mix(tyre.expand_as(alloy), alloy, rim * outward) * shade, (0.06 + 0.7 * rim) * outward

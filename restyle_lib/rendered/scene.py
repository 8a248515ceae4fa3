"""The scene of one avatar: background, body, head, hair and what is worn, laid into a canvas and lit."""
import math

import torch
import torch.nn.functional as F

from .faces import EYE_HEIGHT, colour, hair_colour, mix, paint_face, skin_colour
from .shapes import REGIONS, Canvas, blend, bump, cast, pixel_grid, ramp, rotation, shade, smooth, waves

# per hair style: drawn, volume, front hairline, fringe, side, curtain, roughness, bun
STYLES = torch.tensor([
    [0.0, 0.00, 0.90, 0.0, 0.30, 0.0, 0.10, 0.0],             # bald
    [1.0, 0.05, 0.64, 0.0, 0.02, 0.0, 0.30, 0.0],             # short
    [1.0, 0.09, 0.36, 1.0, -0.15, 0.0, 0.20, 0.0],            # fringe
    [1.0, 0.12, 0.60, 0.5, -0.05, 0.0, 0.25, 0.0],            # parted
    [1.0, 0.10, 0.60, 0.3, -0.25, 1.0, 0.15, 0.0],            # long
    [1.0, 0.24, 0.52, 0.2, -0.30, 0.45, 1.0, 0.0],            # curly
    [1.0, 0.05, 0.66, 0.0, 0.05, 0.0, 0.15, 1.0]])            # bun


ZOOM = 1.18                                                  # how much closer than the unit frame the camera is


def vec(*parts):
    """[B, 3] from three [B, 1] tensors or numbers."""
    like = next(p for p in parts if torch.is_tensor(p))
    return torch.cat([p if torch.is_tensor(p) else torch.full_like(like, p) for p in parts], 1)


def _any(share):
    """Whether a layer shows in any image of the chunk; leaving out one that shows in none changes no pixel."""
    return bool((share > 0).any())


def angles(point, radii):
    """(u, v) of points on an ellipsoid around the origin: scaled angle around the vertical axis, height in half heights."""
    x, y, z = (point[:, i] / radii[:, i, None] for i in range(3))
    return torch.atan2(x, z + 1e-6), y


def _background(grid, d, batch):
    """Two tones, soft blobs out of focus and (in some images) a muted pattern."""
    x, y = grid[:, 0], grid[:, 1]
    grey, chroma = d[:, 0:1] * 0.75 + 0.12, 0.02 + 0.13 * d[:, 1:2] ** 1.5

    def tone(i):
        hue = 6.2832 * d[:, i:i + 1]
        light = grey + 0.25 * (d[:, i + 1:i + 2] - 0.5)
        return torch.stack([light + chroma * torch.cos(hue + s) for s in (0.0, 2.1, 4.2)], 1).clamp(0.02, 0.98)
    slope = ramp(-1.1, 1.1, x * torch.cos(6.28 * d[:, 2:3]) + y * torch.sin(6.28 * d[:, 2:3]))
    out = mix(tone(3).expand(batch, 3, x.shape[1]), tone(5), slope)
    for i in range(7, 22, 3):
        size = 0.18 + 0.45 * d[:, i + 2:i + 3]
        blob = bump(x - 2.2 * d[:, i:i + 1] + 1.1, y - 2.2 * d[:, i + 1:i + 2] + 1.1, size, size)
        out = mix(out, tone(i), 0.65 * blob)
    turn = 6.28 * d[:, 22:23]
    bars = torch.sin((5 + 9 * d[:, 23:24]) * (x * torch.cos(turn) + y * torch.sin(turn)))
    pattern = ramp(0.62, 0.66, d[:, 24:25])
    return (out * (1 + 0.16 * pattern * smooth(bars, 0.6) - 0.08 * pattern)[:, None]).clamp(0, 1)


def _clothes(hit, a, d):
    hue = 6.2832 * d[:, 30:31]
    tone = 0.16 + 0.6 * d[:, 31:32]
    chroma = 0.05 + 0.20 * d[:, 32:33]
    base = torch.stack([tone + chroma * torch.cos(hue + s) for s in (0.0, 2.1, 4.2)], 1).clamp(0.03, 0.97)
    second = (1.0 - base) * 0.55 + 0.25 * base
    x, y = hit.point[:, 0], hit.point[:, 1]
    number = 14 + 14 * d[:, 33:34]
    across, up = smooth(torch.sin(number * y), 0.5), smooth(torch.sin(number * x), 0.5)
    stripes, checks = ramp(0.4, 0.6, a["clothes_pattern"]) * ramp(1.6, 1.4, a["clothes_pattern"]), ramp(1.4, 1.6, a["clothes_pattern"])
    share = stripes * across + checks * 0.5 * (across + up)
    folds = waves(x, y, d[:, 34:38], ((5.0, 2.0, 1.0), (9.0, 4.0, .6)))
    return mix(base.expand(-1, -1, x.shape[1]), second, 0.8 * share) * (1 + 0.06 * folds)[:, None]


def _strands(u, v, n, rough):
    """Brightness of hair: strands along the fall, loosened into curls where it is rough."""
    straight = waves(u, v, n["hair"], ((17.0, 1.5, 1.0), (31.0, -2.5, .8), (47.0, 3.0, .5)))
    curls = waves(u, v, n["hair"], ((11.0, 9.0, 1.0), (17.0, -15.0, 1.0), (23.0, 19.0, .6)))
    return torch.lerp(straight, curls, rough.clamp(0, 1).expand_as(u))


def _hair_albedo(u, v, n, rough, back=False):
    strands = _strands(u, v, n, rough)
    sheen = bump(torch.zeros_like(v), v - 0.62 - 0.04 * strands, 1.0, 0.14) * (1 - 0.6 * rough)
    tone = (0.88 + 0.20 * strands + 0.26 * sheen) * (0.55 if back else 1.0)
    return n["hair_rgb"] * tone[:, None]


def _hairline(u, v, n, style, a):
    """Signed distance in v to the cap's lower edge: front hairline or fringe, sideburns, nape."""
    drawn, front, fringe, side, rough = style["drawn"], style["front"], style["fringe"], style["side"], style["rough"]
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


def draw(a, lasting, detail, height, width, supersample, want_masks):
    """Renders a chunk. a: name -> [B, 1]; lasting [B, 24] and detail [B, 64] uniforms of the identity and of the instance.
    Returns uint8 [B, 3, height, width] and {region: float32 [B, height, width]} (None without `want_masks`)."""
    device, batch = detail.device, detail.shape[0]
    tall, broad = height * supersample, width * supersample
    grid, pixel = pixel_grid(tall, broad, device) / ZOOM, 2.0 / max(tall, broad) / ZOOM
    row = STYLES.to(device)[a["hair_style"].squeeze(1).long()]
    names = ("drawn", "volume", "front", "fringe", "side", "curtain", "rough", "bun")
    style = {name: row[:, i:i + 1] for i, name in enumerate(names)}
    n = {"skin": lasting[:, 0:4], "hair": lasting[:, 4:12], "dye": lasting[:, 12:13], "shadow": lasting[:, 13:14]}
    n["hair_rgb"] = hair_colour(a, n)
    skin = skin_colour(a)
    degree = math.pi / 180
    head = rotation(a["yaw"] * degree, -a["pitch"] * degree, a["roll"] * degree)
    body = rotation(a["yaw"] * degree * 0.25, 0 * a["yaw"], a["roll"] * degree * 0.2)
    shift = 0.06 * (detail[:, 40:41] - 0.5)
    origin = vec(shift, 0.04 + 0.04 * (detail[:, 41:42] - 0.5), 0.0)
    base = vec(shift * 0.5, 0.07, 0.0)
    rx, ry, rz = 0.425 + 0.06 * (a["head_width"] - 0.5), 0.60, 0.50
    radii = vec(rx, ry, rz)

    def hit(frame, at, centre, size, back=False):
        return cast(grid, pixel, frame, at, centre, size, back)

    canvas = Canvas(_background(grid, detail, batch), grid.shape[2], want_masks)
    _back_hair(canvas, hit, head, origin, radii, style, n, a)
    _body(canvas, hit, body, base, a, detail, skin, rx)
    _head(canvas, hit, head, origin, radii, a, n, skin, pixel, style)
    _hair(canvas, hit, head, origin, radii, style, n, a)
    _worn(canvas, hit, head, origin, radii, style, a, detail, pixel, skin)

    side = 0.95 * a["light_side"]
    light = vec(side, 0.15 + 0.75 * a["light_height"], 0.62)
    light = light / light.square().sum(1, keepdim=True).sqrt()
    image = shade(canvas, light, 0.42 + 0.26 * a["light_ambient"], a["light_warmth"])
    exposure = 0.86 + 0.24 * detail[:, 44:45]
    image = (image * exposure[..., None]).clamp(0, 1).view(batch, 3, tall, broad)
    image = (F.avg_pool2d(image, supersample) * 255).round().to(torch.uint8)
    if not want_masks:
        return image, None
    shares = F.avg_pool2d(canvas.masks.view(batch, len(REGIONS), tall, broad), supersample)
    return image, {name: shares[:, i] for i, name in enumerate(REGIONS)}


def _curtain_radii(radii, style, a):
    grow = 1.10 + 0.6 * style["volume"]
    return vec(radii[:, :1] * grow, radii[:, 1:2] * (1.02 + 0.42 * a["hair_length"]), radii[:, 2:] * grow)


def _back_hair(canvas, hit, head, origin, radii, style, n, a):
    """What hangs behind neck and shoulders, seen from inside."""
    _bun(canvas, hit, head, origin, style, n, a)
    if not _any(style["curtain"]):
        return
    size = _curtain_radii(radii, style, a)
    far = hit(head, origin, vec(0 * a["age"], -0.24 - 0.2 * a["hair_length"], -0.06), size, back=True)
    u, v = angles(far.point, radii)
    fade = ramp(-1.75, -1.6, v)
    canvas.lay(far, _hair_albedo(u, v, n, style["rough"], back=True), "hair", ramp(0.3, 0.5, style["curtain"]) * fade)


def _bun(canvas, hit, head, origin, style, n, a):
    if not _any(style["bun"]):
        return
    bun = hit(head, origin, vec(0 * a["age"], 0.56 + 0.10 * a["hair_length"], -0.24),
              vec(0.17 + 0.08 * a["hair_volume"], 0.19, 0.19))
    canvas.lay(bun, _hair_albedo(bun.point[:, 0] * 6, bun.point[:, 1] * 3, n, style["rough"]), "hair", style["bun"])


def _body(canvas, hit, body, base, a, d, skin, rx):
    zero = 0 * a["age"]
    torso = hit(body, base, vec(zero, -1.36, -0.16), vec(0.80 + zero, 0.56, 0.42))
    canvas.lay(torso, _clothes(torso, a, d), "clothes")
    neck = hit(body, base, vec(zero, -0.72, -0.14), vec(0.54 * rx, 0.62, 0.22))
    depth = 0.30 + 0.25 * d[:, 42:43]
    y, x = neck.point[:, 1], neck.point[:, 0]
    collar = smooth(y + 0.86 + depth * 0.35 - x * x * 2.2, 0.05)
    shadow = 1 - 0.42 * ramp(-0.80, -0.50, y)
    canvas.lay(neck, skin * shadow[:, None], "head", collar, gloss=0.04)


def _head(canvas, hit, head, origin, radii, a, n, skin, pixel, style):
    zero = 0 * a["age"]
    rx, ry, rz = radii[:, :1], radii[:, 1:2], radii[:, 2:]
    for side in (-1.0, 1.0):
        size = 0.85 + 0.4 * a["ear_size"]
        ear = hit(head, origin, vec(side * rx * 1.0, 0.0, -0.06), vec(0.055 * size, 0.125 * size, 0.085 * size))
        y, z = ear.point[:, 1] / (0.125 * size), (ear.point[:, 2] + 0.06) / (0.085 * size)
        inner = bump(y - 0.1, z - 0.35, 0.55, 0.5)
        canvas.lay(ear, (skin * colour(1.0, .90, .88)) * (1 - 0.38 * inner)[:, None], "head", gloss=0.03)
    skull = hit(head, origin, vec(zero, 0.12, -0.04), vec(rx, ry * 0.82, rz * 0.98))
    face_r = vec(rx * (0.80 + 0.12 * a["jaw_width"] + 0.08 * a["cheeks"]), ry * (0.72 + 0.05 * a["chin_length"]), rz * 0.86)
    jaw = hit(head, origin, vec(zero, -0.20 - 0.02 * a["chin_length"], 0.055), face_r)
    form = blend(head, origin, (skull, jaw), 0.05)
    u, v = angles(form.point, radii)
    albedo, eyes, mouth = paint_face(u, v, a, n, pixel / 0.55, skin)
    shadow = ramp(-0.20, 0.02, _hairline(u, v, n, style, a)) * ramp(0.3, 0.5, v)
    albedo = albedo * (1 - 0.20 * shadow)[:, None]
    eyes, mouth = eyes.clamp(0, 1), mouth.clamp(0, 1)
    mouth = mouth * (1 - eyes)
    canvas.lay(form, albedo, "head", gloss=0.12, shares={"eyes": eyes, "mouth": mouth, "head": 1 - eyes - mouth})
    nose = 0.8 + 0.45 * a["nose_size"]
    drop = 0.06 * a["nose_length"]
    bridge = hit(head, origin, vec(zero, -0.03 - 0.5 * drop, rz * 0.83), vec(0.052 * nose, 0.17, 0.105))
    tip = hit(head, origin, vec(zero, -0.125 - drop, rz * 0.93), vec(0.070 * nose, 0.062 * nose, 0.095 * nose))
    wings = [hit(head, origin, vec(s * 0.060 * nose, -0.135 - drop, rz * 0.86), vec(0.040 * nose, 0.042, 0.07))
             for s in (-1.0, 1.0)]
    for part, tone in ((bridge, 1.0), (wings[0], 0.93), (wings[1], 0.93), (tip, 0.99)):
        under = 1 - 0.45 * ramp(-0.2, -0.85, part.normal[:, 1])
        canvas.lay(part, skin * colour(1.02, .96, .95) * (tone * under)[:, None], "head", gloss=0.16, soft=0.05)


def _hair(canvas, hit, head, origin, radii, style, n, a):
    zero = 0 * a["age"]
    volume = style["volume"] * (0.7 + 0.8 * a["hair_volume"])
    for grow, rough in ((1.0, 0.0), (1.06, 1.0)):                 # the second, ragged shell carries curls and loose hair
        if rough and not _any(ramp(0.4, 1.0, style["rough"])):
            continue
        size = vec(radii[:, :1] * (1.03 + volume) * grow, radii[:, 1:2] * (0.86 + 0.9 * volume) * grow,
                   radii[:, 2:] * (1.02 + volume) * grow)
        cap = hit(head, origin, vec(zero, 0.12, -0.05), size)
        u, v = angles(cap.point, radii)
        edge = smooth(_hairline(u, v, n, style, a), 0.06)
        if rough:
            edge = edge * ramp(0.4, 1.0, style["rough"]) * smooth(_strands(u, v, n, style["rough"]) + 0.05, 0.5)
        canvas.lay(cap, _hair_albedo(u, v, n, style["rough"]), "hair", edge, gloss=0.10)
    if not _any(style["curtain"]):
        return
    size = _curtain_radii(radii, style, a)
    fall = hit(head, origin, vec(zero, -0.24 - 0.2 * a["hair_length"], -0.06), size)
    u, v = angles(fall.point, radii)
    wavy = 0.10 * torch.sin(4.0 * v + 6.28 * n["hair"][:, 7:8]) + 0.05 * style["rough"] * torch.sin(17 * v)
    opening = 0.98 + 0.22 * (1 - a["hair_volume"]) + wavy + 0.35 * ramp(-0.9, -1.6, v)
    cover = smooth(u.abs() - opening, 0.12) * ramp(0.75, 0.45, v) * ramp(0.2, 0.5, style["curtain"])
    canvas.lay(fall, _hair_albedo(u, v, n, style["rough"]), "hair", cover, gloss=0.10)


def _worn(canvas, hit, head, origin, radii, style, a, d, pixel, skin):
    zero = 0 * a["age"]
    if _any(a["earrings"]):
        gold = mix(colour(.80, .66, .30), colour(.80, .80, .84), ramp(0.4, 0.6, d[:, 45:46]))
        for side in (-1.0, 1.0):
            ring = hit(head, origin, vec(side * radii[:, :1] * 1.06, -0.17, -0.04), vec(0.032 + zero, 0.042, 0.032))
            canvas.lay(ring, gold, "head", a["earrings"], gloss=0.6)
    if _any(a["glasses"]):
        _glasses(canvas, hit, head, origin, radii, a, d, pixel)
    if _any(a["hat"]):
        _hat(canvas, hit, head, origin, radii, style, a, d)
    if _any(a["occluder"]):
        _occluder(canvas, hit, head, origin, radii, a, d, skin)


def _hat(canvas, hit, head, origin, radii, style, a, d):
    tone = 0.15 + 0.6 * d[:, 50:51]
    hue = 6.2832 * d[:, 51:52]
    knit = torch.stack([tone + 0.14 * torch.cos(hue + s) for s in (0.0, 2.1, 4.2)], 1).clamp(0.03, 0.97)
    grow = 1.09 + style["volume"]
    size = vec(radii[:, :1] * grow, radii[:, 1:2] * (0.80 + style["volume"]), radii[:, 2:] * grow)
    dome = hit(head, origin, vec(0 * a["age"], 0.14, -0.05), size)
    u, v = angles(dome.point, radii)
    band = 1 - 0.28 * ramp(0.56, 0.52, v)
    ribs = 1 + 0.10 * torch.sin(26 * u)
    canvas.lay(dome, knit * (band * ribs)[:, None], "clothes", a["hat"] * smooth(v - 0.40, 0.05))


def _occluder(canvas, hit, head, origin, radii, a, d, skin):
    """A paper mask on the lower face, or a hand held before the mouth."""
    zero = 0 * a["age"]
    shell = hit(head, origin, vec(zero, -0.14, 0.075), vec(radii[:, :1], radii[:, 1:2] * 0.78, radii[:, 2:] * 0.99))
    u, v = angles(shell.point, radii)
    cloth = smooth(torch.minimum(-0.14 - v - 0.10 * u * u, v + 1.2), 0.06) * smooth(1.15 - u.abs(), 0.1)
    paper = colour(.72, .83, .88) * (1 - 0.10 * smooth(torch.sin(30 * v), 0.8))[:, None]
    canvas.lay(shell, paper, "clothes", ramp(1.4, 1.6, a["occluder"]) * cloth)
    raised = ramp(0.4, 0.6, a["occluder"]) * ramp(1.6, 1.4, a["occluder"])
    where = 0.25 * (2 * d[:, 52:53] - 1)
    lean = rotation(zero, zero, where * 2.0)
    for x, y, wide, long in ((0.0, -0.62, 0.20, 0.20), (-0.13, -0.36, 0.055, 0.23), (-0.035, -0.31, 0.057, 0.26),
                             (0.062, -0.33, 0.055, 0.24), (0.15, -0.41, 0.048, 0.19)):
        finger = hit(lean, origin, vec(where + x, y, 0.66), vec(wide + zero, long, 0.06))
        canvas.lay(finger, skin * 0.97, "clothes", raised, gloss=0.05)


def _glasses(canvas, hit, head, origin, radii, a, d, pixel):
    zero = 0 * a["age"]
    shell = hit(head, origin, vec(zero, 0.0, 0.04), vec(radii[:, :1] * 1.09, radii[:, 1:2] * 1.25, radii[:, 2:] * 1.06))
    u, v = angles(shell.point, radii)
    x, y = u.abs() * 0.80 - 0.78 * (0.345 + 0.085 * a["eye_spacing"]) - 0.01, v - EYE_HEIGHT + 0.02
    wide, high = 0.205 + 0.02 * d[:, 46:47], 0.150 + 0.03 * d[:, 47:48]
    power = 2.0 + 3.0 * (1 - a["glasses_round"])
    radius = ((x / wide).abs().clamp(min=1e-4) ** power + (y / high).abs().clamp(min=1e-4) ** power) ** (1 / power)
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
    canvas.lay(shell, mix(tint.expand(-1, -1, u.shape[1]), tone, share), "glasses", cover, gloss=0.25)

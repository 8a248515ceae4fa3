"""The scene of one avatar: background, body, head, hair and what is worn, laid into a canvas and lit."""
import math

import torch
import torch.nn.functional as F

from .faces import colour, hair_colour, mix, paint_face, skin_colour
from .hair import back_hair, front_hair, hair_style, hairline
from .looks import PLAIN, pen, vivid
from .shapes import Canvas, angles, blend, bump, cast, pixel_grid, ramp, rotation, shade, smooth, vec
from .worn import accessories, clothes

ZOOM = 1.50                                                # how much closer than the unit frame the camera is


def _background(grid, d, batch, flat):
    """Two tones, soft blobs out of focus and (in some images) a muted pattern."""
    x, y = grid[:, 0], grid[:, 1]
    grey, chroma = d[:, 0:1] * 0.75 + 0.12, 0.02 + 0.13 * d[:, 1:2] ** 1.5

    def tone(i):
        hue = 6.2832 * d[:, i:i + 1]
        light = grey + 0.25 * (d[:, i + 1:i + 2] - 0.5)
        rgb = [light + chroma * torch.cos(hue + s) for s in (0.0, 2.1, 4.2)]
        return torch.stack(rgb, 1).clamp(0.02, 0.98)
    slope = ramp(-1.1, 1.1, x * torch.cos(6.28 * d[:, 2:3]) + y * torch.sin(6.28 * d[:, 2:3]))
    out = mix(tone(3).expand(batch, 3, x.shape[1]), tone(5), slope)
    for i in range(7, 22, 3):
        size = 0.18 + 0.45 * d[:, i + 2:i + 3]
        blob = bump(x - 2.2 * d[:, i:i + 1] + 1.1, y - 2.2 * d[:, i + 1:i + 2] + 1.1, size, size)
        out = mix(out, tone(i), 0.65 * (ramp(0.34, 0.38, blob) if flat else blob))
    turn = 6.28 * d[:, 22:23]
    bars = torch.sin((5 + 9 * d[:, 23:24]) * (x * torch.cos(turn) + y * torch.sin(turn)))
    pattern = ramp(0.62, 0.66, d[:, 24:25])
    return (out * (1 + 0.16 * pattern * smooth(bars, 0.6) - 0.08 * pattern)[:, None]).clamp(0, 1)


def draw(a, lasting, detail, height, width, supersample, want_masks, look=PLAIN):
    """Renders a chunk. a: name -> [B, 1]; lasting [B, 24] and detail [B, 64] uniforms of the identity and
    of the instance. Returns uint8 [B, 3, height, width] and {region: float32 [B, height, width]} (None
    without `want_masks`)."""
    device, batch = detail.device, detail.shape[0]
    tall, broad = height * supersample, width * supersample
    grid, pixel = pixel_grid(tall, broad, device) / ZOOM, 2.0 / max(tall, broad) / ZOOM
    style = hair_style(a["hair_style"])
    n = {"skin": lasting[:, 0:4], "hair": lasting[:, 4:12], "dye": lasting[:, 12:13],
         "shadow": lasting[:, 13:14]}
    n["hair_rgb"] = hair_colour(a, n)
    skin = skin_colour(a)
    degree = math.pi / 180
    head = rotation(a["yaw"] * degree, -a["pitch"] * degree, a["roll"] * degree)
    body = rotation(a["yaw"] * degree * 0.25, 0 * a["yaw"], a["roll"] * degree * 0.2)
    shift = 0.06 * (detail[:, 40:41] - 0.5)
    origin = vec(shift, -0.01 + 0.04 * (detail[:, 41:42] - 0.5), 0.0)
    base = vec(shift * 0.5, 0.02, 0.0)
    rx, ry, rz = 0.425 + 0.06 * (a["head_width"] - 0.5), 0.60, 0.50
    radii = vec(rx, ry, rz)

    def hit(frame, at, centre, size, back=False):
        return cast(grid, pixel, frame, at, centre, size, back)

    canvas = Canvas(_background(grid, detail, batch, look.steps), grid.shape[2], want_masks or look.outline)
    back_hair(canvas, hit, head, origin, radii, style, n, a, look)
    _body(canvas, hit, body, base, a, detail, skin, rx)
    _head(canvas, hit, head, origin, radii, a, n, skin, pixel, style, look)
    front_hair(canvas, hit, head, origin, radii, style, n, a, look)
    accessories(canvas, hit, head, origin, radii, style, a, detail, pixel, skin)

    side = 0.95 * a["light_side"]
    light = vec(side, 0.15 + 0.75 * a["light_height"], 0.62)
    light = light / light.square().sum(1, keepdim=True).sqrt()
    if look.vivid:
        canvas.albedo = vivid(canvas.albedo, look.vivid)
    image = shade(canvas, light, 0.42 + 0.26 * a["light_ambient"], a["light_warmth"], steps=look.steps)
    if look.outline:
        image = _inked(image, canvas, tall, broad, max(look.outline / pixel, 0.7))
    image = (image * camera(detail[:, 44:45], detail[:, 54:55], detail[:, 55:56])).clamp(0, 1)
    image = image.view(batch, 3, tall, broad)
    image = (F.avg_pool2d(image, supersample) * 255).round().to(torch.uint8)
    if not want_masks:
        return image, None
    shares = F.avg_pool2d(canvas.masks.view(batch, -1, tall, broad), supersample)
    return image, {name: shares[:, i] for i, name in enumerate(canvas.regions)}


def camera(exposure, warm, green):
    """Gains [B, 3, 1] of exposure and white balance from three uniforms [B, 1]: cameras differ so much that
    mean colours alone do not tell people apart (`metrics.colour_auc`)."""
    stops, warm, green = 2 * exposure - 1, 2 * warm - 1, 2 * green - 1
    red, blue = 0.11 * warm - 0.02 * green, -0.11 * warm - 0.02 * green
    return 0.95 * torch.stack([0.25 * stops + tint for tint in (red, 0.03 * green, blue)], 1).exp()


def _inked(image, canvas, tall, broad, sigma):
    """The image with dark lines around background, hair, head (with all that is on it) and clothes."""
    share = dict(zip(canvas.regions, canvas.masks.unbind(1), strict=True))
    face = share["head"] + share["eyes"] + share["mouth"] + share["glasses"]
    groups = torch.stack([share["background"], share["hair"], face, share["clothes"]], 1)
    ink = pen(groups, canvas.z.clamp(min=-0.6), tall, broad, sigma)
    return mix(image, canvas.albedo * 0.22 + 0.02, 0.92 * ink)


def _body(canvas, hit, body, base, a, d, skin, rx):
    zero = 0 * a["age"]
    torso = hit(body, base, vec(zero, -1.36, -0.16), vec(0.80 + zero, 0.56, 0.42))
    canvas.lay(torso, clothes(torso, a, d), "clothes")
    neck = hit(body, base, vec(zero, -0.72, -0.14), vec(0.54 * rx, 0.62, 0.22))
    depth = 0.30 + 0.25 * d[:, 42:43]
    y, x = neck.point[:, 1], neck.point[:, 0]
    collar = smooth(y + 0.86 + depth * 0.35 - x * x * 2.2, 0.05)
    shadow = 1 - 0.42 * ramp(-0.80, -0.50, y)
    canvas.lay(neck, skin * shadow[:, None], "head", collar, gloss=0.04)


def _head(canvas, hit, head, origin, radii, a, n, skin, pixel, style, look):
    zero = 0 * a["age"]
    rx, ry, rz = radii[:, :1], radii[:, 1:2], radii[:, 2:]
    for side in (-1.0, 1.0):
        size = 0.85 + 0.4 * a["ear_size"]
        ear = hit(head, origin, vec(side * rx * 1.0, 0.0, -0.06),
                  vec(0.055 * size, 0.125 * size, 0.085 * size))
        y, z = ear.point[:, 1] / (0.125 * size), (ear.point[:, 2] + 0.06) / (0.085 * size)
        inner = bump(y - 0.1, z - 0.35, 0.55, 0.5)
        canvas.lay(ear, (skin * colour(1.0, .90, .88)) * (1 - 0.38 * inner)[:, None], "head", gloss=0.03)
    skull = hit(head, origin, vec(zero, 0.12, -0.04), vec(rx, ry * 0.82, rz * 0.98))
    cheeks = rx * (0.80 + 0.12 * a["jaw_width"] + 0.08 * a["cheeks"])
    jaw = hit(head, origin, vec(zero, -0.20 - 0.02 * a["chin_length"], 0.055),
              vec(cheeks, ry * (0.72 + 0.05 * a["chin_length"]), rz * 0.86))
    form = blend(head, origin, (skull, jaw), 0.05)
    u, v = angles(form.point, radii)
    albedo, eyes, mouth = paint_face(u, v, a, n, pixel / 0.55, skin, look)
    shadow = ramp(-0.20, 0.02, hairline(u, v, n, style, a)) * ramp(0.3, 0.5, v)
    albedo = albedo * (1 - 0.20 * shadow)[:, None]
    eyes, mouth = eyes.clamp(0, 1), mouth.clamp(0, 1)
    mouth = mouth * (1 - eyes)
    shares = {"eyes": eyes, "mouth": mouth, "head": 1 - eyes - mouth}
    canvas.lay(form, albedo, "head", gloss=0.12, shares=shares)
    nose = (0.8 + 0.45 * a["nose_size"]) * look.nose
    drop = 0.06 * a["nose_length"]
    high = -0.135 - drop
    bridge = hit(head, origin, vec(zero, -0.03 - 0.5 * drop, rz * 0.83), vec(0.052 * nose, 0.17, 0.105))
    tip = hit(head, origin, vec(zero, -0.125 - drop, rz * 0.93),
              vec(0.070 * nose, 0.062 * nose, 0.095 * nose))
    wings = [hit(head, origin, vec(s * 0.060 * nose, high, rz * 0.86), vec(0.040 * nose, 0.042, 0.07))
             for s in (-1.0, 1.0)]
    for part, tone in ((bridge, 1.0), (wings[0], 0.93), (wings[1], 0.93), (tip, 0.99)):
        under = 1 - 0.45 * ramp(-0.2, -0.85, part.normal[:, 1])
        albedo = skin * colour(1.02, .96, .95) * (tone * under)[:, None]
        canvas.lay(part, albedo, "head", gloss=0.16, soft=0.05)

"""The scene of one car: its place, its solids laid into a canvas, and light that is also reflected."""
import math

import torch
import torch.nn.functional as F

from .carbody import design
from .carpaint import paint_body, paint_cabin, paint_colour, paint_wheel
from .faces import colour
from .places import backdrop, place_of
from .shapes import Canvas, pixel_grid, ramp, shown, vec
from .solids import cast_ball, cast_disc, cast_hull, cast_tube, look_at

REGIONS = ("background", "body", "windows", "wheels", "lights", "ground")
DISTANCE = 4.6                                               # of the camera, in half lengths of a sedan


def _camera(a, car, d, grid, pixel):
    degree = math.pi / 180
    yaw, elevation = a["yaw"] * degree, a["elevation"] * degree
    long = 0.5 * (car.length - car.tail)
    reach = long * yaw.sin().abs() + (car.half + 0.35 * long) * yaw.cos().abs() * 0.95
    spread = (0.42 + 0.66 * reach) * 1.13 / a["zoom"]
    aim = vec(0.5 * (car.length + car.tail), 0.52 * car.top + 0.05 * (d[:, 32:33] - 0.5), 0.0)
    distance = torch.full_like(yaw, DISTANCE)
    view = look_at(grid, pixel, yaw, elevation, aim, distance, spread)
    slide = 0.16 * (d[:, 33:34] - 0.5) * (spread - 0.8).clamp(min=0)
    view.eye = view.eye + view.axes[:, :, 0] * slide
    return view


def _light(a, view):
    """[B, 3] towards the lamp: given before the camera, in the car's frame."""
    ahead = vec(0.95 * a["light_side"], 0.0, 0.55)
    turned = (view.axes @ ahead[..., None]).squeeze(-1)
    light = torch.cat([turned[:, :1], 0.45 + 0.75 * a["light_height"], turned[:, 2:]], 1)
    return light / light.square().sum(1, keepdim=True).sqrt()


def _shadow(car, light, a, place):
    """Light left on the ground around the car: a soft cast shadow and the dark under it."""
    slope = -0.42 * car.top / light[:, 1:2]
    sx, sz = (slope * light[:, :1]).clamp(-0.5, 0.5), (slope * light[:, 2:]).clamp(-0.5, 0.5)
    soft = 0.06 + 0.22 * a["shadow_softness"]
    depth = (0.30 + 0.28 * (1 - a["light_ambient"])) * (1 - 0.45 * place.kind[2])
    long, middle = 0.5 * (car.length - car.tail), 0.5 * (car.length + car.tail)

    def at(x, z):
        def box(dx, dz, half_x, half_z, edge):
            px, pz = (x - middle - dx).abs() - half_x + edge, (z - dz).abs() - half_z + edge
            outer = (px.clamp(min=0).square() + pz.clamp(min=0).square() + 1e-9).sqrt()
            return outer + torch.maximum(px, pz).clamp(max=0) - edge
        cast = ramp(1.0, -1.0, box(sx, sz, long, car.half, 0.15) / soft)
        under = ramp(1.0, -1.0, box(0.0, 0.0, long - 0.06, car.half - 0.02, 0.12) / 0.10)
        return (1 - depth * cast) * (1 - 0.72 * under)
    return at


def draw(a, lasting, detail, height, width, supersample, want_masks):
    """Renders a chunk. a: name -> [B, 1]; lasting [B, 24] and detail [B, 64] uniforms of the identity and
    of the instance. Returns uint8 [B, 3, height, width] and {region: float32 [B, height, width]} (None
    without `want_masks`)."""
    device, batch = detail.device, detail.shape[0]
    tall, broad = height * supersample, width * supersample
    grid, pixel = pixel_grid(tall, broad, device), 2.0 / max(tall, broad)
    car, n = design(a), {"paint": paint_colour(a)}
    view, place = _camera(a, car, detail, grid, pixel), place_of(a, detail)
    light = _light(a, view)
    behind, ground = backdrop(view, place, a, detail, _shadow(car, light, a, place))
    rows, columns = _window(view, car, a, tall, broad)
    part = view.window(rows, columns, broad)
    image = behind.unflatten(2, (tall, broad))
    masks = torch.zeros(batch, len(REGIONS), tall, broad, device=device)
    masks[:, 0], masks[:, -1] = (1 - ground).view(batch, tall, broad), ground.view(batch, tall, broad)
    canvas = Canvas(image[..., rows, columns].flatten(2), part.rays.shape[2], False, REGIONS)
    shape = image[..., rows, columns].shape[2:]
    if want_masks:
        canvas.masks = masks[..., rows, columns].flatten(2)
    _shell(canvas, part, car, a, n)
    _wheels(canvas, part, car, a)
    _extras(canvas, part, car, a, n)
    _before(canvas, part, a, detail)
    image[..., rows, columns] = _lit(canvas, part, light, place, a).unflatten(2, shape)
    exposure = 0.90 + 0.20 * detail[:, 44:45]
    image = (image * exposure[..., None, None]).clamp_(0, 1)
    image = (F.avg_pool2d(image, supersample) * 255).round().to(torch.uint8)
    if not want_masks:
        return image, None
    masks[..., rows, columns] = canvas.masks.unflatten(2, shape)
    shares = F.avg_pool2d(masks, supersample)
    return image, {name: shares[:, i] for i, name in enumerate(REGIONS)}


def _window(view, car, a, tall, broad):
    """Rows and columns (slices) that hold the car in every image of the chunk; all where something stands
    before it."""
    if shown(a["occluder"]):
        return slice(0, tall), slice(0, broad)
    corners = torch.stack([vec(x, y, z) for x in (car.tail - 0.08, car.length + 0.08)
                           for y in (0.0, car.top + 0.08) for z in (-car.half - 0.1, car.half + 0.1)], 2)
    x, y = view.image_of(corners).unbind(1)
    left, right = int(x.min() + broad / 2) - 2, int(x.max() + broad / 2) + 3
    top, bottom = int(tall / 2 - y.max()) - 2, int(tall / 2 - y.min()) + 3
    return slice(max(top, 0), max(bottom, 1)), slice(max(left, 0), max(right, 1))


def _bulged(hit, amounts, centre):
    """The hit with normals turned outwards from `centre` by `amounts` per unit: panels are not quite flat."""
    push = [amount * (hit.point[:, i] - c) for i, (amount, c) in enumerate(zip(amounts, centre, strict=True))]
    normal = hit.normal + torch.stack(push, 1)
    hit.normal = normal * normal.square().sum(1, keepdim=True).add_(1e-8).rsqrt_()
    return hit


def _shell(canvas, view, car, a, n):
    hit, share, _ = cast_hull(view, car.body, car.softness)
    albedo, gloss, lamps, hollow = paint_body(hit, share, car, a, n, view.pixel)
    _bulged(hit, (0.16, 1.1, 0.40), (0.0, 0.72 * car.belt, 0.0))
    hit.z = hit.z - 0.16 * hollow
    canvas.lay(hit, albedo, "body", gloss=gloss, shares={"lights": lamps, "body": 1 - lamps})
    hit, share, inner = cast_hull(view, car.cabin, car.softness)
    albedo, gloss, glass = paint_cabin(hit, share, inner, car, a, n, view.pixel)
    _bulged(hit, (0.25, 0.5, 0.55), (-0.1, car.belt, 0.0))
    canvas.lay(hit, albedo, "body", gloss=gloss, shares={"windows": glass, "body": 1 - glass})


def _wheels(canvas, view, car, a):
    near = torch.where(view.eye[:, 2:] > 0, 1.0, -1.0)
    for side in (-near, near):
        for axle in car.axles:
            middle, half = side * (car.half - 0.085), 0.065
            facing = torch.where((view.eye[:, 2:] - middle) > 0, 1.0, -1.0)
            tread = cast_tube(view, axle, car.wheel, middle, car.wheel, half)
            canvas.lay(tread, colour(.05, .05, .055), "wheels", gloss=0.03)
            face, off = cast_disc(view, axle, car.wheel, middle + half * facing, car.wheel, facing)
            x, y, outward = face.point[:, 0] - axle, face.point[:, 1] - car.wheel, (side * facing > 0).float()
            albedo, gloss = paint_wheel(off, x, y, a, view.pixel / car.wheel, outward)
            canvas.lay(face, albedo, "wheels", gloss=gloss)


def _extras(canvas, view, car, a, n):
    """Mirrors, and where they are drawn: roof rails, spoiler, and what stands before the car."""
    zero, middle = torch.zeros_like(car.half), 0.5 * (car.roof[0] + car.roof[1])
    for side in (-1.0, 1.0):
        mirror = cast_ball(view, vec(car.screen - 0.17, car.belt + 0.022, side * (car.half + 0.005)),
                           vec(0.030 + zero, 0.027, 0.045))
        canvas.lay(mirror, n["paint"], "body", gloss=0.8)
        if shown(a["roof_rack"]):
            rail = cast_ball(view, vec(middle, car.top - 0.012, side * car.half * 0.62),
                             vec(0.42 * (car.roof[0] - car.roof[1]), 0.030, 0.014))
            canvas.lay(rail, colour(.45, .46, .47), "body", a["roof_rack"], gloss=0.6)
    if shown(a["spoiler"]):
        x = car.notch * (car.tail + 0.06) + (1 - car.notch) * (car.roof[1] - 0.02)
        y = car.notch * (car.deck + 0.012) + (1 - car.notch) * (car.top - 0.052)
        wing = cast_ball(view, vec(x, y, 0.0), vec(0.085 + zero, 0.020, car.half * 0.80))
        canvas.lay(wing, n["paint"], "body", a["spoiler"], gloss=0.9)


def _before(canvas, view, a, d):
    """What stands before the car, where an image of the chunk shows it: a post or a bush."""
    if not shown(a["occluder"]):
        return
    side, back = view.axes[:, :, 0], view.axes[:, :, 2]
    where = 0.9 * (d[:, 34:35] - 0.5)
    post, bush = (a["occluder"] - 1).abs().lt(0.5).float(), (a["occluder"] - 2).abs().lt(0.5).float()
    flat = torch.tensor([1.0, 0.0, 1.0], device=d.device)
    foot = (back * 1.15 + side * where) * flat
    zero = torch.zeros_like(where)
    pole = cast_ball(view, foot, vec(0.035 + zero, 3.0, 0.035))
    canvas.lay(pole, colour(.42, .43, .45), "background", post, gloss=0.3)
    for along, up, size in ((-0.20, 0.10, 0.20), (0.02, 0.17, 0.23), (0.23, 0.09, 0.19)):
        leaf = cast_ball(view, foot + side * flat * along + vec(zero, up, 0.0), vec(size + zero, size, size))
        x, y, z = leaf.point.unbind(1)
        tone = 0.75 + 0.45 * torch.sin(41 * x + 23 * y) * torch.sin(37 * y - 29 * z) + 0.9 * y
        canvas.lay(leaf, colour(.20, .31, .13) * tone[:, None], "background", bush)


def _lit(canvas, view, light, place, a):
    """Colours [B, 3, P]: light of lamp, sky and ground on the albedo, and their mirror image (Fresnel)."""
    normal = canvas.normal * canvas.normal.square().sum(1, keepdim=True).add_(1e-4).rsqrt_()
    back = -view.rays * view.rays.square().sum(1, keepdim=True).rsqrt()
    facing = (normal * back).sum(1).clamp_(0, 1)
    mirror = 2 * facing[:, None] * normal - back
    lamp = place.lamp * torch.stack([1 + 0.10 * a["light_warmth"], torch.ones_like(a["light_warmth"]),
                                     1 - 0.12 * a["light_warmth"]], 1)
    ambient = 0.40 + 0.28 * a["light_ambient"]
    diffuse = (((normal * light[..., None]).sum(1) + 0.15) / 1.15).clamp_(min=0) * (1.08 - ambient)
    up = 0.5 + 0.5 * normal[:, 1]
    sky = torch.lerp(place.ground * 0.75, 0.5 * (place.horizon + place.zenith) + 0.12, up[:, None])
    out = canvas.albedo * (sky * ambient[..., None] * 1.25 + diffuse[:, None] * lamp)
    fresnel = (0.05 + 0.55 * (1 - facing).pow(4)) * canvas.gloss
    out = out + fresnel[:, None] * (place.reflection(mirror[:, 1]) - 0.5 * out)
    shine = 16 + 50 * (1 - a["paint_metallic"])
    spot = (mirror * light[..., None]).sum(1).clamp_(min=0.05).log_().mul_(shine).clamp_(min=-30).exp_()
    out = out + (spot * canvas.gloss * (0.30 + 0.12 * a["paint_metallic"]))[:, None] * lamp
    return torch.lerp(canvas.albedo, out, canvas.lit[:, None])

"""Casting and compositing: ellipsoids seen by parallel rays in closed form, and a soft depth buffer for them.

Image plane: x right, y up, both in [-1, 1]; z towards the viewer. Points are [B, 3, P] with P pixels,
per-image numbers [B, 1]. Edges come from smooth signed distances, so that no comparison can flip between
machines.
"""
from dataclasses import dataclass

import torch

REGIONS = ("background", "hair", "head", "eyes", "mouth", "glasses", "clothes")


def smooth(d, width):
    """0 to 1 as the signed distance `d` goes from -width/2 to width/2."""
    s = (d * (1 / width)).add_(0.5).clamp_(0, 1)
    return (-2 * s).add_(3).mul_(s).mul_(s)


def ramp(low, high, x):
    """Smoothstep: 0 below `low`, 1 above `high`."""
    s = (x - low).mul_(1 / (high - low)).clamp_(0, 1)
    return (-2 * s).add_(3).mul_(s).mul_(s)


def bump(x, y, wide, high):
    """exp(-(x/wide)² - (y/high)²); the exponent stops at -30, short of slow denormal numbers."""
    y = y * (1 / high)
    return torch.addcmul((x * (1 / wide)).square_(), y, y).clamp_(max=30).neg_().exp_()


def vec(*parts):
    """[B, 3] from three [B, 1] tensors or numbers."""
    like = next(p for p in parts if torch.is_tensor(p))
    return torch.cat([p if torch.is_tensor(p) else torch.full_like(like, p) for p in parts], 1)


def shown(share):
    """Whether a layer shows in any image of the chunk; leaving out one that does not changes no pixel."""
    return bool((share > 0).any())


def angles(point, radii):
    """(u, v) of points on an ellipsoid around the origin: scaled angle around the vertical axis, height in
    half heights."""
    x, y, z = (point[:, i] / radii[:, i, None] for i in range(3))
    return torch.atan2(x, z + 1e-6), y


def staircase(x):
    """x in soft steps: flat around whole numbers and steep between them."""
    for _ in range(2):
        x = x - torch.sin(6.2832 * x) / 6.2832
    return x


def rotation(yaw, pitch, roll):
    """[B, 3, 3] from angles [B, 1] in radians: head to camera; positive yaw turns the nose to the right."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def matrix(rows):
        return torch.stack([torch.stack(r, -1) for r in rows], -2).squeeze(1)
    cy, sy, cp, sp, cr, sr = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), roll.cos(), roll.sin()
    turn = matrix([[cy, zero, sy], [zero, one, zero], [-sy, zero, cy]])
    nod = matrix([[one, zero, zero], [zero, cp, sp], [zero, -sp, cp]])
    tilt = matrix([[cr, -sr, zero], [sr, cr, zero], [zero, zero, one]])
    return tilt @ turn @ nod


def pixel_grid(height, width, device="cpu"):
    """[1, 2, H·W] pixel centres; the shorter side spans less than [-1, 1] so that pixels stay square."""
    side = max(height, width)
    y = -(torch.arange(height, device=device) + 0.5 - height / 2) * 2 / side
    x = (torch.arange(width, device=device) + 0.5 - width / 2) * 2 / side
    return torch.stack(torch.broadcast_tensors(x[None, :], y[:, None])).reshape(1, 2, -1)


@dataclass
class Hit:
    """What the rays see of one body: coverage [B, P], depth [B, P], normal [B, 3, P], point in its frame
    [B, 3, P]."""
    cover: torch.Tensor
    z: torch.Tensor
    normal: torch.Tensor
    point: torch.Tensor


def cast(grid, pixel, frame, origin, centre, radii, back=False):
    """Parallel rays against the ellipsoid at `centre` with `radii` ([B, 3], in a frame [B, 3, 3] at
    `origin`).

    The image of an ellipsoid is an ellipse: its quadratic form gives distance to the outline, depth and
    normal.
    """
    m = frame @ torch.diag_embed(radii ** -2) @ frame.transpose(1, 2)
    middle = origin + (frame @ centre[..., None]).squeeze(-1)
    x, y = grid[:, 0] - middle[:, :1], grid[:, 1] - middle[:, 1:2]
    places = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))
    m11, m12, m22, m13, m23, m33 = (m[:, i, j, None] for i, j in places)
    q11, q12, q22 = m11 - m13 * m13 / m33, m12 - m13 * m23 / m33, m22 - m23 * m23 / m33
    gx, gy = q11 * x + q12 * y, q12 * x + q22 * y
    inside = 1 - (gx * x + gy * y)
    cover = smooth(inside / (2 * (gx * gx + gy * gy).sqrt() + 1e-3), 1.2 * pixel)
    depth = (inside.clamp(min=0) / m33).sqrt()
    z = -(m13 * x + m23 * y) / m33 + (-depth if back else depth)
    point = torch.stack([x, y, z], 1)
    normal = m @ point
    normal = normal * torch.linalg.vecdot(normal, normal, dim=1).add_(1e-6).rsqrt_()[:, None]
    local = torch.baddbmm(centre[..., None], frame.transpose(1, 2), point)
    return Hit(cover, z + middle[:, 2:3], -normal if back else normal, local)


def blend(frame, origin, parts, soft):
    """One body from several hits in one frame: the nearer surface wins, with a fillet of depth `soft`."""
    first, *others = parts
    cover, z, normal = first.cover, first.z, first.normal
    plane = first.point                                      # any point of a ray gives the ray itself
    for part in others:
        front = part.cover * torch.sigmoid((part.z - z - 4 * (1 - cover) * (z - part.z).clamp(min=0)) / soft)
        front = torch.maximum(front, part.cover * (1 - cover))
        z = torch.lerp(z, part.z, front)
        normal = normal + front[:, None] * (part.normal - normal)
        cover = torch.maximum(cover, part.cover)
    return Hit(cover, z, normal, plane + frame[:, 2, :, None] * (z - first.z)[:, None])


class Canvas:
    """Albedo, normal, gloss, depth and region shares of what is in front so far; light comes at the end."""

    def __init__(self, background, pixels, masks=False, regions=REGIONS):
        batch, self.regions = background.shape[0], regions
        self.albedo = background
        self.normal = torch.zeros_like(background)
        self.z = torch.full((batch, pixels), -4.0, device=background.device)
        self.gloss = torch.zeros_like(self.z)
        self.lit = torch.zeros_like(self.z)
        self.masks = None
        if masks:
            self.masks = torch.zeros(batch, len(regions), pixels, device=background.device)
            self.masks[:, 0] = 1

    def lay(self, hit, albedo, region, cover=None, gloss=0.0, soft=0.02, shares=None):
        """Puts a layer where it covers and is nearer; `albedo` [B, 3, P] or [B, 3, 1]; `shares` splits it
        over regions."""
        seen = hit.cover if cover is None else hit.cover * cover
        seen = seen * torch.sigmoid((hit.z - self.z) / soft)
        self.z = torch.lerp(self.z, hit.z, seen)
        self.gloss = self.gloss + seen * (gloss - self.gloss)
        self.lit = torch.maximum(self.lit, seen)
        wide = seen[:, None]
        self.albedo = torch.lerp(self.albedo, albedo, wide)
        self.normal = torch.lerp(self.normal, hit.normal, wide)
        if self.masks is not None:
            self.masks = self.masks * (1 - wide)
            for name, share in (shares or {region: 1.0}).items():
                self.masks[:, self.regions.index(name)] += seen * share
        return seen


def shade(canvas, light, ambient, warmth, shine=24.0, steps=0.0):
    """[B, 3, P] colours: hemispheric ambient, wrapped diffuse and a highlight; `light` [B, 3] points to the
    lamp. With `steps`, light falls in that many soft steps."""
    normal = canvas.normal / (canvas.normal.square().sum(1, keepdim=True) + 1e-4).sqrt()
    facing = (normal * light[..., None]).sum(1)
    diffuse = ((facing + 0.3) / 1.3).clamp(min=0)
    half = light + torch.tensor([0.0, 0.0, 1.0], device=light.device)
    half = half / half.square().sum(1, keepdim=True).sqrt()
    glint = (normal * half[..., None]).sum(1).clamp(min=0) ** shine * canvas.gloss
    if steps:
        diffuse, glint = staircase(diffuse * steps) / steps, 0.5 * ramp(0.13, 0.18, glint)
    tint = torch.stack([1 + 0.12 * warmth, torch.ones_like(warmth), 1 - 0.14 * warmth], 1)
    sky = ambient * (0.82 + 0.18 * normal[:, 1])
    lamp = (sky[:, None] + ((1.12 - ambient) * diffuse)[:, None] * tint)
    lit = canvas.lit[:, None]
    return canvas.albedo * (1 - lit + lit * lamp) + glint[:, None] * tint


def waves(u, v, phases, octaves):
    """Band-limited texture in about [-1, 1]: sums of sines of (u, v) with per-image phases [B, n]."""
    total, weight = 0.0, 0.0
    for index, (fu, fv, amount) in enumerate(octaves):
        phase = 6.2832 * phases[:, index:index + 1]
        warp = 1.3 * torch.sin(0.37 * fu * u - 0.61 * fv * v + phase)
        total = total + amount * torch.sin(fu * u + fv * v + phase + warp)
        weight += amount
    return total / weight

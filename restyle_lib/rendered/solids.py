"""Solids seen in perspective, in closed form: rounded convex hulls, ellipsoids, tubes and discs.

All live in one frame: x forward, y up, z to the left of what stands there. Rays are [B, 3, P] from an eye
[B, 3]; their length along the view axis is 1, so that the ray parameter is depth. Per-image numbers are [B,
1].
"""
from dataclasses import dataclass

import torch

from .shapes import Hit, smooth


@dataclass
class View:
    """eye [B, 3], rays [B, 3, P], distance [B, 1] of the eye, pixel [B, 1]: a pixel's width that far away."""
    eye: torch.Tensor
    rays: torch.Tensor
    distance: torch.Tensor
    pixel: torch.Tensor
    axes: torch.Tensor                                       # [B, 3, 3]: right, up, towards the eye (columns)

    def window(self, rows, columns, width):
        """The View of some rows and columns (slices) of an image `width` pixels wide."""
        rays = self.rays.unflatten(2, (-1, width))[..., rows, columns].flatten(2)
        return View(self.eye, rays, self.distance, self.pixel, self.axes)

    def image_of(self, points):
        """Pixels [B, 2, N] to the right of and above the image's middle, of points [B, 3, N]."""
        seen = self.axes.transpose(1, 2) @ (points - self.eye[..., None])
        return seen[:, :2] / -seen[:, 2:] * (self.distance / self.pixel)[..., None]

    def at(self, t):
        """Points [B, 3, P] at depth t [B, P]."""
        return torch.addcmul(self.eye[..., None], self.rays, t[:, None])

    def hit(self, cover, t, normal, point=None):
        """A Hit whose depth grows towards the eye and is 0 at the origin's distance."""
        return Hit(cover, self.distance - t, normal, self.at(t) if point is None else point)


def look_at(grid, pixel, yaw, elevation, target, distance, spread):
    """The View of a camera that sees `target` [B, 3] from `yaw` and `elevation` [B, 1] (radians; yaw 0
    looks at the front, positive turns it to the image's right); half the image's width spans `spread` [B,
    1] there."""
    cy, sy, ce, se, zero = yaw.cos(), yaw.sin(), elevation.cos(), elevation.sin(), torch.zeros_like(yaw)
    right = torch.cat([sy, zero, -cy], 1)
    up = torch.cat([-cy * se, ce, -sy * se], 1)
    back = torch.cat([cy * ce, se, sy * ce], 1)
    axes = torch.stack([right, up, back], 2)
    scale = spread / distance
    plane = torch.cat([grid.expand(len(yaw), -1, -1) * scale[..., None],
                       torch.full_like(grid[:, :1], -1.0).expand(len(yaw), -1, -1)], 1)
    return View(target + back * distance, axes @ plane, distance, spread * pixel, axes)


@dataclass
class Faces:
    """Half spaces normal · p <= offset whose common part is a convex solid: normal [B, K, 3], offset [B,
    K]."""
    normal: torch.Tensor
    offset: torch.Tensor


def faces_of(outline, planes):
    """Faces of a side view pulled out along z: `outline` [B, V, 2] are its corners (x, y), turning counter-
    clockwise as seen from +z; `planes` are further faces (nx, ny, nz, offset) of [B, 1] tensors or
    numbers."""
    edge = outline.roll(-1, 1) - outline
    normal = torch.stack([edge[..., 1], -edge[..., 0]], -1)
    normal = normal / normal.square().sum(-1, keepdim=True).sqrt()
    offset = (normal * outline).sum(-1)
    more = torch.stack([torch.cat([p if torch.is_tensor(p) else torch.full_like(offset[:, :1], p)
                                   for p in plane], 1) for plane in planes], 1)
    size = more[..., :3].square().sum(-1, keepdim=True).sqrt()
    flat = torch.cat([normal, torch.zeros_like(normal[..., :1])], -1)
    return Faces(torch.cat([flat, more[..., :3] / size], 1),
                 torch.cat([offset, more[..., 3] / size[..., 0]], 1))


def cast_hull(view, faces, radius):
    """Hit of a convex solid whose edges are rounded by `radius` [B, 1], share of each face [B, K, P] there,
    and signed distance to each face [B, K, P].

    The solid is sum of max(0, e_k + radius)² <= radius² over the faces' distances e_k: along a ray a
    convex, piecewise quadratic function, so that Newton's method from the sharp solid's entry never passes
    the surface.
    """
    slope = faces.normal @ view.rays
    start = ((faces.normal @ view.eye[..., None]).squeeze(-1) - faces.offset + radius)[..., None]
    crossing = (radius[..., None] - start) / torch.where(slope.abs() < 1e-5, 1e-5, slope)
    near = crossing.masked_fill(slope >= 0, -1e4).amax(1).clamp_(min=0.1)
    far = crossing.masked_fill(slope < 0, 1e4).amin(1).clamp_(max=20.0)
    deepest, low, high = 0.5 * (near + far), torch.minimum(near, far), torch.maximum(near, far)
    for _ in range(4):
        over = torch.addcmul(start, slope, deepest[:, None]).clamp_(min=0)
        turn = (over * slope).sum(1)
        bend = slope.square().masked_fill_(over <= 0, 0).sum(1)
        deepest = torch.clamp(deepest - turn / (bend + 1e-6), low, high)
    over = torch.addcmul(start, slope, deepest[:, None]).clamp_(min=0)
    outside = over.square().sum(1).add_(1e-12).sqrt_() - radius
    cover = smooth(-outside / view.pixel, 1.2)
    t = torch.minimum(near, deepest)
    for _ in range(4):
        over = torch.addcmul(start, slope, t[:, None]).clamp_(min=0)
        excess = over.square().sum(1) - radius.square()
        fall = (over * slope).sum(1).mul_(2).clamp_(max=-1e-3)
        t = torch.minimum(t - excess / fall, deepest)
    over = torch.addcmul(start, slope, t[:, None])
    inner = over - radius[..., None]
    over = over.clamp_(min=0)
    normal = faces.normal.transpose(1, 2) @ over
    normal = normal * normal.square().sum(1, keepdim=True).add_(1e-8).rsqrt_()
    share = over.square()
    return view.hit(cover, t, normal), share / share.sum(1, keepdim=True).add_(1e-9), inner


def cast_ball(view, centre, radii):
    """Hit of the ellipsoid at `centre` with `radii` ([B, 3] each) along the axes."""
    origin, rays = (view.eye - centre) / radii, view.rays / radii[..., None]
    a = rays.square().sum(1)
    closest = -(rays * origin[..., None]).sum(1) / a
    place = torch.addcmul(origin[..., None], rays, closest[:, None])
    square = place.square().sum(1)
    off = square.sqrt().add_(1e-6)
    reach = (place * radii[..., None]).square().sum(1).sqrt() / off
    cover = smooth((1 - off) * reach / view.pixel, 1.2)
    t = closest - ((1 - square).clamp_(min=0) / a).sqrt_()
    normal = torch.addcmul(origin[..., None], rays, t[:, None]) / radii[..., None]
    normal = normal * normal.square().sum(1, keepdim=True).add_(1e-8).rsqrt_()
    return view.hit(cover, t, normal)


def cast_tube(view, x, y, z, radius, half):
    """Hit of the tread of a wheel: a tube along z around (x, y) from z - half to z + half."""
    ox, oy, dx, dy = view.eye[:, :1] - x, view.eye[:, 1:2] - y, view.rays[:, 0], view.rays[:, 1]
    a = (dx * dx + dy * dy).clamp_(min=1e-4)
    closest = -(dx * ox + dy * oy) / a
    off = ((ox + dx * closest).square() + (oy + dy * closest).square()).sqrt()
    t = closest - ((radius * radius - off * off).clamp_(min=0) / a).sqrt_()
    point = view.at(t)
    cover = smooth((half - (point[:, 2] - z).abs()) / view.pixel, 2.0)
    cover = cover * smooth((radius - off) / view.pixel, 1.2)
    normal = torch.stack([(point[:, 0] - x) / radius, (point[:, 1] - y) / radius, torch.zeros_like(t)], 1)
    return view.hit(cover, t, normal, point)


def cast_disc(view, x, y, z, radius, facing):
    """Hit of the disc around (x, y) in the plane at z whose normal is `facing` ([B, 1], -1 or 1) along z."""
    across = view.rays[:, 2] * facing
    depth = (z - view.eye[:, 2:]) * facing
    t = depth / across.clamp(max=-1e-3)
    point = view.at(t)
    off = ((point[:, 0] - x).square() + (point[:, 1] - y).square()).add_(1e-9).sqrt_()
    foot = view.pixel * (0.5 + 0.5 / across.abs().clamp(min=0.2))
    cover = smooth((radius - off) / foot, 1.2) * smooth(-across - 0.04, 0.06)
    normal = torch.zeros_like(point)
    normal[:, 2] = facing
    return view.hit(cover, t, normal, point), off / radius

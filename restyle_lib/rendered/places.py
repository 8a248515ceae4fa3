"""Where a car stands: ground, horizon and sky of a street, a field, a studio and a sunset, and their
light."""
from dataclasses import dataclass

import torch

from .faces import colour, mix
from .shapes import bump, ramp, smooth, waves

PLACES = ("street", "field", "studio", "sunset")
COLOURS = torch.tensor([                                    # ground, horizon, zenith, lamp: one row per place
    [.36, .36, .37, .80, .83, .86, .52, .65, .80, 1.02, 1.00, .96],
    [.33, .42, .18, .82, .87, .90, .36, .57, .83, 1.06, 1.01, .90],
    [.62, .62, .62, .80, .80, .80, .70, .70, .71, 1.00, 1.00, 1.00],
    [.33, .28, .28, .98, .66, .38, .36, .38, .58, 1.12, .88, .66]])


@dataclass
class Place:
    """kind: shares [B, 1] of each place; ground, horizon, zenith, lamp: colours [B, 3, 1]."""
    kind: tuple
    ground: torch.Tensor
    horizon: torch.Tensor
    zenith: torch.Tensor
    lamp: torch.Tensor

    def reflection(self, upward):
        """Colours [B, 3, P] of what a mirror sees in a direction whose sine of elevation is `upward` [B,
        P]."""
        sky = torch.lerp(self.horizon, self.zenith, upward.clamp(0, 1).sqrt()[:, None])
        soft = ramp(0.50, 0.62, upward) * ramp(0.95, 0.80, upward) * (0.25 + 0.75 * self.kind[2])
        low = self.ground * (0.55 + 0.35 * ramp(0.0, -0.8, upward))[:, None]
        return torch.lerp(low, sky + 0.5 * soft[:, None], ramp(-0.06, 0.05, upward)[:, None])


def place_of(a, d):
    """The Place named by the attribute "background", varied a little per image."""
    index = a["background"].squeeze(1).long()
    row = COLOURS.to(index.device)[index]
    kind = tuple((a["background"] - i).abs().lt(0.5).float() for i in range(len(PLACES)))
    hue = 6.2832 * d[:, 0:1]
    cast = torch.stack([torch.cos(hue + s) for s in (0.0, 2.1, 4.2)], 1)
    tint = 1 + cast * (0.03 + 0.08 * kind[2] * d[:, 1:2])[..., None]
    tone = (0.80 + 0.34 * d[:, 2:3] - 0.35 * kind[2] * ramp(0.55, 1.0, d[:, 3:4]))[..., None]
    ground, horizon, zenith, lamp = (row[:, i:i + 3, None] for i in (0, 3, 6, 9))
    return Place(kind, ground * tint * tone, horizon * tint * (0.5 + 0.5 * tone), zenith * tint, lamp)


def backdrop(view, place, a, d, shadow):
    """Colours [B, 3, P] of everything but the car, and the share [B, P] of ground; `shadow` maps (x, z) on
    the ground to the light [B, P] that is left there."""
    x, y, z = view.rays.unbind(1)
    level = (x * x + z * z).sqrt()
    upward = y / level
    ground = smooth(-upward / view.pixel, 3.0)
    t = view.eye[:, 1:2] / (-y).clamp(min=0.02)
    gx, gz = view.eye[:, :1] + t * x, view.eye[:, 2:] + t * z
    near = ramp(0.02, 0.20, -upward)                         # how much texture is left against the distance
    azimuth = torch.atan2((view.axes[:, 0:1, 0] * x + view.axes[:, 2:3, 0] * z),
                          -(view.axes[:, 0:1, 2] * x + view.axes[:, 2:3, 2] * z))
    street, field, studio, sunset = place.kind
    floor = _floor(gx, gz, place, d, near, view.pixel * t)
    floor = torch.lerp(place.horizon, floor, (0.55 + 0.45 * ramp(0.0, 0.10, -upward))[:, None])
    sky = _sky(azimuth, upward, place, a, d)
    wall = place.horizon * (1.04 - 0.25 * d[:, 4:5] * upward.clamp(-1, 1))[:, None]
    cove = ramp(-0.34, -0.02, upward)                        # the studio's floor bends up into its wall
    floor = torch.lerp(floor, wall, (studio * cove)[:, None])
    sky = torch.lerp(sky, wall, studio[..., None])
    return torch.lerp(sky, floor * shadow(gx, gz)[:, None], ground[:, None]), ground


def _floor(x, z, place, d, near, foot):
    street, field, studio, sunset = place.kind
    soft = foot + 0.02
    grain = waves(x, z, d[:, 8:12], ((9.0, 3.0, 1.0), (17.0, 13.0, .8), (5.0, 29.0, .6)))
    coarse = waves(x, z, d[:, 12:14], ((1.3, 0.4, 1.0), (0.7, 2.3, 1.0)))
    tone = 1 + near * (0.05 * street + 0.16 * field + 0.05 * sunset) * grain + 0.07 * (1 - studio) * coarse
    out = place.ground * tone[:, None]
    road = street + sunset * ramp(0.3, 0.5, d[:, 14:15])
    side = 1 - 2 * (d[:, 15:16] > 0.5).float()
    away = z * side
    dash = smooth(0.5 - ((x / 3.2 + d[:, 16:17]) % 1 - 0.5).abs() * 2, 0.1)
    line = smooth((0.05 - (away - 1.25).abs()) / soft, 1.0) * dash
    edge = smooth((0.04 - (away + 1.0).abs()) / soft, 1.0)
    out = mix(out, colour(.82, .81, .76), road * (line + 0.7 * edge) * 0.75)
    beyond = smooth((-away - 1.35) / soft, 1.0) * road
    kerb = colour(.60, .58, .55) * place.lamp * (0.8 + 0.4 * street[..., None])
    out = torch.lerp(out, kerb * (1 + 0.05 * near * grain)[:, None], (0.8 * beyond)[:, None])
    track = bump(z.abs() - 0.42, z * 0, 0.22, 1.0) * (0.75 + 0.25 * coarse)
    track = track * field * ramp(0.35, 0.5, d[:, 17:18])
    earth = colour(.50, .41, .29) * (1 + 0.10 * near * grain)[:, None]
    return torch.lerp(out, earth, (0.8 * track).clamp(0, 1)[:, None])


def _sky(azimuth, upward, place, a, d):
    street, field, studio, sunset = place.kind
    sky = torch.lerp(place.horizon, place.zenith, (upward * 2.2).clamp(0, 1)[:, None])
    cloud = waves(azimuth * 2, upward * 4, d[:, 18:22], ((3.0, 5.0, 1.0), (7.0, 9.0, .6), (13.0, 17.0, .4)))
    cloud = ramp(0.1, 0.9, cloud + d[:, 22:23] - 0.4) * (0.6 * field + 0.35 * street + 0.45 * sunset)
    sky = mix(sky, 0.97 * place.lamp, cloud)
    sun = bump(azimuth - 0.5 * a["light_side"], upward - 0.06 - 0.1 * a["light_height"], 0.10, 0.08)
    glow = bump(azimuth - 0.5 * a["light_side"], upward - 0.06 - 0.1 * a["light_height"], 0.45, 0.22)
    sky = sky + (sunset * (0.55 * sun + 0.25 * glow))[:, None] * place.lamp
    hills = 0.05 + 0.05 * torch.sin(5 * azimuth + 6.28 * d[:, 23:24]) + 0.02 * torch.sin(13 * azimuth)
    trees = hills + 0.02 * waves(azimuth, azimuth * 0.6, d[:, 24:27], ((29.0, 3.0, 1.0), (57.0, 5.0, .8)))
    block = torch.sin(7 * azimuth + 6.28 * d[:, 27:28]) + torch.sin(11 * azimuth + 6.28 * d[:, 28:29])
    gable = torch.tanh(40 * torch.sin(17 * azimuth + 6.28 * d[:, 29:30]))
    houses = 0.13 + 0.05 * torch.tanh(25 * block) + 0.03 * gable
    height = field * trees + street * houses + sunset * torch.maximum(hills, trees)
    low = smooth(height - upward, 0.02)
    panes = smooth(torch.sin(90 * azimuth), 1.2) * smooth(torch.sin(120 * upward), 1.2)
    front = 0.62 + 0.16 * torch.tanh(6 * torch.sin(9 * azimuth + 6.28 * d[:, 30:31])) - 0.16 * panes
    stone = colour(.74, .70, .66) * front[:, None]
    green = colour(.24, .33, .20) * (0.8 + 3 * upward)[:, None]
    dusk = colour(.25, .17, .21)
    far = stone * street[..., None] + green * field[..., None] + dusk * sunset[..., None]
    return torch.lerp(sky, torch.lerp(place.horizon, far, 0.72), (low * (1 - studio))[:, None])

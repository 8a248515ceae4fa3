"""The design of a car: side views of the body types in tables, and the solids an identity makes of it.

Units: half the length of a sedan; the ground is y = 0, the front +x. A side view has ten corners of the
lower body and six of the cabin, counter-clockwise from the front bumper's lip and from the windscreen's
foot.
"""
from dataclasses import dataclass

import torch

from .solids import Faces, faces_of

TYPES = ("sedan", "hatchback", "estate", "suv", "van", "pickup", "coupe")
BODY = torch.tensor([
    [(.94, .09), (1.0, .19), (.99, .30), (.92, .375), (.44, .44),                   # sedan
     (-.64, .465), (-.92, .445), (-.985, .34), (-.975, .18), (-.91, .10)],
    [(.83, .09), (.89, .19), (.88, .30), (.81, .385), (.40, .45),                   # hatchback
     (-.70, .49), (-.84, .475), (-.885, .35), (-.875, .19), (-.82, .10)],
    [(.94, .09), (1.0, .19), (.99, .30), (.92, .375), (.44, .44),                   # estate
     (-.80, .485), (-.95, .47), (-.995, .35), (-.985, .18), (-.92, .10)],
    [(.87, .13), (.94, .24), (.93, .37), (.86, .455), (.42, .51),                   # suv
     (-.80, .54), (-.90, .53), (-.95, .39), (-.94, .22), (-.87, .14)],
    [(.94, .11), (.99, .21), (.98, .34), (.92, .43), (.64, .51),                    # van
     (-.90, .54), (-.97, .53), (-1.0, .37), (-.99, .20), (-.94, .12)],
    [(1.0, .14), (1.06, .25), (1.05, .38), (.98, .465), (.52, .515),                # pickup
     (-.90, .525), (-1.03, .52), (-1.06, .40), (-1.05, .24), (-.98, .16)],
    [(.90, .085), (.95, .17), (.94, .26), (.86, .335), (.32, .41),                  # coupe
     (-.66, .445), (-.88, .43), (-.93, .31), (-.92, .17), (-.86, .09)]])
CABIN = torch.tensor([
    [(.54, .38), (.16, .595), (-.02, .63), (-.34, .62), (-.48, .59), (-.80, .40)],
    [(.50, .39), (.15, .62), (-.04, .65), (-.44, .64), (-.64, .61), (-.86, .42)],
    [(.54, .38), (.17, .60), (-.01, .635), (-.56, .635), (-.78, .61), (-.97, .42)],
    [(.52, .45), (.22, .695), (.04, .73), (-.52, .725), (-.74, .695), (-.92, .47)],
    [(.78, .42), (.42, .80), (.24, .84), (-.60, .845), (-.90, .82), (-.995, .45)],
    [(.60, .46), (.30, .715), (.14, .74), (-.10, .74), (-.24, .72), (-.34, .47)],
    [(.46, .35), (.06, .545), (-.12, .575), (-.32, .565), (-.46, .54), (-.86, .39)]])
# half width, wheel radius, front and rear axle, lean of the windows, boot behind the cabin, doors a side, bed
SIZES = torch.tensor([
    [.385, .150, .61, -.58, .42, 1.0, 2.0, 0.0],
    [.375, .146, .55, -.55, .38, 0.0, 2.0, 0.0],
    [.385, .150, .61, -.58, .38, 0.0, 2.0, 0.0],
    [.395, .170, .57, -.56, .33, 0.0, 2.0, 0.0],
    [.400, .158, .62, -.62, .18, 0.0, 2.0, 0.0],
    [.405, .174, .67, -.62, .30, 0.0, 1.0, 1.0],
    [.385, .154, .58, -.56, .50, 1.0, 1.0, 0.0]])
# how much of a shift each corner takes: of the belt's height, of the cabin's place, of the rear window's rake
BELT = torch.tensor([0, 0, .3, .6, 1, 1, 1, .5, 0, 0])
COWL = torch.tensor([0, 0, 0, 0, 1, 0, 0, 0, 0, 0.0])
FRONT = torch.tensor([1, 1, .6, 0, 0, 0])
RAKE = torch.tensor([0, 0, 0, .4, 1, .25])


@dataclass
class Design:
    """The solids of one identity, and the measures [B, 1] that paint and mounted parts need."""
    body: Faces
    cabin: Faces
    softness: torch.Tensor                                   # radius of the edges
    half: torch.Tensor                                       # of the width
    length: torch.Tensor                                     # x of the front, of the tail
    tail: torch.Tensor
    top: torch.Tensor                                        # heights: roof, belt, sill, bonnet's edge, boot
    belt: torch.Tensor
    sill: torch.Tensor
    hood: torch.Tensor
    deck: torch.Tensor
    wheel: torch.Tensor                                      # radius
    axles: tuple                                             # x, front and rear
    screen: torch.Tensor                                     # x of the windscreen's foot
    roof: tuple                                              # x of its front and rear end
    notch: torch.Tensor                                      # 1: a boot behind the cabin
    doors: torch.Tensor
    bed: torch.Tensor

    @property
    def cuts(self):
        """x of the front, middle and rear edge of the doors."""
        first, last = self.screen - 0.10, self.axles[1] + 0.16
        return first, 0.5 * (first + last) + 0.02, last + 0.16 * (self.doors < 1.5)


def _moved(corners, weights, x=0.0, y=0.0):
    """Corners [B, V, 2] shifted by x and y ([B, 1] or 0), each by its weight [V]."""
    weights = weights.to(corners.device)
    return torch.stack([corners[..., 0] + weights * x, corners[..., 1] + weights * y], 2)


def design(a):
    """The Design of the attributes `a` (name -> [B, 1])."""
    index = a["body_type"].squeeze(1).long()
    size = SIZES.to(index.device)[index]
    half, wheel, front, rear, lean, notch, doors, bed = (size[:, i:i + 1] for i in range(8))
    long, high = 0.94 + 0.12 * a["body_length"], 0.95 + 0.11 * a["body_height"]
    stretch = torch.stack([long, high], 2)
    place, rake = 0.10 * (a["cabin_place"] - 0.5), 0.14 * (a["roof_rake"] - 0.5)
    body = _moved(BODY.to(index.device)[index] * stretch, BELT, y=0.03 * (a["belt_height"] - 0.5))
    body = _moved(body, COWL, x=place)
    cabin = _moved(_moved(CABIN.to(index.device)[index] * stretch, FRONT, x=place), RAKE, x=rake)
    (nose, tail), (sill, waist) = (body[:, 1, :1], body[:, 8, :1]), (body[:, 0, 1:], body[:, 4, 1:])
    panels, walls = [], []
    for side in (-1.0, 1.0):
        panels += [(0.0, 0.10, side, half + 0.10 * (sill + 0.62 * (waist - sill))),  # lean in, up and down
                   (0.0, -0.10, side, half - 0.10 * (sill + 0.45 * (waist - sill))),
                   (0.50, 0.0, side, half + 0.50 * (nose - 0.10)),                   # narrower at both ends
                   (-0.40, 0.0, side, half - 0.40 * (tail + 0.09))]
        corner = half - 0.075 + 0.75 * lean * waist
        walls += [(0.0, lean, side, half - 0.035 + lean * waist),
                  (0.30, 0.55 * lean, side, corner + 0.30 * cabin[:, 1, :1]),
                  (-0.26, 0.55 * lean, side, corner - 0.26 * cabin[:, 4, :1])]
    return Design(body=faces_of(body, panels), cabin=faces_of(cabin, walls),
                  softness=0.035 + 0.045 * a["roundness"], half=half, length=nose, tail=body[:, 7, :1],
                  top=cabin[:, 2, 1:], belt=waist, sill=sill, hood=body[:, 3, 1:], deck=body[:, 6, 1:],
                  wheel=wheel * (0.93 + 0.16 * a["wheel_size"]), axles=(front * long, rear * long),
                  screen=cabin[:, 0, :1], roof=(cabin[:, 1, :1], cabin[:, 4, :1]), notch=notch, doors=doors,
                  bed=bed)

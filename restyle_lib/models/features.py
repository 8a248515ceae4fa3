"""Networks that look at images: identities, perceptual distances, attributes.

Small ones for the embedded worlds; published: ArcFace (IR-SE50), CurricularFace (IR-101), MoCo (ResNet50);
LPIPS has its own file. All take images [B, 1 or 3, H, W] in [-1, 1]; grey ones are repeated to three.
"""
import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import UserError, suggest
from .backbones import build_backbone


def rgb(images):
    """[B, 1 or 3, H, W] -> [B, 3, H, W]."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


class IdentityNet(nn.Module):
    """Images [B, C, H, W] -> unit embeddings [B, dim]; trained with a margin loss over rendered identities.

    The trunk's last map is weighted by position (MobileFaceNet's global depthwise convolution) and projected.
    An encoder can start from `backbone`. channels: the trunk's widths (None: its own)."""

    def __init__(self, input_size=(64, 64), channels=None, dim=128, backbone="irse_small"):
        super().__init__()
        self.config = dict(input_size=list(input_size), channels=channels, dim=dim, backbone=backbone)
        self.backbone = build_backbone(backbone, 3, **({"channels": tuple(channels)} if channels else {}))
        width, size = self.backbone.channels[-1], _last_size(self.backbone, input_size)
        self.pool = nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, width, size, groups=width),
                                  nn.Flatten(), nn.Linear(width, dim), nn.BatchNorm1d(dim))

    def forward(self, images):
        return F.normalize(self.pool(self.backbone(rgb(images))[-1]))


class PerceptualNet(nn.Module):
    """Images -> five feature maps, from full size down to an eighth; `distance` compares them as LPIPS does.

    Five 3x3 convolutions, 0.27 M parameters, 65 MMAC at 64 x 64; or stem and stages of a small `backbone`. It
    is trained by this project on rendered images: its distance is not LPIPS and is never called so."""

    def __init__(self, input_size=(64, 64), channels=(32, 64, 96, 96, 128), backbone=None):
        super().__init__()
        self.config = dict(input_size=list(input_size), channels=list(channels))
        self.channels = tuple(channels)
        if backbone:
            self.config["backbone"] = backbone
            trunk = build_backbone(backbone, 3, channels=self.channels)
            stages = (trunk.body[a + 1:b + 1] for a, b in pairwise((-1, *trunk.taps)))
            self.layers = nn.ModuleList([nn.Sequential(trunk.stem, trunk.activation), *stages])
        else:
            self.layers = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for (a, b), stride in zip(pairwise((3, *channels)), (1, 2, 2, 1, 2), strict=True))
        self.weights = nn.ParameterList(torch.full((c,), 1 / len(channels)) for c in channels)

    def forward(self, images):
        x, maps = rgb(images).contiguous(memory_format=torch.channels_last), []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps

    def distance(self, a, b):
        """Images a, b -> [B]; either may be the list of maps already computed."""
        a, b = (x if isinstance(x, list) else self(x) for x in (a, b))
        return feature_distance(a, b, self.weights, 1e-6)


def feature_distance(a, b, weights, epsilon=1e-10):
    """Zhang et al. 2018, Equation 1: unit channels, weighted squared differences, mean over space -> [B]."""
    total = 0
    for x, y, weight in zip(a, b, weights, strict=True):
        x, y = (v * (v.square().sum(1, keepdim=True) + epsilon**2).rsqrt() for v in (x, y))
        total = total + ((x - y).square() * weight.abs().view(1, -1, 1, 1)).sum(1).mean((1, 2))
    return total


class AttributeReader(nn.Module):
    """Images -> {name: prediction}: reals [B] in their unit; probabilities: binaries [B], categories [B, n].

    attributes: dicts of name, kind (real, binary, category), and low, high (real) or classes (category);
    perhaps a weight in `difference`, otherwise 1."""

    def __init__(self, attributes, input_size=(64, 64), backbone="irse_small", channels=None):
        super().__init__()
        self.attributes = [dict(a) for a in attributes]
        self.config = dict(attributes=self.attributes, input_size=list(input_size), backbone=backbone,
                           channels=channels)
        for a in self.attributes:
            if a["kind"] not in ("real", "binary", "category"):
                raise suggest(a["kind"], ("real", "binary", "category"), f"kind of the attribute {a['name']}")
        self.backbone = build_backbone(backbone, 3, **({"channels": tuple(channels)} if channels else {}))
        self.sizes = [_classes(a) if a["kind"] == "category" else 1 for a in self.attributes]
        height, width = _last_size(self.backbone, input_size)
        self.head = nn.Sequential(
            nn.Conv2d(self.backbone.channels[-1], 16, 1), nn.PReLU(16), nn.Flatten(),
            nn.Linear(16 * height * width, 128), nn.BatchNorm1d(128), nn.PReLU(128),
            nn.Linear(128, sum(self.sizes)))

    def raw(self, images):
        """{name: [B] or [B, classes]}: reals scaled to about -1 to 1, logits of the others."""
        parts = self.head(self.backbone(rgb(images))[-1]).split(self.sizes, 1)
        return {a["name"]: part if a["kind"] == "category" else part[:, 0]
                for a, part in zip(self.attributes, parts, strict=True)}

    def forward(self, images):
        raw, out = self.raw(images), {}
        for a in self.attributes:
            centre, half = _range(a)
            value = raw[a["name"]]
            out[a["name"]] = {"real": value * half + centre, "binary": value.sigmoid(),
                              "category": value.softmax(-1)}[a["kind"]]
        return out

    def difference(self, images, read):
        """How unlike images are to what was `read` (forward) of others: Huber differences of reals over half
        their range and of probabilities doubled, the weighted mean over attributes, a scalar."""
        found, total = self(images), 0.0
        for a in self.attributes:
            name, scale = a["name"], 1 / _range(a)[1] if a["kind"] == "real" else 2.0
            gap = F.smooth_l1_loss(scale * found[name], scale * read[name], beta=0.25, reduction="sum")
            total = total + a.get("weight", 1.0) * gap / len(images)
        return total / sum(a.get("weight", 1.0) for a in self.attributes)

    def loss(self, images, targets, emphasis=None):
        """targets: {name: [B]}, reals in their unit -> (mean over attributes, {name: scalar}).

        Huber for reals, else cross-entropy. Attributes without a target are left out, and NaN targets.
        emphasis: {name: weight in the mean}; others weigh 1."""
        raw, terms = self.raw(images), {}
        for a in self.attributes:
            if a["name"] not in targets:
                continue
            value, known = raw[a["name"]], targets[a["name"]].float().isfinite()
            target, value = targets[a["name"]][known], value[known]
            if len(target):
                terms[a["name"]] = _attribute_loss(a, value, target)
        if not terms:
            raise UserError(f"no target of the attributes {', '.join(a['name'] for a in self.attributes)}")
        shares = {name: (emphasis or {}).get(name, 1.0) for name in terms}
        return sum(shares[name] * terms[name] for name in terms) / sum(shares.values()), terms


def _attribute_loss(attribute, value, target):
    if attribute["kind"] == "real":
        centre, half = _range(attribute)
        return F.smooth_l1_loss(value, (target.to(value) - centre) / half, beta=0.25)
    if attribute["kind"] == "binary":
        return F.binary_cross_entropy_with_logits(value, target.to(value))
    return F.cross_entropy(value, target.long())


def _classes(attribute):
    classes = attribute["classes"]
    return classes if isinstance(classes, int) else len(classes)


def _range(attribute):
    low, high = attribute.get("low"), attribute.get("high")
    return (0.0, 1.0) if low is None or high is None else ((low + high) / 2, (high - low) / 2)


def _last_size(backbone, input_size):
    return tuple(math.ceil(side / backbone.strides[-1]) for side in input_size)


class ContrastNet(nn.Module):
    """Images [B, C, H, W] -> unit features [B, width]: a small trunk trained by MoCo, averaged over space."""

    def __init__(self, input_size=(64, 64), channels=None, backbone="resnet_small"):
        super().__init__()
        self.config = dict(input_size=list(input_size), channels=channels, backbone=backbone)
        self.backbone = build_backbone(backbone, 3, **({"channels": tuple(channels)} if channels else {}))
        self.width = self.backbone.channels[-1]

    def pooled(self, images):
        """Features [B, width] before they are scaled to unit length."""
        return self.backbone(rgb(images))[-1].mean((2, 3))

    def forward(self, images):
        return F.normalize(self.pooled(images))


class FaceEmbedding(nn.Module):
    """ArcFace (irse50) or CurricularFace (ir101), as published: images -> unit embeddings [B, 512].

    112 x 112 images are taken as aligned crops. Others are pooled to 256 x 256, cropped to rows 35-222 and
    columns 32-219, and pooled to 112, as pSp's identity loss does with FFHQ-aligned faces."""

    def __init__(self, backbone="irse50", affine=True):
        super().__init__()
        self.config = dict(backbone=backbone, affine=affine)
        self.backbone = build_backbone(backbone, 3)
        self.output_layer = nn.Sequential(nn.BatchNorm2d(512), nn.Identity(), nn.Flatten(),
                                          nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512, affine=affine))

    def forward(self, images):
        x = rgb(images)
        if x.shape[2:] != (112, 112):
            x = x if x.shape[2:] == (256, 256) else F.adaptive_avg_pool2d(x, 256)
            x = F.adaptive_avg_pool2d(x[:, :, 35:223, 32:220], 112)
        return F.normalize(self.output_layer(self.backbone(x)[-1]))


class Bottleneck(nn.Module):
    """The three-convolution block of ResNet50, in torchvision's names (the middle convolution strides)."""

    def __init__(self, fan_in, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(fan_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None if fan_in == 4 * width else nn.Sequential(
            nn.Conv2d(fan_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x):
        kept = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(x)) + kept).relu()


class MoCo(nn.Module):
    """MoCo v2's ResNet50 without its last layer: images -> unit features [B, 2048].

    As in pSp's loss for other domains than faces: resized to 224 by nearest neighbour, not normalised."""

    def __init__(self):
        super().__init__()
        self.config = {}
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        fan_in = 64
        for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
            blocks = []
            for index in range(depth):
                blocks.append(Bottleneck(fan_in, width, 2 if stage > 1 and index == 0 else 1))
                fan_in = 4 * width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))

    def forward(self, images):
        x = F.interpolate(rgb(images), (224, 224), mode="nearest")
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.normalize(x.mean((2, 3)))

"""Parity with the published code: its outputs for weights and inputs drawn by formulas (golden_recipe.py)."""
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from golden_recipe import FOLDER, draw, expected, image, recipe, relative_error, weights

from restyle_lib import losses
from restyle_lib.checkpoints.published import read_published
from restyle_lib.domains import Domain
from restyle_lib.inverter import Inverter
from restyle_lib.models.lpips import lpips_weights
from restyle_lib.optimizers import Ranger

TOLERANCE = 1e-4
ENCODERS = {
    # case                   input           published class
    "irse50_simple":        (6, (256, 256), "BackboneEncoder"),
    "irse50_fpn":           (3, (256, 256), "GradualStyleEncoder"),
    "irse50_progressive":   (6, (256, 256), "ProgressiveBackboneEncoder"),
    "resnet34_simple":      (6, (192, 256), "ResNetBackboneEncoder"),
    "resnet34_fpn":         (6, (256, 256), "ResNetGradualStyleEncoder"),
    "resnet34_progressive": (6, (192, 256), "ResNetProgressiveBackboneEncoder"),
    "e4e_pyramid":          (3, (256, 256), "Encoder4Editing"),
}
STAGES = {"codes": None, "inference": None, "stage0": 0, "stage5": 5}
LOOPS = {
    "loop_faces256": dict(resolution=256, encoder_size=(256, 256)),
    "loop_cars512": dict(resolution=512, encoder_size=(192, 256), crop=(64, 448, 0, 512)),
}


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def to_64(images):
    """Pooled to 64 columns."""
    return F.avg_pool2d(images, images.shape[-1] // 64)


@pytest.mark.parametrize("case", ENCODERS)
def test_encoders(case):
    channels, size, kind = ENCODERS[case]
    content = {"state_dict": weights(case), "opts": {"encoder_type": kind}}
    encoder = read_published(content)["encoder"].resize(size)
    x = torch.cat([image(f"{case}/{name}", 1, *size) for name in "ab"[:channels // 3]], 1)
    for name, codes in expected(case).items():
        encoder.stage = STAGES[name]
        assert relative_error(encoder(x), codes) < TOLERANCE, name


@pytest.mark.parametrize("case", LOOPS)
def test_the_loop(case):
    state = weights(case)
    found = read_published({"state_dict": state, "latent_avg": state.pop("latent_avg")})
    domain, encoder = Domain(name=case, train="golden", **LOOPS[case]), found["encoder"]
    encoder.resize(domain.encoder_size)
    for heads in encoder.heads:  # the recorded runs scale the encoder's output by 0.2
        heads.linear_weight.mul_(0.2)
        heads.linear_bias.mul_(0.2)
    inverter, golden = Inverter(encoder, found["generator"], domain), expected(case)
    steps = golden["latents"].shape[1]
    trajectory = inverter(image(f"{case}/x", 1, *domain.encoder_size), steps=steps)
    assert relative_error(to_64(inverter.start_image[None]), golden["average_image"]) < TOLERANCE
    assert relative_error(trajectory.latents[1:, 0], golden["latents"][0]) < TOLERANCE
    assert relative_error(to_64(trajectory.images[1:, 0]), golden["images"][0]) < TOLERANCE
    assert inverter.render(trajectory.latents[-1]).shape[1:] == tuple(golden["full_shape"][2:])


@cache
def pair(prefix):
    return image(f"{prefix}y", 2, 256, 256), image(f"{prefix}yh", 2, 256, 256)


def test_identity_loss():
    network = read_published(weights("identity_loss", "arcface/"))["identity"]
    golden = expected("identity_loss")
    a, b = (network(x) for x in pair("arcface/"))
    assert relative_error(a, golden["features_y"]) < TOLERANCE
    assert torch.allclose((a * b).sum(1).double(), golden["cosine"], atol=1e-5)
    assert torch.allclose(losses.cosine_loss(b, a), golden["loss"], atol=1e-5)


def test_moco_loss():
    state = {f"module.encoder_q.{name}": value for name, value in weights("moco_loss", "moco/").items()}
    network, golden = read_published({"state_dict": state})["moco"], expected("moco_loss")
    a, b = (network(x) for x in pair("moco/"))
    assert relative_error(a, golden["features_y"]) < TOLERANCE
    assert torch.allclose((a * b).sum(1).double(), golden["cosine"], atol=1e-6)
    assert torch.allclose(losses.cosine_loss(b, a), golden["loss"], atol=1e-6)


def test_identity_judge():
    network = read_published(weights("ir101_features", "ir101/"))["identity"]
    features = expected("ir101_features")["features"]
    assert relative_error(network(image("ir101/y", 2, 112, 112)), features) < TOLERANCE


def test_lpips():
    network, golden = read_published(weights("lpips_alex"))["lpips"], expected("lpips_alex")
    y, yh = pair("lpips_alex/")
    assert torch.allclose(network.distance(yh, y), golden["per_image"], rtol=TOLERANCE)
    assert [len(weight) for weight in lpips_weights()] == [64, 192, 384, 256, 256]


def test_e4e_regularisers():
    judge = read_published(weights("e4e_regularisers", "wdisc/"))["latent_discriminator"]
    golden = expected("e4e_regularisers")
    latent, real = draw("wdisc/latent", [3, 18, 512]), draw("wdisc/real", [3, 512])
    assert relative_error(judge(real), golden["logits_real"]) < TOLERANCE
    found = {"delta_norm": torch.stack([losses.delta_norm(latent, stage) for stage in (0, 5, 17)]),
             "adversarial": torch.stack([losses.adversarial(judge, latent, stage) for stage in (0, 5, 17)]),
             "d_loss": losses.discriminator_loss(judge, real, latent[:, 0]),
             "w_norm": losses.w_norm(latent, draw("wdisc/avg", [18, 512], std=0.3))}
    with torch.enable_grad():
        found["r1"] = losses.r1(judge, real)
    for name, value in found.items():
        assert torch.allclose(value.detach().double(), golden[name].double(), rtol=1e-5), name


def test_ranger():
    shapes = {"conv": [4, 3, 3, 3], "linear": [5, 7], "bias": [6]}
    parameters = {name: torch.nn.Parameter(draw(f"ranger/{name}", shape)) for name, shape in shapes.items()}
    optimizer, golden = Ranger(parameters.values(), lr=1e-2), expected("ranger")
    for step in range(20):
        for name, parameter in parameters.items():
            parameter.grad = draw(f"ranger/grad{step}/{name}", shapes[name])
        optimizer.step()
        for name, parameter in parameters.items():
            assert torch.allclose(parameter, golden[name][step], atol=1e-6), (name, step)


def test_every_golden_case_is_here():
    """Each recorded case has its recipe and a test that names it."""
    cases = {path.name.removesuffix(".npz") for path in FOLDER.glob("*.npz")}
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.parent.glob("test_*.py"))
    assert not [case for case in cases if case not in text]
    for case in cases:
        assert recipe(case) != []

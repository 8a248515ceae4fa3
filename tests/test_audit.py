"""The audits: what they count is what is there, and a blur does not pass for an inversion."""
import dataclasses
import json

import numpy as np
import pytest
import torch

from restyle_lib import audit
from restyle_lib.domains import Domain
from restyle_lib.models.encoders import Encoder
from restyle_lib.models.stylegan2 import Generator
from restyle_lib.trajectory import Trajectory
from restyle_lib.training.distortions import coarse

SPEC = [{"name": "yaw", "kind": "real", "low": -1, "high": 1},
        {"name": "smile", "kind": "real", "low": -1, "high": 1},
        {"name": "glasses", "kind": "binary"},
        {"name": "hair", "kind": "category", "classes": ["a", "b", "c"]}]


class Reader:
    """Reads what `world` writes: the brightness of one pixel an attribute."""
    attributes = SPEC

    def __call__(self, x):
        x = x.mean(1)
        return {"yaw": x[:, 2, 2], "smile": x[:, 5, 9], "glasses": (x[:, 12, 4] > 0).float(),
                "hair": torch.stack([x[:, 14, 1], x[:, 14, 3], x[:, 14, 5]], 1)}


def world(count, seed=0):
    """uint8 [count, 16, 16, 3], the values behind it, and masks."""
    rng = np.random.default_rng(seed)
    truth = {"yaw": rng.uniform(-1, 1, count), "smile": rng.uniform(-1, 1, count),
             "glasses": 1.0 * rng.integers(0, 2, count), "hair": 1.0 * rng.integers(0, 3, count)}
    images = np.full((count, 16, 16), 0.0)
    images[:, 2, 2], images[:, 5, 9] = truth["yaw"], truth["smile"]
    images[:, 12, 4] = 1.8 * truth["glasses"] - 0.9
    for index in range(3):
        images[:, 14, 1 + 2 * index] = np.where(truth["hair"] == index, 0.8, -0.8)
    eyes, mouth = np.zeros((2, count, 16, 16), dtype=np.float32)
    eyes[:, 2, 2], mouth[:, 5, 9] = 1, 1
    pixels = np.rint((images + 1) * 127.5).astype(np.uint8)[..., None].repeat(3, axis=3)
    return pixels, truth, {"eyes": eyes, "mouth": mouth, "hair": 1 - eyes}


class Halving:
    """An inverter of the audit's interface: each step halves the error, from a grey image on."""
    device = torch.device("cpu")

    def __init__(self, factor=0.5):
        self.factor = factor

    def __call__(self, images, steps):
        frames = [images * (1 - self.factor ** t) for t in range(steps + 1)]
        return Trajectory(torch.stack(frames))


def test_a_good_inversion_passes_and_its_blur_fails():
    images, truth, masks = world(60)
    result = audit.audit_inversion(Halving(), images, truth, masks, Reader(), batch=25)
    assert result["holds"] and not result["control_holds"] and len(result["l2"]) == 6
    assert result["l2"][1] == pytest.approx(result["l2"][0] / 4, rel=1e-4)
    share = next(g for name, g in result["gates"].items() if "share" in name)
    assert share["value"] == pytest.approx(0.5 ** 10, rel=1e-3)
    assert result["gates"]["yaw r"]["value"] > 0.99 and result["originals"]["glasses"]["accuracy"] == 1
    assert not result["control"]["L2 of eyes and mouth, share of the start's"]["holds"]
    json.dumps(result)
    assert "holds" in audit.describe(result["gates"]) and "fails" in audit.describe(result["control"])


def test_a_single_pass_is_held_against_its_one_step():
    images, truth, masks = world(40)
    once = Halving()
    once.single = True
    result = audit.audit_inversion(once, images, truth, masks, Reader())
    assert result["steps"] == 1 and len(result["l2"]) == 2
    assert not [name for name in result["gates"] if name.startswith("L2 falls") or "rises" in name]


def test_every_gate_can_fail():
    images, truth, masks = world(40)
    still = audit.audit_inversion(Halving(1.0), images, truth, masks, Reader())
    assert not any(gate["holds"] for name, gate in still["gates"].items() if name not in ("L2 rises later",
                                                                                       "glasses accuracy"))
    gates = audit._falls(audit.Gates(), [1.0, 0.5, 0.4, 0.3, 0.31, 0.3])
    assert not gates["L2 rises later"]["holds"] and gates["L2 falls at steps 1-3"]["holds"]
    assert audit._falls(audit.Gates(), [1.0, 0.5, 0.4, 0.3, 0.302])["L2 rises later"]["holds"]
    assert not audit._falls(audit.Gates(), [1.0, 0.5, 0.5, 0.3])["L2 falls at steps 1-3"]["holds"]
    stricter = audit.Gates(attributes={"hair": ("accuracy", 1.1)})
    assert not audit.audit_inversion(Halving(), images, truth, {}, Reader(), gates=stricter)["holds"]


def test_without_masks_or_truth_only_l2_is_judged():
    images, _, _ = world(10)
    result = audit.audit_inversion(Halving(), images, {}, {}, Reader())
    assert result["region_l2"] is None and set(result["gates"]) == {"L2 falls at steps 1-3", "L2 rises later"}


def test_histograms_count():
    images, truth, _ = world(50)
    other, there, _ = world(80, seed=1)
    found = audit.histograms(Reader(), images, other, bins=4)
    expected = np.histogram(truth["yaw"], np.linspace(-1, 1, 5))[0] / 50
    np.testing.assert_allclose(found["yaw"]["first"], expected, atol=0.021)
    share = there["glasses"].mean()
    assert found["glasses"]["second"] == pytest.approx([1 - share, share])
    assert found["hair"]["classes"] == ["a", "b", "c"]
    assert found["hair"]["first"] == pytest.approx(np.bincount(truth["hair"].astype(int), minlength=3) / 50)
    assert audit.histograms(Reader(), images, images)["yaw"]["apart"] == 0
    shifted = (images.astype(int) // 4).astype(np.uint8)
    assert audit.histograms(Reader(), images, shifted)["yaw"]["apart"] > 0.5


def test_generator_audit_and_domain_geometry():
    torch.manual_seed(0)
    generator = Generator(16, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 8}).eval()
    domain = Domain(name="toy", train="toy", resolution=16, encoder_size=(4, 8), crop=(4, 12, 0, 16))
    drawn = audit.draw(generator, 7, batch=3)
    assert drawn.shape == (7, 16, 16, 3) and drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - audit.draw(generator, 7)).max() <= 1
    assert audit.draw(generator, 2, domain=domain).shape == (2, 4, 8, 3)
    renders, _, _ = world(40)
    result = audit.audit_generator(generator, renders, Reader(), torch.nn.Flatten(), samples=20)
    assert result["renders"] == 20 and set(result["histograms"]) == {a["name"] for a in SPEC}
    assert result["kid"][0] > 10 * abs(result["kid_of_renders"][0])
    json.dumps(result)


def test_a_real_inverter_fits():
    from restyle_lib.inverter import Inverter
    torch.manual_seed(0)
    generator = Generator(16, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 8}).eval()
    domain = Domain(name="toy", train="toy", resolution=16, encoder_size=(16, 16), backbone="irse_small")
    encoder = Encoder("irse_small", n_styles=6, w_dim=8, input_size=(16, 16), head_channels=4).eval()
    images, truth, masks = world(6)
    inverter = Inverter(encoder, generator, domain)
    result = audit.audit_inversion(inverter, images, truth, masks, Reader(), steps=2)
    assert len(result["l2"]) == 3 and result["images"] == 6 and np.isfinite(result["l2"]).all()


def test_blur_keeps_masses_and_loses_detail():
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(coarse(torch.ones_like(x)), torch.ones_like(x))
    assert coarse(x).var() < 0.05 * x.var()
    assert dataclasses.asdict(audit.Gates())["region_share"] == 0.5


DOMAIN = Domain(name="toy", train="toy", resolution=16, encoder_size=(16, 16))


def eye():
    return audit.feature_network(DOMAIN)[1]


def test_the_features_of_a_domain_without_networks_are_untrained_but_fixed():
    name, network = audit.feature_network(dataclasses.replace(DOMAIN, networks={"perceptual": "gone/away"}))
    assert "untrained" in name
    for a, b in zip(network.state_dict().values(), eye().state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_truncation_costs_variety():
    torch.manual_seed(0)
    generator = Generator(16, z_dim=8, w_dim=8, mapping_layers=1, channels={4: 8, 8: 8, 16: 8})
    generator.estimate_w_mean(100)
    images = audit.draw(generator, 24)
    rows = audit.truncation(generator, images, eye(), (0.0, 0.5, 1.0), count=12)
    assert [row["psi"] for row in rows] == [0.0, 0.5, 1.0]
    assert rows[0]["variety"] == pytest.approx(0, abs=1e-6)
    assert rows[0]["variety"] < rows[1]["variety"] < rows[2]["variety"]
    assert rows[0]["KID"] > rows[2]["KID"]


def test_a_memory_is_as_near_as_a_copy():
    cells = np.random.default_rng(0).integers(0, 256, (52, 2, 2, 3), dtype=np.uint8)
    training, held_out = np.split(cells.repeat(8, 1).repeat(8, 2), [40])
    found = audit.memory(training[5:9], training, held_out, eye())
    assert found["samples"][0].tolist() == [5, 6, 7, 8] and found["samples"][1].max() < 1e-6
    assert len(found["held-out images"][1]) == 12 and len(found["copies"][1]) == 4
    assert found["copies"][1].median() < found["held-out images"][1].median()

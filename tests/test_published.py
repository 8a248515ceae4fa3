"""Published layouts: told apart by content, read in full, refused with a sentence."""
from pathlib import Path

import pytest
import torch

from restyle_lib.checkpoints import published
from restyle_lib.checkpoints.encoder_keys import published_encoder
from restyle_lib.checkpoints.published import load, read_published
from restyle_lib.domains import Domain
from restyle_lib.errors import UserError
from restyle_lib.losses import LatentDiscriminator
from restyle_lib.models.backbones import build_backbone
from restyle_lib.models.encoders import Encoder
from restyle_lib.models.features import FaceEmbedding, MoCo
from restyle_lib.models.stylegan2 import Generator
from restyle_lib.weights import load_inverter

MODULATED = {"conv.weight": "weight", "conv.modulation.weight": "affine.weight",
             "conv.modulation.bias": "affine.bias"}


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return Encoder("resnet34", "pyramid", n_styles=9, w_dim=6, head_channels=5, in_channels=2).eval()


def published_generator(generator):
    """The rosinality layout of a generator, from the table that reads it."""
    own, names = generator.state_dict(), {}
    count = len(generator.to_images) - 1
    for layer in range(generator.config["mapping_layers"]):
        names |= {f"style.{layer + 1}.{kind}": f"mapping.{layer}.{kind}" for kind in ("weight", "bias")}
    convs = ["conv1"] + [f"convs.{index}" for index in range(2 * count)]
    for index, name in enumerate(convs):
        parts = {**MODULATED, "noise.weight": "noise_strength", "activate.bias": "bias"}
        names |= {f"{name}.{theirs}": f"convs.{index}.{ours}" for theirs, ours in parts.items()}
        names[f"noises.noise_{index}"] = f"convs.{index}.noise_const"
    for index, name in enumerate(["to_rgb1"] + [f"to_rgbs.{index}" for index in range(count)]):
        parts = {**MODULATED, "bias": "bias"}
        names |= {f"{name}.{theirs}": f"to_images.{index}.{ours}" for theirs, ours in parts.items()}
    return {theirs: own[ours] for theirs, ours in names.items()} | {"input.input": own["constant"][None]}


def test_encoders_survive_the_published_layout(encoder):
    state = published_encoder(encoder)
    first = {name.split(".")[0] for name in state}
    assert first == {"conv1", "bn1", "relu", "body", "styles", "latlayer1", "latlayer2"}
    assert {f"styles.8.convs.{j}.weight" for j in (0, 2, 4, 6, 8, 10)} <= state.keys()
    again = read_published(state)["encoder"]
    assert again.config == encoder.config
    x = torch.randn(1, 2, 256, 256)
    with torch.no_grad():
        assert torch.equal(again(x), encoder(x))


@pytest.mark.parametrize("average", [[6], [6, 6]])
def test_an_inverter_file_gives_its_encoder_and_generator(encoder, tmp_path, average):
    generator = Generator(16, z_dim=6, w_dim=6, mapping_layers=2, channels={4: 8, 8: 8, 16: 4})
    state = {f"encoder.{name}": value for name, value in published_encoder(encoder).items()}
    state |= {f"decoder.{name}": value for name, value in published_generator(generator).items()}
    latent_avg = torch.randn(average)
    torch.save({"state_dict": state, "latent_avg": latent_avg, "global_step": 3,
                "opts": {"encoder_type": "ProgressiveBackboneEncoder"}}, tmp_path / "a.pt")
    module, config = load(tmp_path / "a.pt", "encoder")
    assert module.progressive and config["architecture"]["n_styles"] == 9 and config["generator"] is None
    assert torch.equal(config["parts"]["generator"].w_mean, latent_avg.expand(6, 6))
    assert not load(tmp_path / "a.pt", "encoder", progressive=False)[0].progressive
    with pytest.raises(UserError, match="encoder and generator, no network of kind 'identity'"):
        load(tmp_path / "a.pt", "identity")


def test_an_inverter_file_serves_a_domain_of_wide_images(tmp_path):
    generator = Generator(256, z_dim=4, w_dim=4, mapping_layers=1, channels={2**n: 4 for n in range(2, 9)})
    encoder = Encoder("resnet34", n_styles=14, w_dim=4, head_channels=3)
    state = {f"encoder.{name}": value for name, value in published_encoder(encoder).items()}
    state |= {f"decoder.{name}": value for name, value in published_generator(generator).items()}
    torch.save({"state_dict": state, "latent_avg": torch.zeros(14, 4)}, tmp_path / "a.pt")
    domain = Domain(name="wide", train="x", resolution=256, crop=(32, 224, 0, 256), encoder_size=(192, 256))
    trajectory = load_inverter(tmp_path / "a.pt", domain)(torch.zeros(1, 3, 192, 256), steps=1)
    assert trajectory.latents.shape == (2, 1, 14, 4) and trajectory.images.shape == (2, 1, 3, 192, 256)


def test_a_generator_file_is_read(tmp_path):
    generator = Generator(8, z_dim=4, w_dim=4, mapping_layers=1, channels={4: 4, 8: 4})
    torch.save({"g_ema": published_generator(generator), "latent_avg": torch.ones(4)}, tmp_path / "g.pt")
    loaded, _ = load(tmp_path / "g.pt", "generator")
    assert torch.equal(loaded(torch.ones(1, 4)), generator(torch.ones(1, 4)).detach())


def test_feature_networks_are_told_apart():
    face, judge = FaceEmbedding(), FaceEmbedding("ir101", affine=False)
    for network in (face, judge):
        state = {name.removeprefix("backbone."): value for name, value in network.state_dict().items()}
        found = read_published(state)
        assert found["identity"].config == network.config and found["trunk"] is found["identity"]
    moco = {f"module.encoder_q.{name}": value for name, value in MoCo().state_dict().items()}
    moco["module.encoder_q.fc.0.weight"] = torch.ones(1)
    assert "moco" in read_published({"epoch": 800, "state_dict": moco})
    assert "latent_discriminator" in read_published(LatentDiscriminator(5, 7).state_dict())


def test_a_resnet34_becomes_a_trunk(encoder):
    own, stages = build_backbone("resnet34", 3).state_dict(), (0, 3, 7, 13, 16)
    state = {"fc.weight": torch.zeros(1000, 512)}
    for name, value in own.items():
        if name.startswith("body."):
            block, rest = name[5:].split(".", 1)
            layer = max(i for i in range(4) if stages[i] <= int(block))
            name = f"layer{layer + 1}.{int(block) - stages[layer]}.{rest}"
        if name != "relu.weight":
            state[name] = value
    trunk = read_published(state)["trunk"]
    report = Encoder("resnet34", n_styles=1, w_dim=4, head_channels=4).load_trunk(trunk.state_dict())
    assert not report["missing"]
    assert all(torch.equal(value, own[name]) for name, value in trunk.backbone.state_dict().items())


def test_incomplete_and_foreign_contents_are_named(encoder):
    state = published_encoder(encoder)
    with pytest.raises(UserError, match=r"complete encoder.*styles.3.convs.2.bias"):
        read_published({name: value for name, value in state.items() if name != "styles.3.convs.2.bias"})
    with pytest.raises(UserError, match=r"327 tensors match, 1 unexpected \(body.99.x\)"):
        read_published(state | {"body.99.x": torch.zeros(1)})
    with pytest.raises(UserError, match=r"no known layout.*holds weight"):
        read_published({"weight": torch.zeros(2)})
    with pytest.raises(UserError, match="no known layout"):
        read_published([1, 2])
    with pytest.raises(UserError, match="latent discriminator: 8 tensors match, 1 unexpected"):
        read_published(LatentDiscriminator(5).state_dict() | {"mlp.9.weight": torch.ones(1)})


def test_files_that_could_run_code_or_are_broken_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"state_dict": {}, "opts": Path("x")}, path)
    with pytest.raises(UserError, match="can run code"):
        read_published(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="x.pt"):
        read_published(path)
    torch.save({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(UserError, match="damaged"):
        read_published(path)
    with pytest.raises(UserError, match="cannot read"):
        read_published(tmp_path / "nowhere.pt")


def test_resizing_keeps_the_depth_of_the_heads(encoder):
    assert encoder.resize((192, 256))(torch.zeros(1, 2, 192, 256)).shape == (1, 9, 6)
    with pytest.raises(UserError, match="cannot take"):
        encoder.resize((512, 512))
    encoder.resize((256, 256))


def test_every_layout_has_its_own_telling_tensor():
    keys = [row[1] for row in published.LAYOUTS]
    assert len(set(keys)) == len(keys)

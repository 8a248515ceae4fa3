"""inspect, --check and convert; published files of every kind, and those that are of another."""
import argparse
import io
import zipfile

import numpy as np
import pytest
import torch
from test_published import published_generator

from restyle_lib import directions, weights
from restyle_lib.__main__ import main
from restyle_lib.checkpoints import inspect, own
from restyle_lib.checkpoints.check import check
from restyle_lib.checkpoints.encoder_keys import published_encoder
from restyle_lib.checkpoints.published import FOREIGN, read_file, read_published
from restyle_lib.domains import Domain
from restyle_lib.errors import UserError
from restyle_lib.losses import LatentDiscriminator
from restyle_lib.models.encoders import Encoder
from restyle_lib.models.features import FaceEmbedding
from restyle_lib.models.lpips import Lpips
from restyle_lib.models.stylegan2 import Discriminator, Generator, fingerprint
from restyle_lib.training.inherit import networks_of


def generator(resolution=16, w_dim=6):
    torch.manual_seed(0)
    channels = {2**power: 4 for power in range(2, 9) if 2**power <= resolution}
    network = Generator(resolution, z_dim=w_dim, w_dim=w_dim, mapping_layers=2, channels=channels)
    network.estimate_w_mean(500)
    return network.eval()


def published_discriminator(critic):
    """rosinality's layout of a discriminator."""
    names = {"from_image.weight": "convs.0.0.weight", "from_image.bias": "convs.0.1.bias",
             "last.weight": "final_conv.0.weight", "last.bias": "final_conv.1.bias"}
    for index, name in enumerate(("hidden", "logit")):
        names |= {f"{name}.{kind}": f"final_linear.{index}.{kind}" for kind in ("weight", "bias")}
    for block in range(len(critic.blocks)):
        for ours, parts in {"first": ("conv1.0", "conv1.1"), "second": ("conv2.1", "conv2.2"),
                            "skip": ("skip.1", "")}.items():
            names |= {f"blocks.{block}.{ours}.{kind}": f"convs.{block + 1}.{part}.{kind}"
                      for kind, part in zip(("weight", "bias"), parts, strict=True)}
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return ({names[name]: value for name, value in critic.state_dict().items()}
            | {"convs.1.conv2.0.kernel": torch.outer(taps, taps)})


@pytest.fixture(scope="module")
def inverter(tmp_path_factory):
    """An official inverter file of 32 pixels, with random weights: (path, encoder, generator)."""
    network = generator(32)
    torch.manual_seed(1)
    encoder = Encoder("resnet34", n_styles=8, w_dim=6, head_channels=5, input_size=(32, 32)).eval()
    encoder.heads[0].linear_weight.data *= 30               # far off, so that no step can help
    state = {f"encoder.{name}": value for name, value in published_encoder(encoder).items()}
    state |= {f"decoder.{name}": value for name, value in published_generator(network).items()}
    path = tmp_path_factory.mktemp("files") / "inverter.pt"
    torch.save({"state_dict": state, "latent_avg": network.w_mean[0], "opts": {"encoder_type": "x"},
                "optimizer": {}, "discriminator_state_dict": LatentDiscriminator(6).state_dict()}, path)
    return path, encoder, network


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_file_gives_both_networks(tmp_path, capsys):
    network, critic = generator(), Discriminator(16, channels={4: 3, 8: 4, 16: 2}).eval()
    torch.save({"g": {}, "g_ema": published_generator(network), "d": published_discriminator(critic),
                "g_optim": {"state": {}}, "args": argparse.Namespace(size=16)}, tmp_path / "ros.pt")
    found = networks_of(tmp_path / "ros.pt")
    again = Discriminator(16, channels={4: 3, 8: 4, 16: 2}).eval()
    again.load_state_dict(found["discriminator"])
    x = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(x), critic(x))
    assert torch.equal(found["generator"]["constant"], network.constant) and found["ema"].keys()
    assert main(["inspect", str(tmp_path / "ros.pt")]) == 0
    told = capsys.readouterr().out
    for words in ("StyleGAN2 generator (rosinality)", "16 x 16, 3 channels, 6 styles of 6", "discriminator:",
                  "w mean: the file holds none: the mean of 10,000 mapped draws of seed 0",
                  "tensors match, 0 missing", "not read: g_optim, args"):
        assert words in told, words


def test_an_inverter_survives_the_conversion(inverter, tmp_path, capsys):
    path, encoder, network = inverter
    assert main(["convert", str(path), str(tmp_path / "out")]) == 0
    assert "latent_discriminator: " in capsys.readouterr().out
    config = own.read_config(tmp_path / "out/encoder")
    assert config["generator"] == fingerprint(network) and config["facts"]["w_mean"] == "of the file"
    assert equal(weights.load_generator(tmp_path / "out"), network)
    domain = Domain(name="wide", train="x", resolution=32, crop=(4, 28, 0, 32), encoder_size=(24, 32))
    again = weights.load_inverter(tmp_path / "out", domain)
    assert equal(again.encoder, encoder) and again.fingerprint == fingerprint(network)
    x = torch.rand(1, 3, 24, 32) * 2 - 1
    assert torch.equal(again(x, 1).latents, weights.load_inverter(path, domain)(x, 1).latents)
    assert main(["convert", str(path), str(tmp_path / "out")]) == 1
    assert "is there already" in capsys.readouterr().err


def test_a_single_network_becomes_one_folder(tmp_path):
    state = {name: v for name, v in Lpips("squeeze").state_dict().items() if name.startswith("features.")}
    torch.save(state, tmp_path / "f.pth")
    assert main(["convert", str(tmp_path / "f.pth"), str(tmp_path / "squeeze")]) == 0
    again = weights.load_network(tmp_path / "squeeze", "lpips")
    assert equal(again, read_published(state)["lpips"]) and again.config == {"network": "squeeze"}
    assert own.model_class("identity", "FaceEmbedding") is FaceEmbedding
    with pytest.raises(UserError, match="did you mean 'FaceEmbedding'"):
        own.model_class("identity", "FaceEmbeding")


def test_ganinverters_arrangement_is_read(inverter):
    content = read_file(inverter[0])
    state = content["state_dict"]
    moved = {"encoder": {k: v for k, v in state.items() if k.startswith("encoder.")},
             "decoder": {k[8:]: v for k, v in state.items() if k.startswith("decoder.")}}
    moved["encoder"]["latent_avg"] = content["latent_avg"]
    assert fingerprint(read_published(moved)["generator"]) == fingerprint(inverter[2])


def test_check_passes_what_works(tmp_path):
    found = list(check("avatars/restyle-psp", tmp_path / "a.png", count=4, steps=3))
    assert all(finding.passed for finding in found), "\n".join(map(str, found))
    assert [finding.name for finding in found] == ["average style", "range", "error falls with steps", "crop",
                                                   "range of the input", "colour order", "noise"]
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_check_fails_what_does_not(inverter, tmp_path, capsys):
    words = ["inspect", str(inverter[0]), "--check", "--samples", "2", "--image", str(tmp_path / "a.png"),
             "--device", "cpu"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "FAIL  error falls with steps" in out and "(the best tried)" in out
    assert "8 styles of 6, 6 channels: sees an image and its reconstruction" in out
    assert "does not work as it is" in err and "Traceback" not in err
    network = generator()
    network.set_w_mean(torch.full((6,), 9.0))
    own.save_model(tmp_path / "g", network, "generator")
    average, *_ = check(tmp_path / "g", tmp_path / "b.png", count=2)
    assert average.name == "average style" and not average.passed


def test_sizes_that_do_not_fit_are_both_told(inverter, tmp_path):
    small = generator(16)
    state = read_file(inverter[0])["state_dict"]
    state = {k: v for k, v in state.items() if k.startswith("encoder.")}
    torch.save({k[8:]: v for k, v in state.items()}, tmp_path / "e.pt")
    state |= {f"decoder.{name}": value for name, value in published_generator(small).items()}
    torch.save({"state_dict": state, "latent_avg": torch.zeros(6)}, tmp_path / "x.pt")
    assert "the encoder gives 8 styles of 6, the generator takes 6 of 6" in "".join(
        inspect.describe(tmp_path / "x.pt"))
    with pytest.raises(UserError, match="generator's resolution is 32, the domain avatars says 64"):
        weights.load_inverter(inverter[0], "avatars")
    domain = Domain(name="d", train="x", resolution=32, encoder_size=(32, 32))
    with pytest.raises(UserError, match="generator's resolution is 16, the domain d says 32"):
        weights.load_inverter(inverter[0], domain, generator=small)
    with pytest.raises(UserError, match="style width is 6, .* need 12"):
        weights.load_inverter(inverter[0], domain, generator=generator(32, w_dim=12))
    torch.save({"g_ema": published_generator(small)}, tmp_path / "g.pt")
    with pytest.raises(UserError, match="it holds generator, no network of kind 'encoder'"):
        weights.load_inverter(tmp_path / "g.pt", domain)
    with pytest.raises(UserError, match="it holds encoder, no network of kind 'generator'"):
        weights.load_generator(tmp_path / "e.pt")


@pytest.mark.parametrize("name", [
    "decoder.synthesis.input.freqs", "synthesis.layer0.epilogue.apply_noise.weight", "block3.conv1.weight",
    "hypernet.refinement_blocks.0.x", "encoder.output_layer_2.3.weight", "lin0.model.1.weight"])
def test_foreign_networks_are_named(name):
    with pytest.raises(UserError) as error:
        read_published({"state_dict": {name: torch.zeros(2)}})
    assert str(error.value) in [words for _, words in FOREIGN]


class Closed:
    """What no file of tensors holds."""

    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_torch_files_are_refused(tmp_path, capsys, zipped):
    path = tmp_path / "x.pt"
    for content in (Closed(), {"state_dict": {"a": Closed()}}, {"g_ema": {}, "latent_avg": Closed()},
                    {"opts": [Closed()], "convs.0.conv.weight": torch.zeros(1)}):
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        for words in (["inspect", str(path)], ["convert", str(path), str(tmp_path / "out")],
                      ["invert", str(path), "--model", str(path), "--out", str(tmp_path / "out")]):
            assert main(words) == 1
            out, err = capsys.readouterr()
            assert "ran" not in out.split() and err.count("\n") == 1 and "can run code" in err
    with pytest.raises(UserError, match="plain tensors"):
        directions.load(path)
    torch.save({"state_dict": {"synthesis.L0_36_512.weight": torch.zeros(1)}, "opts": Closed()}, path)
    with pytest.raises(UserError, match="a StyleGAN3 network"):
        read_published(path)
    assert not (tmp_path / "out").exists()


def test_archives_of_other_kinds_are_named(tmp_path):
    for member, kind in [("m/constants.pkl", "script"), ("a.npy", "npz"), ("a.png", "archive")]:
        with zipfile.ZipFile(tmp_path / "x", "w") as archive:
            archive.writestr(member, b"x")
        assert inspect.kind_of(tmp_path / "x") == kind
    torch.save({"w": torch.zeros(1000)}, tmp_path / "cut.pt")
    data = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[:900])
    with pytest.raises(UserError, match="the download stopped early; fetch it again"):
        weights.load_generator(tmp_path / "cut.pt")


def test_directions_are_read_by_content(tmp_path):
    row = np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32)
    np.save(tmp_path / "smile.npy", row)
    stream = io.BytesIO()
    np.savez(stream, lat_comp=np.stack([row, 2 * row]), lat_stdev=np.array([2.0, 1.0]))
    (tmp_path / "pca.pt").write_bytes(stream.getvalue())
    assert torch.equal(directions.load(tmp_path / "smile.npy")["smile"].vector, torch.from_numpy(row[0]))
    assert directions.load(tmp_path / "pca.pt")["pc0"].unit == 2.0
    np.save(tmp_path / "evil.npy", np.array([Closed()]), allow_pickle=True)
    with pytest.raises(UserError, match="no file of plain arrays"):
        directions.load(tmp_path / "evil.npy")
    assert "1 direction for latents [6]" in inspect.describe(tmp_path / "smile.npy")[0]
    assert "2 directions for latents [6] (GANSpace components)" in inspect.describe(tmp_path / "pca.pt")[0]

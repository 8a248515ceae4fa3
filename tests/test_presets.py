"""The tables of training settings."""
from dataclasses import asdict

import pytest

from restyle_lib.__main__ import main
from restyle_lib.domains import load_domain
from restyle_lib.errors import UserError
from restyle_lib.models.encoders import Encoder
from restyle_lib.training import commands, dryrun, presets


def test_presets():
    for size in ("published", "embedded", "gpu"):
        for method in presets.methods():
            config = presets.encoder(method, size)
            assert (config.scheme == "restyle") == method.startswith("restyle")
            assert config.progressive == method.endswith("e4e") == (config.adversarial > 0)
    assert presets.encoder("restyle-psp", "published", batch=4).batch == 4
    assert presets.feature("identity", seed=9).seed == 9
    with pytest.raises(UserError, match="did you mean 'psp'"):
        presets.encoder("pspp")


def test_a_row_for_each_encoder_says_what_it_is_trained_with():
    rows = presets.rows()
    assert len({tuple(row) for row in rows}) == 1 and len(rows) == len(presets.ENCODERS)
    for row in rows:
        config = presets.encoder(row["method"], row["size"])
        assert {name: getattr(config, name) for name in row if name not in ("size", "method")} == {
            name: value for name, value in row.items() if name not in ("size", "method")}


def test_the_gpu_shows_as_many_images_in_larger_batches():
    for method in presets.methods():
        small, large = presets.encoder(method), presets.encoder(method, "gpu")
        assert small.batch * small.iterations <= 1.01 * large.batch * large.iterations
    assert presets.generator("gpu").amp == "bf16" and presets.generator("tiny", resolution=16).amp == ""


def test_a_control_differs_from_its_method_in_what_it_controls():
    ours, single, one = (asdict(presets.encoder(name)) for name in ("psp", "psp-single", "restyle-one"))
    assert {name for name in ours if ours[name] != single[name]} == {"head"}
    assert {name for name in ours if ours[name] != one[name]} == {"head", "scheme"}


@pytest.mark.parametrize("name", ["avatars", "minicars"])
def test_heads_have_the_width_of_their_domain_and_as_many_parameters(name):
    domain, counts = load_domain(name), {}
    for method in ("restyle-psp", "psp"):
        config = presets.encoder(method)
        encoder = Encoder(domain.backbone, config.head, n_styles=10, w_dim=192, in_channels=3,
                          input_size=domain.encoder_size, head_channels=config.width(domain))
        counts[method] = sum(p.numel() for p in encoder.parameters())
    assert presets.encoder("restyle-psp").width(domain) == domain.head_channels
    assert counts["psp"] == pytest.approx(counts["restyle-psp"], rel=0.03), "to a channel of the heads"
    assert presets.encoder("psp", head_channels=8).width(domain) == 8
    assert presets.encoder("psp", "published").width(load_domain("ffhq")) is None


PUBLISHED = (   # domain, backbone, third loss, published iterations of ReStyle-pSp, last offset of e4e
    ("ffhq",          "irse50",   {"identity": 0.1},                 110_000, "17 from 52,000"),
    ("stanford-cars", "resnet34", {"moco": 0.5},                      75_000, "15 from 48,000"),
    ("afhq-wild",     "resnet34", {"moco": 0.5},                      40_000, "15 from 48,000"),
    ("lsun-horse",    "resnet34", {"moco": 0.5},                     110_000, "13 from 44,000"),
    ("lsun-church",   "resnet34", {"moco": 0.5},                     150_000, "13 from 44,000"),
    ("ffhq-toonify",  "irse50",   {"identity": 1.0, "w_norm": 0.025},  6_000, "17 from 52,000"),
)


@pytest.mark.parametrize("name, backbone, third, iterations, offset", PUBLISHED)
def test_a_dry_run_of_every_published_domain(name, backbone, third, iterations, offset, monkeypatch):
    domain = load_domain(name)
    assert domain.losses == {"l2": 1.0, "lpips": 0.8} | third and domain.backbone == backbone
    config = commands.encoder_settings("restyle-psp", domain, size="published")
    assert (config.iterations, config.batch, config.steps, config.lr) == (iterations, 8, 5, 1e-4)
    monkeypatch.setattr(dryrun, "speed", lambda device: 1e13)
    told = "\n".join(commands.dry_run("restyle-e4e", name, ["batch=1"], size="published", device="cpu"))
    assert offset in told and f"encoder     restyle-e4e: {backbone}, head single, progressive" in told
    assert "delta_norm 0.0002, adversarial 0.1" in told and "hours on" in told and "GiB in float32" in told


def test_a_dry_run_counts_what_the_networks_are(capsys, monkeypatch):
    monkeypatch.setattr(dryrun, "speed", lambda device: 1e12)
    words = "train encoder restyle-psp --domain stanford-cars --size published --dry-run --device cpu batch=2"
    assert main([*words.split(), "iterations=50"]) == 0
    told = capsys.readouterr().out
    # body and heads of ResNet34 with 16 styles, the generator at 512, as the published ones
    assert f"encoder {(21_294_144 + 155_230_208) / 1e6:.1f} M, generator 30.3 M" in told
    assert "50 iterations of 2 images" in told and "8,144 images" in told
    assert main(["train", "encoder", "psp", "--domain", "avatars", "--dry-run"]) == 0, "with a reader's loss"
    assert "attributes 2" in capsys.readouterr().out
    domain = load_domain("lsun-horse")
    one, two = (dryrun.costs(domain, presets.encoder("restyle-psp", "published", batch=n)) for n in (1, 2))
    assert 1.9 < two["flop"] / one["flop"] < 2.01
    assert 1.7 < two["kept"] / one["kept"] < 2.0                 # some of it, as scaled weights, is for all
    assert main(["train", "encoder", "psp"]) == 2 and "Missing option '--out'" in capsys.readouterr().err


def test_the_speed_of_this_device_is_measured():
    assert dryrun.speed("cpu", seconds=0.0) > 1e6 and dryrun.room("cpu") > 2**28

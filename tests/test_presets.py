"""The tables of training settings."""
import pytest

from restyle_lib.errors import UserError
from restyle_lib.training import presets


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
    ours, single, one = (presets.encoder(name).options() for name in ("psp", "psp-single", "restyle-one"))
    assert {name for name in ours if ours[name] != single[name]} == {"head"}
    assert {name for name in ours if ours[name] != one[name]} == {"head", "scheme"}

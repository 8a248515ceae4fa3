"""Every method behind one signature, by name; foreign ones checked; results kept."""
import dataclasses
import sys

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from restyle_lib.checkpoints.own import save_model
from restyle_lib.domains import load_domain
from restyle_lib.errors import UserError
from restyle_lib.inverter import Inverter
from restyle_lib.methods import kept, registry
from restyle_lib.methods.domain_guided import DomainGuided
from restyle_lib.methods.foreign import Function, Results
from restyle_lib.methods.naive import NaiveRefeeding
from restyle_lib.methods.onepass import EncoderMethod
from restyle_lib.methods.optimise import Optimise
from restyle_lib.models.encoders import Encoder
from restyle_lib.pixels import encode_png, to_pixels
from restyle_lib.training.presets import methods as encoder_methods


def encoder_folder(folder, single=False):
    """An encoder of the tiny generator on disk, of the real class."""
    torch.manual_seed(4)
    network = tiny.generator()
    encoder = Encoder("irse_small", "single", False, network.n_styles, network.w_dim, 3 if single else 6,
                      (8, 8), 8)
    inverter = Inverter(encoder.eval(), network, tiny.domain())
    save_model(folder, encoder, "encoder", generator=inverter.fingerprint, half=False)
    return str(folder), inverter


def test_an_encoder_is_a_method_of_fixed_steps():
    images = tiny.images()
    for single, steps in ((True, 1), (False, 5)):
        inverter = tiny.inverter(single=single)
        found = EncoderMethod(inverter=inverter)(images, inverter.generator, inverter.domain)
        assert found.step.tolist() == list(range(steps + 1)) and (found.seconds.diff(dim=0) >= 0).all()
        assert torch.equal(found.images, inverter(images, steps).images)
    with pytest.raises(UserError, match="accepted: 1, as it sees the image alone"):
        EncoderMethod(inverter=tiny.inverter(single=True), steps=2)
    with pytest.raises(UserError, match="the one given is"):
        EncoderMethod(inverter=inverter)(images, tiny.generator(seed=5), inverter.domain)
    assert torch.equal(EncoderMethod(inverter=inverter)(images, tiny.generator()).images, found.images)


def test_naive_refeeding_replaces_the_latent_by_the_code_of_its_own_image():
    inverter, images = tiny.inverter(single=True), tiny.images()
    found = NaiveRefeeding(inverter=inverter, steps=4)(images, inverter.generator, inverter.domain)
    ordinary = inverter(images, steps=1)
    assert torch.equal(found.images[:2], ordinary.images)
    assert torch.equal(found.latents[0], ordinary.latents[0])
    for t in range(1, 4):
        code = inverter.start + inverter.encoder(found.images[t])
        torch.testing.assert_close(found.latents[t + 1], code, rtol=0, atol=1e-6)
        assert torch.equal(found.images[t + 1], inverter.synthesize(found.latents[t + 1]))
    with pytest.raises(UserError, match="needs an encoder of the image alone"):
        NaiveRefeeding(inverter=tiny.inverter())


def test_specs_give_methods(tmp_path):
    network, domain, images = tiny.generator(), tiny.domain(), tiny.images(2)
    restyle, _ = encoder_folder(tmp_path / "restyle")
    onepass, _ = encoder_folder(tmp_path / "onepass", single=True)
    quick = dict(steps=2, perceptual=0)
    specs = {restyle: (EncoderMethod, dict(steps=3)), onepass: (EncoderMethod, {}),
             f"naive:{onepass}": (NaiveRefeeding, dict(steps=2)), f"hybrid:{restyle}": (Optimise, quick),
             f"domain-guided:{onepass}": (DomainGuided, quick), "optimise-w": (Optimise, quick),
             "optimise-w+": (Optimise, quick)}
    for spec, (kind, settings) in specs.items():
        method = registry.get(spec, domain, generator=network, **settings)
        assert type(method) is kind and method.name == spec
        found = method(images, network, domain)
        assert found.images.shape[1:] == images.shape and len(found.step) == len(found.images)
        assert found.space == ("w" if spec == "optimise-w" else "w+") and found.seconds is not None
        inverter = Inverter(tiny.TinyEncoder(), network, domain)
        torch.testing.assert_close(inverter.rerender(found), found.images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec, settings, message", [
    ("optimize-w", {}, "did you mean 'optimise-w'"), ("tiny/psp", {}, "train encoder psp --domain tiny"),
    ("hybrid:tiny/idinvert", {}, "train encoder idinvert"), ("naive:tiny/nothing", {}, "unknown method"),
    ("optimise-w", {"step": 3}, "did you mean 'steps'"), ("optimise-w", {"noise": "none"}, "accepted: fixed"),
    ("optimise-w+", {}, "names no perceptual network"), ("no_such.module:f", {}, "cannot be imported"),
    ("json:dmps", {}, "did you mean 'dumps'")])
def test_what_is_not_there_is_named(spec, settings, message):
    with pytest.raises(UserError, match=message):
        registry.get(spec, tiny.domain(), generator=tiny.generator(), **settings)(
            tiny.images(1), tiny.generator(), tiny.domain())


def test_a_domain_of_ones_own_is_called_by_its_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("{name: mine, train: a, resolution: 8, encoder_size: [8, 8]}")
    domain = load_domain(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match=f"train encoder psp --domain {tmp_path}/mine.yaml --out"):
        registry.get("mine/psp", domain)
    assert load_domain("avatars").called == "avatars" and tiny.domain().called == "tiny"


def test_every_encoder_preset_has_a_command():
    for name in encoder_methods():
        with pytest.raises(UserError, match=f"train encoder {name} --domain tiny"):
            registry.get(f"tiny/{name}", tiny.domain())


def foreign(images, generator, domain, change="", steps=2):
    """A method of somebody: the average style every time, or what `change` says."""
    found = tiny.inverter()(images, steps)
    return {"none": lambda: None, "tensor": lambda: found.images, "batch": lambda: found.select([0]),
            "nan": lambda: found.replace(images=torch.where(torch.arange(3).view(3, 1, 1, 1, 1) == 1,
                                                            torch.nan, found.images)),
            "styles": lambda: found.replace(latents=found.latents[:, :, :2]),
            "order": lambda: found.replace(step=torch.tensor([0, 2, 1])), "": lambda: found}[change]()


def test_a_foreign_function_is_called_and_checked():
    images, network, domain = tiny.images(), tiny.generator(), tiny.domain()
    sys.modules["somebody"] = sys.modules[__name__]
    try:
        method = registry.get("somebody:foreign", domain, steps=3)
        assert method.name == "somebody:foreign" and len(method(images, network, domain).images) == 4
    finally:
        del sys.modules["somebody"]
    for change, message in {"none": "returned nothing; accepted", "tensor": "returned a Tensor",
                            "batch": r"accepted: \[rows, 3, 3, 8, 8\]", "order": "accepted: rising",
                            "nan": "images that are not finite, first in row 1 of image 0",
                            "styles": "returned latents"}.items():
        with pytest.raises(UserError, match=message):
            Function(foreign, change=change)(images, network, domain)


def test_a_folder_of_results_is_a_method(tmp_path):
    images, network, domain = tiny.images(), tiny.generator(), tiny.domain()
    for step in (0, 2, 10):
        (tmp_path / str(step)).mkdir()
        for b, pixels in enumerate(to_pixels(images * step / 10)):
            (tmp_path / str(step) / f"{'cab'[b]}.png").write_bytes(encode_png(pixels))
    method = registry.get(str(tmp_path), domain, names=["c", "a.png", "b"])
    found = method(images, network, domain)
    assert found.step.tolist() == [0, 2, 10] and found.latents is None and found.seconds is None
    torch.testing.assert_close(found.images[-1], images, rtol=0, atol=1 / 255)
    assert torch.equal(Results(tmp_path)(images, network, domain).images, found.images[:, [1, 2, 0]])
    (tmp_path / "times.csv").write_text("step,seconds\n0,0\n2,0.5\n10,3\n")
    assert kept.run(method, images, network, domain).seconds.tolist() == [[0] * 3, [0.5] * 3, [3] * 3]
    (tmp_path / "times.csv").write_text("step,seconds\n0,0\n")
    with pytest.raises(UserError, match="lacks the step 2"):
        method(images, network, domain)
    with pytest.raises(UserError, match="holds 3 images, 2 are asked for"):
        Results(tmp_path)(images[:2], network, domain)
    with pytest.raises(UserError, match="lacks the image d"):
        Results(tmp_path, ["c", "a", "d"])(images, network, domain)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "2" / "a.png")
    with pytest.raises(UserError, match="too small"):
        method(images, network, domain)
    with pytest.raises(UserError, match="holds no results"):
        Results(tmp_path / "2")


def test_kept_results_are_not_computed_again(tmp_path):
    inverter, images, calls = tiny.inverter(), tiny.images(5), []

    class Counting(EncoderMethod):
        def __call__(self, images, *parts):
            calls.append(len(images))
            return super().__call__(images, *parts)

    def run(count=5, steps=2, **changes):
        method = Counting(inverter=dataclasses.replace(inverter, **changes), steps=steps)
        return kept.run(method, images[:count], inverter.generator, inverter.domain, tmp_path, batch=2,
                        progress=False)

    three = run(3)
    assert calls == [2, 1] and len(three) == 3
    five = run()
    assert calls == [2, 1, 2] and torch.equal(five.images[:, :3], three.images)
    again = run()
    assert calls == [2, 1, 2] and torch.equal(again.images, five.images)
    assert torch.equal(again.seconds, five.seconds) and again.generator == inverter.fingerprint
    torch.testing.assert_close(five.images, inverter(images, 2).images, rtol=0, atol=1e-6)
    run(1, steps=3)
    run(1, encoder=tiny.TinyEncoder(scale=0.01))
    assert calls == [2, 1, 2, 1, 1]
    kept_file = sorted(tmp_path.glob("*/*.npz"))[0]
    kept_file.write_bytes(kept_file.read_bytes()[:50])
    run()
    assert sum(calls[5:]) in (0, 1)


def test_the_same_image_twice_is_computed_once(tmp_path):
    inverter, images = tiny.inverter(), tiny.images(1).expand(3, -1, -1, -1)
    found = kept.run(EncoderMethod(inverter=inverter, steps=1), images, inverter.generator, inverter.domain,
                     tmp_path, progress=False)
    assert len(found) == 3 and len(list(tmp_path.glob("*/*.npz"))) == 1

"""A worked example of a domain of your own: grey 16-bit plates of 256 pixels, two of each patient, by the
command line from files to an inversion and to what the generator could not draw. Not for diagnosis."""
import json

import numpy as np
import pytest
from PIL import Image

import restyle_lib as rl
from restyle_lib import data, input_check, metrics
from restyle_lib.__main__ import main
from restyle_lib.domains import MANIFESTS
from restyle_lib.training import checkup, presets

WINDOW = 500, 3500                                        # stored values that are black and white
TEMPLATES = {
    "dataset": {"MY_DATASET": "plates", "MY_IMAGES": "images", "channels: 3": "channels: 1",
                "attributes: null": "attributes: patients.csv", "group: null": "group: patient",
                "what one may do with the images, and what not": "drawn by a test; not for diagnosis",
                "window: null": f"window: {list(WINDOW)}"},
    "domain": {"MY_DATASET": "plates", "MY_DOMAIN": "plates", "channels: 3": "channels: 1",
               "resolution: 64": "resolution: 256", "[0, 64, 0, 64]": "[0, 256, 0, 256]",
               "head_channels: 64": "head_channels: 8"},
}


def plate(patient, side):
    """A bright ring (the patient's) with a spot (of the side), dark outside: uint16 [256, 256]."""
    y, x = np.mgrid[:256, :256] - 128
    ring = np.exp(-((np.hypot(x, y * (1 + patient % 5 / 10)) - 60 - patient) / 20) ** 2)
    spot = np.exp(-((x - 40 * side) ** 2 + y ** 2) / 300)
    return np.uint16(WINDOW[0] + (WINDOW[1] - WINDOW[0]) * np.clip(0.1 + 0.7 * ring + 0.4 * spot, 0, 1))


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """The folder of the images and of two YAML files, filled in from the templates."""
    folder, rows = tmp_path_factory.mktemp("plates"), ["image,patient"]
    (folder / "images").mkdir()
    for i in range(20):
        Image.fromarray(plate(i // 2, 2 * (i % 2) - 1)).save(folder / "images" / f"{i:02d}.png")
        rows.append(f"{i:02d}.png,{i // 2}")
    (folder / "images" / "patients.csv").write_text("\n".join(rows))
    for name, answers in TEMPLATES.items():
        text = (MANIFESTS / "templates" / f"{name}.yaml").read_text(encoding="utf-8")
        for blank, answer in answers.items():
            assert blank in text, f"the template has no '{blank}'"
            text = text.replace(blank, answer)
        (folder / f"{'plates' if name == 'dataset' else 'domain'}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_from_files_to_what_the_generator_cannot_draw(plates, tmp_path, capsys):
    domain = rl.load_domain(plates / "domain.yaml")
    dataset = domain.dataset("train")
    assert main(["data", "verify", str(plates / "plates.yaml")]) == 0, capsys.readouterr()
    test = dataset.split("test")
    numbers = {split: [int(name[:2]) for name in dataset.split(split).names] for split in ("train", "test")}
    patients = [{number // 2 for number in found} for found in numbers.values()]
    assert not set.intersection(*patients) and sum(map(len, numbers.values())) == 20, "patients kept apart"
    images = data.images(dataset, "train", domain.crop_size)[:2]
    assert images.shape == (2, 256, 256, 1)
    first = numbers["train"][0]
    stored = plate(first // 2, 2 * (first % 2) - 1).astype(float)
    wanted = 255 * (stored - WINDOW[0]) / (WINDOW[1] - WINDOW[0])
    assert np.abs(images[0, ..., 0] - wanted).max() <= 1, "the window says what is black and white"

    widths = "channels={4: 8, 8: 8, 16: 8, 32: 8, 64: 4, 128: 4, 256: 4}"
    common = ["--domain", str(plates / "domain.yaml"), "--device", "cpu"]
    small = ["z_dim=8", "w_dim=8", "mapping_layers=1", widths, "batch=2", "total_images=2", "reuse_fakes=no"]
    assert main(["train", "generator", *common, "--out", str(tmp_path / "g"), *small]) == 0
    generator = rl.load_generator(tmp_path / "g" / "generator")
    assert (generator.resolution, generator.image_channels) == (256, 1)
    given = ["--generator", str(tmp_path / "g" / "generator")]
    few = ["--trunk", "none", "iterations=1", "batch=2", "steps=2"]
    assert main(["train", "encoder", "restyle-psp", *common, *given, "--out", str(tmp_path / "e"), *few]) == 0

    out = tmp_path / "out"
    words = [str(plates / "images" / name) for name in test.names[:2]]
    assert main(["invert", *words, "--model", str(tmp_path / "e" / "last"), *common, *given, "--steps", "2",
                 "--out", str(out)]) == 0, capsys.readouterr()
    with Image.open(out / test.names[0] / "step_2.png") as drawn:
        assert drawn.mode == "L" and drawn.size == (256, 256)
    settings = json.loads((out / "invert.json").read_text())
    assert settings["window"] == list(WINDOW), "the dataset's, unasked"

    two = data.images(dataset, "train", domain.encoder_size)[:2]
    config = presets.encoder("restyle-psp", batch_norm="train", lr=5e-3)
    learnt = checkup.overfit(two, config, iterations=4, domain=domain, generator=generator, networks={})
    assert learnt["curve"][-1] < learnt["curve"][0], "learning by heart, begun"

    inverter = rl.load_inverter(tmp_path / "e" / "last", domain, generator)
    x = rl.domain_images(domain, count=1)
    latents = inverter(x, 2).latents[-1]
    best = input_check.best_drawn(inverter, x, latents, steps=3)
    maps = [metrics.missed(x, image) for image in best.images]
    assert maps[-1].shape == (1, 64, 64) and maps[-1].mean() < maps[0].mean()

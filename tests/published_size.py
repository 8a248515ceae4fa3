"""An official-format ReStyle file of the published FFHQ size, made with random weights: how long it takes to
load and to invert one image of 1024 px with 5 steps, and the peak memory. Needs 1 GB of disk, some minutes:

    python tests/published_size.py
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = {"load_s": 20, "invert_s": 20, "peak_gb": 7}
CHILD = """
import json, resource, sys, time
begun = time.perf_counter()
import torch
import restyle_lib as rl
from restyle_lib.invert import invert
file, image, out = sys.argv[1:]
imported = time.perf_counter()
inverter = rl.load_inverter(file, "ffhq")
loaded = time.perf_counter()
summary = invert([image], inverter, out, steps=5, progress=False)
done = time.perf_counter()
summary.check()
print(json.dumps({"import_s": imported - begun, "load_s": loaded - imported, "invert_s": done - loaded,
                  "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                  "threads": torch.get_num_threads()}))
"""


def write_file(path, seed=0):
    """A ReStyle-pSp checkpoint of faces, float32, in the published layout."""
    import torch
    from test_published import published_generator

    from restyle_lib.checkpoints.encoder_keys import published_encoder
    from restyle_lib.models.encoders import Encoder
    from restyle_lib.models.stylegan2 import Generator

    torch.manual_seed(seed)
    encoder, generator = Encoder("irse50"), Generator(1024)
    for heads in encoder.heads:
        heads.linear_weight.data.mul_(0.05)                       # residuals that stay near the average style
    state = {f"encoder.{name}": value.clone() for name, value in published_encoder(encoder).items()}
    state |= {f"decoder.{name}": value for name, value in published_generator(generator).items()}
    torch.save({"state_dict": state, "latent_avg": torch.randn(18, 512) * 0.1,
                "opts": {"encoder_type": "BackboneEncoder", "output_size": 1024}}, path)


def write_image(path, side=1024):
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[:side, :side] / 60
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(x * y / 9)], -1)
    Image.fromarray(np.uint8(127 + 100 * waves)).save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="Keep the file here, and take it from here.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        file, image, out = folder / "restyle.pt", Path(temporary) / "face.png", Path(temporary) / "out"
        if not file.exists():
            write_file(file)
        write_image(image)
        done = subprocess.run([sys.executable, "-c", CHILD, str(file), str(image), str(out)], text=True,
                              cwd=HERE.parent, capture_output=True, check=False,
                              env={**os.environ, "PYTHONPATH": "."})
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        for name, value in found.items():
            told = f", wanted below {TARGETS[name]}" if name in TARGETS else ""
            print(f"{name}: {value:.1f}{told}")
        kept = ("metrics.csv", "face.png/strip.png", "face.png/trajectory.npz", "face.png/step_5.png")
        there = [name for name in kept if (out / name).stat().st_size]
        print(f"written: {', '.join(there)}; the file has {file.stat().st_size / 1e6:.0f} MB")
        sys.exit(any(found[name] >= bound for name, bound in TARGETS.items()))


if __name__ == "__main__":
    main()

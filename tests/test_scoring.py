"""Scores of reconstructions: values that follow from definitions, and folders that do not match."""
import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from restyle_lib import scoring, ssim
from restyle_lib.__main__ import main
from restyle_lib.domains import Domain
from restyle_lib.errors import UserError
from restyle_lib.models.features import IdentityNet, PerceptualNet
from restyle_lib.pixels import to_pixels, to_tensor
from restyle_lib.score_folders import pair, score_folders
from restyle_lib.trajectory import Trajectory
from tests import tiny


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    monkeypatch.setattr(scoring, "alexnet", lambda: None)


def picture(seed, size=(24, 24)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def write(folder, names, seed=0, size=(24, 24)):
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed + i, size)).save(path)
    return folder


# ---- MS-SSIM

def slow_ms_ssim(a, b):
    """Wang et al. 2003 pixel by pixel, on [0, 1] arrays [H, W], scales as the size allows."""
    x = np.arange(11) - 5
    kernel = np.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * 1.5 ** 2))
    kernel, result, count = kernel / kernel.sum(), 1.0, 1
    while count < 5 and min(a.shape) / 2 ** count >= 11:
        count += 1
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:count]
    for scale, weight in enumerate(weights / weights.sum()):
        values = []
        for i in range(a.shape[0] - 10):
            for j in range(a.shape[1] - 10):
                p, q = a[i:i + 11, j:j + 11], b[i:i + 11, j:j + 11]
                mp, mq = (kernel * p).sum(), (kernel * q).sum()
                vp, vq = (kernel * (p - mp) ** 2).sum(), (kernel * (q - mq) ** 2).sum()
                cov = (kernel * (p - mp) * (q - mq)).sum()
                value = (2 * cov + 9e-4) / (vp + vq + 9e-4)
                last = (2 * mp * mq + 1e-4) / (mp ** 2 + mq ** 2 + 1e-4)
                values.append(value * last if scale == count - 1 else value)
        result *= max(np.mean(values), 0) ** weight
        a, b = (v[:v.shape[0] // 2 * 2, :v.shape[1] // 2 * 2] for v in (a, b))
        a, b = (v.reshape(v.shape[0] // 2, 2, -1, 2).mean((1, 3)) for v in (a, b))
    return result


@pytest.mark.parametrize("size", [(12, 15), (25, 23)])
def test_ms_ssim_equals_the_slow_reference(size):
    rng = np.random.default_rng(0)
    a = rng.uniform(size=size)
    b = np.clip(a + rng.normal(0, 0.2, size), 0, 1)
    x, y = (torch.tensor(v * 2 - 1, dtype=torch.float32)[None, None] for v in (a, b))
    assert float(ssim.ms_ssim(x, y)) == pytest.approx(slow_ms_ssim(a, b), abs=1e-4)
    torch.testing.assert_close(ssim.ms_ssim(x, x), torch.ones(1))
    torch.testing.assert_close(ssim.ms_ssim(x, y), ssim.ms_ssim(y, x))


def test_scales_fit_the_image():
    assert [ssim.scales(s, 300) for s in (11, 21, 22, 64, 87, 88, 176, 1024)] == [1, 1, 2, 3, 3, 4, 5, 5]
    assert ssim.scales(256, 192) == 5
    with pytest.raises(UserError, match="11 pixels"):
        ssim.scales(10, 64)


# ---- tables

def test_equal_images_score_perfectly_and_known_ones_as_known():
    a = tiny.images(3, size=(16, 16)) * 0.5
    scores = scoring.score(a, a, names=["x", "y", "z"])
    assert (scores.values("l2") == 0).all() and np.allclose(scores.values("ms_ssim"), 1)
    assert np.isnan(scores.values("perceptual")).all() and scores.protocol.count == 3
    assert "perceptual blank (no network named)" in str(scores.protocol)
    assert "MS-SSIM over 1 of 5 scales" in str(scores.protocol)
    shifted = scoring.score(a + 0.5, a).values
    assert np.allclose(shifted("l2"), 0.25) and np.allclose(shifted("psnr"), 10 * math.log10(16))


def test_rows_are_tidy_and_columns_carry_the_network(tmp_path):
    judges = {"perceptual": scoring.Judge(PerceptualNet((16, 16)).eval(), "a/p"),
              "identity": scoring.Judge(IdentityNet((16, 16), channels=[4] * 4, dim=8).eval(), "a/i")}
    targets = tiny.images(2, size=(16, 16))
    frames = torch.stack([targets * s for s in (0.0, 0.5, 1.0)])
    seconds = torch.tensor([[0, 0], [1, 3], [2, 6]], dtype=torch.float64)
    scorer = scoring.Scorer(judges)
    scorer.add(Trajectory(frames, seconds=seconds, names=("p", "q")), targets, method="ours")
    scorer.add(targets, targets, ["p", "q"], method="copy")
    scores = scorer.scores()
    assert [(r["method"], r["image"], r["step"]) for r in scores.rows[:3]] == [
        ("ours", "p", 0), ("ours", "q", 0), ("ours", "p", 1)]
    assert list(scores.rows[0]) == [*scoring.KEYS, "perceptual:a/p", "identity:a/i"]
    assert scores.values("perceptual", step=2, method="ours") == pytest.approx([0, 0], abs=1e-6)
    assert scores.values("identity", method="copy") == pytest.approx([1, 1], abs=1e-5)
    summary = scores.summary()
    assert [(r["method"], r["step"], r["n"], r["seconds"]) for r in summary] == [
        ("ours", 0, 2, 0.0), ("ours", 1, 2, 2.0), ("ours", 2, 2, 4.0), ("copy", None, 2, None)]
    l2 = [r["l2"] for r in summary]
    assert l2[1] == pytest.approx(l2[0] / 4) and l2[2] == 0
    scores.write(tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert len(rows) == 8 and rows[-1]["step"] == rows[-1]["seconds"] == ""
    assert float(rows[2]["l2"]) == pytest.approx(scores.rows[2]["l2"], rel=1e-5)
    assert {r["protocol"] for r in rows} == {str(scores.protocol)}
    assert "2 images of 16x16" in rows[0]["protocol"]


def test_small_images_leave_ms_ssim_blank_and_shapes_must_agree():
    scores = scoring.score(tiny.images(), tiny.images())
    assert np.isnan(scores.values("ms_ssim")).all() and "MS-SSIM blank" in str(scores.protocol)
    with pytest.raises(UserError, match="one shape"):
        scoring.score(tiny.images(), tiny.images(2))
    with pytest.raises(UserError, match="nothing to score"):
        scoring.Scorer().scores()
    judge = {"identity": scoring.Judge(IdentityNet((16, 16), channels=[4] * 4, dim=8).eval(), "a/i")}
    with pytest.raises(UserError, match=r"a/i takes images of \[16, 16\]"):
        scoring.score(tiny.images(), tiny.images(), judges=judge)


def test_the_official_protocol_truncates_resizes_and_leaves_out_a_rest():
    flat = torch.full((1, 1, 64, 48), 100.9 / 127.5 - 1)
    assert (to_pixels(scoring.as_published(flat)) == 100).all()
    assert (to_pixels(scoring.as_published(flat, truncate=False)) == 101).all()
    assert scoring.as_published(flat).shape == (1, 3, 256, 256)
    targets = tiny.images(5, size=(16, 12))
    scores = scoring.score(targets * 0.5, targets, official_protocol=True)
    row, = scores.summary()
    expected = scores.values("l2")[:4]
    assert row["n"] == 4 and row["l2"] == f"{expected.mean():.2f}±{expected.std():.2f}"
    line = str(scores.protocol)
    assert line.startswith("official protocol: resized to 256x256") and "4 of 5 images" in line
    whole = scoring.score(Trajectory((targets[:1] * 0.5)[None]), targets[:1], official_protocol=True)
    assert np.allclose(whole.values("l2"), scores.values("l2")[:1])


def test_judges_are_named_and_the_official_ones_are_published(monkeypatch):
    networks = {"perceptual": "avatars/perceptual", "judge_perceptual": "not/there", "identity": "a/identity"}
    domain = Domain(name="d", train="d", resolution=16, encoder_size=(16, 16), networks=networks)

    def load(name, kind, device):
        if name == "not/there":
            raise UserError("no")
        return PerceptualNet((16, 16)) if kind == "perceptual" else IdentityNet((16, 16), channels=[4] * 4)

    monkeypatch.setattr(scoring, "load_network", load)
    found = scoring.judges(domain)
    assert found["perceptual"].name == "avatars/perceptual" and found["identity"].name == "a/identity"
    found = scoring.judges(domain, official_protocol=True)
    assert found["identity"] == (None, "a/identity is no published network")
    assert found["perceptual"] == (None, "not/there is not there")
    assert scoring.judges()["perceptual"] == (None, "no network named")


# ---- folders

def test_folders_are_paired_whatever_the_suffix(tmp_path, capsys):
    targets = write(tmp_path / "t", ["a.png", "in/b.png"])
    outputs = write(tmp_path / "o", ["a.bmp", "in/b.png"], seed=5)
    (outputs / "notes.txt").write_text("")
    summary = score_folders(outputs, targets)
    a, b = (to_tensor(np.stack([picture(s), picture(s + 1)])) for s in (5, 0))
    assert summary.scores.values("l2") == pytest.approx((a - b).square().mean((1, 2, 3)).numpy(), rel=1e-5)
    out = tmp_path / "scores.csv"
    assert main(["score", str(outputs), str(targets), "--out", str(out), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "2 pairs, images by name; 1 files" in told and "24x24" in told and out.exists()
    assert main(["score", str(outputs), str(targets), "--official", "--device", "cpu"]) == 0
    assert "official protocol" in capsys.readouterr().out


def test_missing_partners_fail_and_are_named(tmp_path, capsys):
    targets = write(tmp_path / "t", [f"{c}.png" for c in "abcdefgh"])
    outputs = write(tmp_path / "o", ["a.png", "z.png"])
    out = tmp_path / "x.csv"
    assert main(["score", str(outputs), str(targets), "--out", str(out), "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert "1 in" in error and "z.png" in error and "b.png, c.png, d.png, e.png, f.png, ..." in error
    assert "g.png" not in error and len(error.splitlines()) == 1 and not out.exists()


def test_bad_images_are_named_and_the_others_scored(tmp_path, capsys):
    targets, outputs = (write(tmp_path / n, ["a.png", "b.png", "c.png"]) for n in "to")
    (outputs / "b.png").write_bytes(b"no image")
    out = tmp_path / "scores.csv"
    assert main(["score", str(outputs), str(targets), "--out", str(out), "--device", "cpu"]) == 1
    told = capsys.readouterr()
    assert "1 images cannot be read: b.png is not an image" in told.err and "2 rows" in told.out
    assert len(out.read_text().splitlines()) == 3


def test_steps_and_times_are_found(tmp_path):
    targets = write(tmp_path / "t", ["a.jpg", "b.jpg"])
    outputs = write(tmp_path / "o", ["0/a.png", "0/b.png", "10/a.png", "10/b.png"])
    (outputs / "times.csv").write_text("image,step,seconds\na.png,0,0.5\nb.png,10,2\n")
    scores = score_folders(outputs, targets).scores
    assert [(r["image"], r["step"], r["seconds"]) for r in scores.rows] == [
        ("a.jpg", 0, 0.5), ("b.jpg", 0, None), ("a.jpg", 10, None), ("b.jpg", 10, 2.0)]
    (outputs / "10" / "b.png").unlink()
    with pytest.raises(UserError, match=r"b\.jpg \(step 10\)"):
        pair(outputs, targets)
    (outputs / "times.csv").write_text("step,secs\n0,1\n")
    write(outputs, ["10/b.png"])
    with pytest.raises(UserError, match="cannot read the times"):
        score_folders(outputs, targets)


def test_what_invert_wrote_is_scored_at_the_domains_size(tmp_path):
    targets = write(tmp_path / "t", ["a.png"], size=(8, 8))
    outputs = write(tmp_path / "o", ["a.png/step_0.png", "a.png/step_1.png"], seed=3, size=(16, 16))
    write(outputs, ["a.png/strip.png"], size=(8, 40))
    summary = score_folders(outputs, targets, tiny.domain())
    made = to_tensor(np.stack([picture(3, (16, 16)), picture(4, (16, 16))]))
    made = torch.nn.functional.avg_pool2d(made, 2)
    expected = (made - to_tensor(picture(0, (8, 8))[None])).square().mean((1, 2, 3))
    assert summary.scores.values("l2") == pytest.approx(expected.numpy(), rel=1e-4)
    assert [r["step"] for r in summary.scores.rows] == [0, 1] and "strip.png" in summary.layout
    with pytest.raises(UserError, match="name a domain"):
        score_folders(outputs, targets)


def test_two_files_of_one_name_are_refused(tmp_path):
    targets = write(tmp_path / "t", ["a.png"])
    with pytest.raises(UserError, match="a.bmp and a.png"):
        pair(write(tmp_path / "o", ["a.png", "a.bmp"]), targets)

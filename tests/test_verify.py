"""`data verify` and `data link`, the templates of a new domain, and what they refuse."""
import shutil

import numpy as np
import pytest
from test_sources import flat

from restyle_lib import load_domain
from restyle_lib.__main__ import main
from restyle_lib.data import domain_images
from restyle_lib.domains import MANIFESTS, load_dataset
from restyle_lib.errors import UserError
from restyle_lib.verify import link, verdict, verify


@pytest.fixture
def own(tmp_path):
    """Twelve images, and a dataset and domain for them made from the templates."""
    for i in range(12):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{i}.png").write_bytes(flat(10 * i))
    for name in ("dataset", "domain"):
        text = (MANIFESTS / "templates" / f"{name}.yaml").read_text(encoding="utf-8")
        text = text.replace("MY_DATASET", "mine").replace("MY_DOMAIN", "task").replace("MY_IMAGES", "photos")
        (tmp_path / {"dataset": "mine.yaml", "domain": "task.yaml"}[name]).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_domain_from_the_templates_works_and_does_not_mirror(own):
    domain = load_domain(own / "task.yaml")
    assert domain.name == "task" and domain.flip is False and domain.dataset("train").name == "mine"
    assert domain_images(domain, "train")[:].shape[1:] == (3, 64, 64)
    rows, wrong = verify(own / "mine.yaml", progress=False)
    assert wrong == [] and [row["split"] for row in rows] == ["train", "test"]
    assert sum(row["images"] for row in rows) == 12 and rows[1]["groups also in train"] == 0
    assert rows[0]["height x width"] == "16x24"


def test_a_domain_that_says_nothing_does_not_mirror(tmp_path):
    (tmp_path / "a.yaml").write_text("{name: a, train: a, resolution: 32, encoder_size: [16, 16]}")
    assert load_domain(tmp_path / "a.yaml").flip is False


def test_verify_names_what_is_bad(own, capsys):
    (own / "photos" / "5.png").write_bytes(b"no image")
    assert main(["data", "verify", str(own / "mine.yaml")]) == 1
    told = capsys.readouterr()
    assert "5.png is not an image" in told.out and "1 thing is wrong, the first: 5.png" in told.err
    text = (own / "mine.yaml").read_text().replace("attributes: null", "attributes: labels.csv")
    (own / "mine.yaml").write_text(text)
    rows, wrong = verify(own / "mine.yaml", progress=False)
    assert rows == [] and len(wrong) == 2 and "there is no attributes file labels.csv" in wrong[0]


def test_a_verdict_on_some_of_the_files_says_how_many(own):
    whole = verify(own / "mine.yaml", progress=False)
    assert verdict(*whole) == "nothing is wrong"
    count = whole[0][0]["images"]
    some = verify(own / "mine.yaml", count - 1, progress=False)
    assert f"nothing is wrong; of mine train, {count - 1} of {count} files were decoded" in verdict(*some)
    assert verdict(some[0], ["that is"]).startswith("that is; of mine")
    assert verdict(*verify("minicars", progress=False)) == "nothing is wrong", "nothing to decode"


def test_verify_counts_the_identities_that_rendered_splits_share():
    rows, wrong = verify("minicars", progress=False)
    shared = {row["split"]: row["groups also in train"] for row in rows}
    assert wrong == [] and list(shared.values()) == ["–", 0, 0, 0, 0]
    assert rows[0]["images"] == 24000 and rows[0]["groups"] == 6000 and rows[0]["height x width"] == "48x64"


def test_link_joins_a_manifest_to_images_elsewhere(own, tmp_path, capsys):
    shutil.move(own / "photos", own / "elsewhere")
    with pytest.raises(UserError, match="there is no file or folder .*photos"):
        load_dataset(own / "mine.yaml").split("train")
    assert main(["data", "link", str(own / "mine.yaml"), str(own / "elsewhere")]) == 0
    assert "photos is now a link to" in capsys.readouterr().out
    assert link(own / "mine.yaml", own / "elsewhere").is_symlink()      # again: replaced
    assert np.array_equal(load_dataset(own / "mine.yaml").split("train").load(0).shape, (16, 24, 3))


def test_link_refuses_what_is_wrong(own):
    with pytest.raises(UserError, match="avatars is rendered; it has no images to link"):
        link("avatars", own / "photos")
    with pytest.raises(UserError, match="there is no file or folder .*none"):
        link(own / "mine.yaml", own / "none")
    with pytest.raises(UserError, match="photos, where mine expects its images, is there already"):
        link(own / "mine.yaml", own / "photos")

"""YAML into frozen dataclasses: what is accepted, and how everything else is refused."""
import dataclasses

import pytest

from restyle_lib.domains import available, load_dataset, load_domain
from restyle_lib.errors import UserError
from restyle_lib.training import presets

DOMAIN = "name: mine\ntrain: mine\nresolution: 64\nencoder_size: [48, 64]\ncrop: [8, 56, 0, 64]\n"
DATASET = "name: mine\nlicence: my own\nsource: {kind: folder, path: photos}\n"
WORLD = "name: mine\nlicence: my own\nsize: [64, 64]\nsource: {kind: rendered, world: avatars}\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name
    return write


@pytest.mark.parametrize("name", available("domains"))
def test_shipped_domains_hold_together(name):
    domain = load_domain(name)
    assert domain.name == name
    for role in ("train", "test"):
        assert domain.dataset(role).channels == domain.channels and role in domain.dataset(role).splits
    assert set(domain.iterations) <= set(presets.methods())


@pytest.mark.parametrize("name", available("datasets"))
def test_shipped_datasets_say_where_from_and_under_which_terms(name):
    dataset = load_dataset(name)
    assert dataset.name == name and dataset.licence and dataset.terms and dataset.splits


def test_splits_of_rendered_datasets_share_no_identity():
    for dataset in (d for d in map(load_dataset, available("datasets")) if d.source.kind == "rendered"):
        ranges = sorted((s.identities[0], sum(s.identities)) for s in dataset.splits.values())
        assert all(end <= start for (_, end), (start, _) in zip(ranges, ranges[1:], strict=False))


def test_a_domain_is_read_and_frozen(write):
    domain = load_domain(write(DOMAIN + "losses: {l2: 1, identity: 0.1}\ntest: null\n"))
    assert domain.crop == (8, 56, 0, 64) and domain.crop_size == (48, 64) and domain.encoder_size == (48, 64)
    assert domain.losses == {"l2": 1, "identity": 0.1} and domain.channels == 3 and domain.fit == "stretch"
    with pytest.raises(dataclasses.FrozenInstanceError):
        domain.name = "other"
    assert load_domain(domain) is domain
    whole = load_domain(write("{name: a, train: a, resolution: 32, encoder_size: [16, 16]}"))
    assert whole.crop == (0, 32, 0, 32)


def test_files_beside_a_domain_are_found(write, tmp_path):
    write(DATASET, "photos.yaml")
    domain = load_domain(write(DOMAIN.replace("train: mine", "train: photos.yaml")))
    assert domain.dataset("train").name == "mine" == domain.dataset("test").name


def test_files_have_splits_unless_told(write):
    assert list(load_dataset(write(DATASET)).splits) == ["train", "test", "all"]
    splits = load_dataset(write(DATASET + "splits: {train: {folder: a}, test: {part: [0, 0.5]}}")).splits
    assert splits["train"].folder == "a" and splits["test"].part == (0, 0.5)


@pytest.mark.parametrize("change, message", [
    ("colour: 3", "mine.yaml: unknown field 'colour'; .*accepted: name, train"),
    ("encoder_sise: [1, 2]", "unknown field 'encoder_sise'; did you mean 'encoder_size'"),
    ("channels: 2", "channels is 2; accepted: 1 or 3"),
    ("channels: true", "channels is True; accepted: 1 or 3"),
    ("channels: '3'", "channels is '3'; accepted: 1 or 3"),
    ("fit: squeeze", "fit is 'squeeze'; accepted: stretch or center or pad"),
    ("flip: 1", "flip is 1; accepted: true or false"),
    ("title: 3", "title is 3; accepted: a text"),
    ("title: 2020-01-01", "title is datetime.date.*; accepted: a text"),
    ("head_channels: 0", "head_channels is 0; accepted: an integer from 1 on, or null"),
    ("losses: {l2: -1}", "losses is {'l2': -1}; accepted: weights from 0 on, of l2"),
    ("losses: {l2: .inf}", "losses is"), ("losses: {colour: 1}", "losses is"), ("losses: [l2]", "losses is"),
    ("networks: {identity: 3}", "networks is .*accepted: names or paths"),
    ("test: [a]", "test is .*accepted: a text, or null"),
    ("name: other", "the field 'name' stands there twice")])
def test_wrong_domain_fields_are_refused(write, change, message):
    with pytest.raises(UserError, match=message):
        load_domain(write(DOMAIN + change))


@pytest.mark.parametrize("old, new, message", [
    ("name: mine\n", "", "name is missing; accepted: a text"),
    ("[8, 56, 0, 64]", "[8, 66, 0, 64]", r"crop \[8, 66, 0, 64\] does not lie in a square of 64"),
    ("[8, 56, 0, 64]", "[56, 8, 0, 64]", "does not lie in"),
    ("[8, 56, 0, 64]", "[8, 56, 0]", "crop is .*accepted: four integers"),
    ("[48, 64]", "[32, 64]", r"encoder_size \[32, 64\] does not divide the cropped size \[48, 64\]"),
    ("[48, 64]", "[48.0, 64]", "encoder_size is .*accepted: two positive integers"),
    ("64\n", "sixty\n", "resolution is 'sixty'; accepted: an integer from 1 on")])
def test_wrong_geometry_is_refused(write, old, new, message):
    with pytest.raises(UserError, match=message):
        load_domain(write(DOMAIN.replace(old, new, 1)))


@pytest.mark.parametrize("text, message", [
    (DATASET.replace("folder", "ftp"), "source must have a kind; accepted: rendered, folder, zip, lmdb"),
    (DATASET.replace("{kind: folder, path: photos}", "photos"), "source must have a kind"),
    (DATASET.replace("path: photos", "world: photos"), "unknown field 'source.world'.*accepted: kind, path"),
    (DATASET.replace(", path: photos", ""), "source.path is missing"),
    (DATASET.replace("licence: my own\n", ""), "licence is missing"),
    (DATASET + "window: [5, 5]", "window is .*accepted: two numbers .low, high., or null"),
    (DATASET + "splits: {train: {identities: [0, 5]}}", "unknown field 'splits.train.identities'"),
    (DATASET + "splits: {train: 5}", "splits.train must be a table"),
    (DATASET + "splits: {}", "splits is {}; accepted: a table of splits"),
    (WORLD + "splits: {train: {identities: [0]}}", r"splits.train.identities is \[0\]"),
    (WORLD + "splits: {train: {instances: 2}}", "splits.train.identities is missing"),
    (WORLD + "splits: {train: {identities: [0, 5], instances: 0}}", "splits.train.instances is 0"),
    (WORLD.replace("size: [64, 64]\n", "") + "splits: {a: {identities: [0, 5]}}", "size is missing")])
def test_wrong_datasets_are_refused(write, text, message):
    with pytest.raises(UserError, match=message):
        load_dataset(write(text))


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("text, message", [
    (BOMB, "aliases grow to more than 20,000 values"), (MERGES, "aliases grow to more than 20,000 values"),
    ("a: &a [*a]", "an alias holds itself"), ("[" * 5000, "nested too deep"),
    ("- " * 5000, "nested too deep"),
    ("a" * 200_001, "more than 200,000 bytes"), ("", "must hold a table"),
    ("name: [", "line 1: not valid YAML"), ("a: 1\n b: 2", "line 2: not valid YAML"),
    ("- name", "must hold a table"), ("!!python/object/apply:os.system [ls]", "not valid YAML"),
    ("name: \x00", "not valid YAML")])
def test_harmful_and_broken_yaml_is_refused(write, text, message):
    for load in (load_domain, load_dataset):
        with pytest.raises(UserError, match=message):
            load(write(text))


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(UserError, match="not a YAML text in UTF-8"):
        load_domain(tmp_path / "a.yaml")


def test_unknown_names_get_a_suggestion(tmp_path):
    with pytest.raises(UserError, match="unknown domain 'avatar'; did you mean 'avatars'"):
        load_domain("avatar")
    with pytest.raises(UserError, match="unknown dataset 'avatar'; did you mean 'avatars'"):
        load_dataset("avatar")
    with pytest.raises(UserError, match="there is no file .*none.yaml; domains known by name: .*avatars"):
        load_domain(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="unknown split of avatars 'tset'; did you mean 'test'"):
        load_dataset("avatars").split("tset")

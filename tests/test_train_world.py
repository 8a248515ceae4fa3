"""All networks of a domain, one on another: order, what each is given, equal budgets, stopping."""
import pytest

from restyle_lib.domains import load_domain
from restyle_lib.errors import UserError
from restyle_lib.training import commands, presets
from restyle_lib.training.world import train_world


@pytest.fixture
def calls(monkeypatch):
    """What the trainers were called with; each "trains" by naming its folder."""
    made = []

    def trainer(kind):
        def train(*arguments, **settings):
            made.append((kind, arguments, settings))
            place = next(a for a in arguments if hasattr(a, "mkdir"))
            return place / "last"
        return train
    for kind in ("features", "grown", "encoder"):
        monkeypatch.setattr(commands, kind, trainer(kind))
    return made


def test_each_network_is_trained_on_those_before_it(calls, tmp_path):
    domain, done = train_world("avatars", tmp_path, methods=("restyle-psp", "psp", "restyle-e4e"), say=list)
    assert list(done) == ["perceptual", "attributes", "identity", "generator", "warm-restyle-single",
                          "restyle-psp", "warm-onepass-pyramid", "psp", "restyle-e4e",
                          "perceptual-judge", "identity-judge", "attributes-judge"]
    assert domain.networks["identity"] == str(tmp_path / "identity" / "last")
    grown = next(arguments[0] for kind, arguments, _ in calls if kind == "grown")
    assert grown.networks["attributes"] == str(tmp_path / "attributes" / "last")
    encoders = [(arguments, settings) for kind, arguments, settings in calls if kind == "encoder"]
    assert all(arguments[1].generator == str(tmp_path / "generator" / "last") for arguments, _ in encoders)
    starts = [settings.get("init_from") for _, settings in encoders]
    warm = [str(tmp_path / f"warm-{kind}" / "last") for kind in ("restyle-single", "onepass-pyramid")]
    assert starts == [None, warm[0], None, warm[1], warm[0]]


@pytest.mark.parametrize("size", presets.WORLD)
def test_all_methods_have_equal_passes_and_share_the_warm_start_of_their_family(size):
    passes, families = set(), {}
    for method in (*presets.methods(), *presets.CONTROLS):
        family, first, own = presets.world(size, method)
        config = presets.encoder(method, size, **own)
        passes.add(config.iterations * config.steps * config.batch)
        families.setdefault(family, []).append(first)
        presets.encoder(method, size, **first)
    assert max(passes) - min(passes) <= 0.02 * max(passes)
    assert all(first == group[0] for group in families.values() for first in group)
    assert len(families) == 3


def test_time_that_is_over_stops_it_and_says_what_is_finished(calls, tmp_path):
    with pytest.raises(UserError, match="finished: nothing; call again"):
        train_world("avatars", tmp_path, max_seconds=0.5, say=list)


def test_an_unknown_size_is_refused():
    with pytest.raises(UserError, match="embedded"):
        presets.world("embeded", "psp")
    assert load_domain("avatars").name == "avatars"

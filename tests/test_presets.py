"""The tables of training settings."""
import pytest

from restyle_lib.errors import UserError
from restyle_lib.training import presets


def test_presets():
    for size in ("published", "embedded"):
        for method in presets.methods():
            config = presets.encoder(method, size)
            assert (config.scheme == "restyle") == method.startswith("restyle")
            assert config.progressive == method.endswith("e4e") == (config.adversarial > 0)
    assert presets.encoder("restyle-psp", "published", batch=4).batch == 4
    assert presets.feature("identity", seed=9).seed == 9
    with pytest.raises(UserError, match="did you mean 'psp'"):
        presets.encoder("pspp")

"""NVIDIA's pickles: parity, every size, and that nothing of a file ever runs."""
import io
import os
import pathlib
import pickle
import sys
import types

import pytest
import torch
from golden_recipe import FOLDER, expected, relative_error

from restyle_lib import weights
from restyle_lib.checkpoints.nvidia import read_pickle
from restyle_lib.checkpoints.published import read_published
from restyle_lib.errors import UserError
from restyle_lib.models.stylegan2 import Discriminator, Generator, fingerprint

SETTINGS = {"conv_clamp": None, "architecture": "skip", "activation": "lrelu", "c_dim": 0}
MARK = "ran-code-of-the-file"


class Persistent:
    """Pickled as NVIDIA's persistent objects are: by a name, a class name, source text, and attributes."""

    def __init__(self, name, state):
        self.meta = {"type": "class", "version": 6, "module_src": f"open('{MARK}', 'w')", "class_name": name,
                     "state": state}

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


class Evil:
    """Pickled as a call."""

    def __init__(self, function=os.system, *args):
        self.call = function, args or (f"touch {MARK}",)

    def __reduce__(self):
        return self.call


@pytest.fixture(autouse=True)
def modules(monkeypatch, tmp_path):
    """Modules of NVIDIA's names, so that pickle can write them; nothing in them may be called."""
    def forbidden(*args):
        raise AssertionError("the file's code was called")

    for module, name in [("torch_utils.persistence", "_reconstruct_persistent_obj"),
                         ("dnnlib.tflib.network", "Network")]:
        fake, function = types.ModuleType(module), types.FunctionType(forbidden.__code__, globals(), name)
        function.__module__, function.__qualname__ = module, name
        setattr(fake, name, function)
        monkeypatch.setitem(sys.modules, module.split(".")[0], types.ModuleType(module.split(".")[0]))
        monkeypatch.setitem(sys.modules, module, fake)
    monkeypatch.chdir(tmp_path)
    yield
    assert not pathlib.Path(MARK).exists(), "code of the file ran"


def tree(state, settings, name="Generator"):
    """A state dict as nested persistent objects."""
    here = {key: value for key, value in state.items() if "." not in key}
    below = {}
    for key, value in state.items():
        if "." in key:
            first, rest = key.split(".", 1)
            below.setdefault(first, {})[rest] = value
    parts = {key: tree(value, settings, "Part") for key, value in below.items()}
    return Persistent(name, {"_parameters": here, "_buffers": {}, "_modules": parts, **settings})


def generator_names(network):
    names = {"constant": "synthesis.b4.const", "w_mean": "mapping.w_avg"}
    for index in range(len(network.convs)):
        names[f"convs.{index}"] = f"synthesis.b{4 * 2**((index + 1) // 2)}.conv{1 - index % 2}"
    for index in range(len(network.to_images)):
        names[f"to_images.{index}"] = f"synthesis.b{4 * 2**index}.torgb"
    return names | {f"mapping.{index}": f"mapping.fc{index}" for index in range(len(network.mapping))}


def discriminator_names(network):
    side = network.config["resolution"]
    names = {"from_image": f"b{side}.fromrgb", "last": "b4.conv", "hidden": "b4.fc", "logit": "b4.out"}
    for block in range(len(network.blocks)):
        for ours, theirs in {"first": "conv0", "second": "conv1", "skip": "skip"}.items():
            names[f"blocks.{block}.{ours}"] = f"b{side >> block}.{theirs}"
    return names


def theirs(network, names):
    """A network's state dict under NVIDIA's names, with a filter."""
    state = {}
    for name, value in network.state_dict().items():
        head = max((own for own in names if name == own or name.startswith(f"{own}.")), key=len)
        state[names[head] + name[len(head):]] = value[0] if name == "w_mean" else value
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return state | {f"{next(iter(state)).rsplit('.', 1)[0]}.resample_filter": torch.outer(taps, taps)}


def generator(seed=0, **options):
    torch.manual_seed(seed)
    options = {"channels": {4: 6, 8: 5, 16: 4}, "z_dim": 7, "w_dim": 6, "mapping_layers": 2} | options
    network = Generator(16, **options).eval()
    network.set_w_mean(torch.randn(6))
    return network


def snapshot(path="x.pkl", **changes):
    network = generator()
    content = {"G_ema": tree(theirs(network, generator_names(network)), SETTINGS), "augment_pipe": None}
    pathlib.Path(path).write_bytes(pickle.dumps(content | changes))
    return path


def test_parity_with_a_snapshot():
    network = weights.load_generator(FOLDER / "nvidia_ada_32.pkl")
    golden = expected("nvidia_ada_32")
    with torch.no_grad():
        w = network.mapping(golden["z"])
        assert relative_error(network.styles(w), golden["ws"]) < 1e-4
        assert relative_error(network(w), golden["image"]) < 1e-4
        assert relative_error(network(network.truncate(w, 0.7)), golden["image_trunc07"]) < 1e-4
    assert network.config["mapping_layers"] == 4
    assert network.config["channels"] == {4: 64, 8: 64, 16: 64, 32: 32}


@pytest.mark.parametrize(("options", "protocol"), [
    ({}, 4), ({"mapping_layers": 1, "z_dim": 3}, 2), ({"image_channels": 1}, 3), ({"conv_clamp": 0.5}, 5)])
def test_every_size_is_read_from_the_tensors(options, protocol):
    network = generator(**options)
    clamp = options.get("conv_clamp")
    settings = SETTINGS | {"conv_clamp": clamp}
    critic = Discriminator(16, channels={4: 3, 8: 4, 16: 2}, image_channels=network.image_channels,
                           mbstd_group=2, conv_clamp=clamp)
    names = theirs(critic, discriminator_names(critic))
    extra = {"architecture": "resnet", "group_size": 2, "num_channels": 1}
    pathlib.Path("x.pkl").write_bytes(pickle.dumps(
        {"G": None, "D": tree(names, settings | extra, "Discriminator"),
         "G_ema": tree(theirs(network, generator_names(network)), settings)}, protocol=protocol))
    found = read_published("x.pkl")
    assert found["generator"].config == network.config
    assert fingerprint(found["generator"]) == fingerprint(network)
    assert found["discriminator"].config == critic.config
    x = 3 * torch.randn(4, network.image_channels, 16, 16)
    with torch.no_grad():
        assert torch.equal(found["discriminator"](x), critic.eval()(x))


def test_a_state_dict_of_that_layout_is_read_too():
    network = generator()
    torch.save(theirs(network, generator_names(network)), "x.pt")
    assert fingerprint(read_published("x.pt")["generator"]) == fingerprint(network)


def test_a_discriminator_is_clamped_as_nvidia_does():
    critic = Discriminator(16, channels={4: 3, 8: 4, 16: 2}, conv_clamp=0.01)
    x = 9 * torch.randn(2, 3, 16, 16)
    block = critic.blocks[0]
    assert critic.from_image(x).abs().max().item() == pytest.approx(0.01)
    assert block.second(critic.from_image(x) * 1e4, gain=0.5).abs().max().item() == pytest.approx(0.005)


def hidden_in_a_tensor():
    """A tensor whose storage's bytes are themselves a hostile file."""
    stream = io.BytesIO()
    torch.save({"a": Evil()}, stream, _use_new_zipfile_serialization=False)
    return Evil(torch.storage._load_from_bytes, stream.getvalue())


def larger_than_its_storage():
    storage = torch.zeros(2).untyped_storage()
    flat = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    return Evil(torch._utils._rebuild_tensor_v2, flat, 0, (1000, 1000), (1000, 1), False, {})


HOSTILE = {
    "the file itself": (Evil, "posix.system|nt.system|os.system"),
    "eval": (lambda: Evil(eval, f"open('{MARK}', 'w')"), "builtins.eval"),
    "getattr": (lambda: Evil(getattr, "x", "upper"), "builtins.getattr"),
    "a class": (lambda: pathlib.PurePosixPath("x"), "PurePosixPath"),
    "bytes of a tensor": (hidden_in_a_tensor, "damaged pickle"),
    "a tensor's size": (larger_than_its_storage, "larger than its storage"),
}


@pytest.mark.parametrize("place", ["top", "beside", "attribute", "tensor", "meta"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pickles_are_refused_and_nothing_runs(place, kind):
    make, told = HOSTILE[kind]
    if place == "top":
        pathlib.Path("x.pkl").write_bytes(pickle.dumps(make()))
    elif place == "beside":
        snapshot(training_set_kwargs={"a": [make()]})
    elif place == "attribute":
        snapshot(G_ema=Persistent("Generator", {"_modules": {}, "w_avg_beta": make()}))
    elif place == "tensor":
        snapshot(G_ema=Persistent("Generator", {"_parameters": {"weight": make()}}))
    else:
        snapshot(G_ema=Persistent(make(), {}))
    with pytest.raises(UserError, match=told) as error:
        weights.load_generator("x.pkl")
    assert "\n" not in str(error.value) and "x.pkl" in str(error.value)


@pytest.mark.parametrize("attack", [
    b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",                        # a dotted name
    b"ccollections\nOrderedDict.__init__.__globals__\n.",
    b"ctorch._utils\n_rebuild_tensor_v2\n}S'function'\nNsb.",                   # changing a name
    b"ctorch._utils\n_rebuild_tensor_v2\nN}S'function'\nNs\x86b.",
    b"cnumpy\ndtype\n(S'O8'\ntR.",                                              # no network
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRS'x'\ntR.",
    b"Pos.system\n.", b"\x82\x01.", b"", b"(" * 99,
])
def test_hostile_bytes_are_refused(attack):
    pathlib.Path("x.pkl").write_bytes(b"\x80\x02" + attack)
    with pytest.raises(UserError, match=r"x\.pkl"):
        read_pickle("x.pkl")


def test_other_pickles_are_named():
    snapshot(G_ema=Evil(sys.modules["dnnlib.tflib.network"].Network))
    with pytest.raises(UserError, match="TensorFlow pickle.*take the same network as a .pkl of"):
        weights.load_generator("x.pkl")
    snapshot(G_ema=tree({"synthesis.L0_36_512.weight": torch.zeros(2)}, {}))
    with pytest.raises(UserError, match="a StyleGAN3 network.*stylegan3-editing"):
        weights.load_generator("x.pkl")
    pathlib.Path("x.pkl").write_bytes(pickle.dumps({"a": [1]}))
    with pytest.raises(UserError, match="without networks"):
        weights.load_generator("x.pkl")
    data = pathlib.Path(snapshot()).read_bytes()
    pathlib.Path("x.pkl").write_bytes(data[:len(data) // 2])
    with pytest.raises(UserError, match="damaged pickle.*fetch it again"):
        weights.load_generator("x.pkl")


@pytest.mark.parametrize(("settings", "told"), [
    ({"architecture": "resnet"}, "architecture is resnet"), ({"activation": "relu"}, "activation is relu"),
    ({"c_dim": 10}, "c_dim is 10, .* accepted: 0")])
def test_networks_that_compute_otherwise_are_refused(settings, told):
    network = generator()
    snapshot(G_ema=tree(theirs(network, generator_names(network)), SETTINGS | settings))
    with pytest.raises(UserError, match=told):
        weights.load_generator("x.pkl")


def test_labels_and_missing_tensors_are_named():
    network = generator()
    state = theirs(network, generator_names(network))
    snapshot(G_ema=tree(state | {"mapping.embed.weight": torch.zeros(6, 3)}, SETTINGS))
    with pytest.raises(UserError, match="class labels"):
        weights.load_generator("x.pkl")
    del state["synthesis.b8.conv0.bias"]
    snapshot(G_ema=tree(state, SETTINGS))
    with pytest.raises(UserError, match=r"1 missing \(convs.1.bias\)"):
        weights.load_generator("x.pkl")

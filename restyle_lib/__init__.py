"""The ReStyle workbook's library. Its public names load on first use; importing it does not import torch."""
import importlib
import sys
import types

_PUBLIC = {
    "load_domain": "domains", "load_dataset": "domains", "Domain": "domains", "Dataset": "domains",
    "load_images": "data", "domain_images": "data",
    "load_generator": "weights", "load_inverter": "weights", "load_network": "weights",
    "Inverter": "inverter", "Trajectory": "trajectory", "refine": "refine", "UserError": "errors",
}
__all__ = sorted(_PUBLIC)
__version__ = "0.1.0"


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'restyle_lib' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(_PUBLIC))


class _Package(types.ModuleType):
    """`restyle_lib.refine` stays the function when its module of the same name is imported."""

    def __setattr__(self, name, value):
        if name in _PUBLIC and isinstance(value, types.ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

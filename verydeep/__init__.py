"""The VGG networks of Simonyan and Zisserman (arXiv 1409.1556), trained and tested as their paper does.

`load` opens a model for predicting, `features` taps its layers by their names, and `verydeep.perceptual` has the
losses that stand on them.
Importing the package imports nothing heavy: each name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from verydeep import perceptual as perceptual
    from verydeep.configurations import CONFIGURATIONS as CONFIGURATIONS
    from verydeep.configurations import Architecture as Architecture
    from verydeep.layers import features as features
    from verydeep.layers import layer_names as layer_names
    from verydeep.model import Model as Model
    from verydeep.model import load as load
    from verydeep.network.vgg import VGG as VGG

_HOMES = {
    "CONFIGURATIONS": "verydeep.configurations",
    "Architecture": "verydeep.configurations",
    "features": "verydeep.layers",
    "layer_names": "verydeep.layers",
    "Model": "verydeep.model",
    "load": "verydeep.model",
    "VGG": "verydeep.network.vgg",
}

__all__ = [
    "CONFIGURATIONS",
    "VGG",
    "Architecture",
    "Model",
    "__version__",
    "features",
    "layer_names",
    "load",
    "perceptual",
]


def __getattr__(name: str) -> object:
    if name == "perceptual":
        return import_module("verydeep.perceptual")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'verydeep' has no attribute {name!r}; it has {', '.join(__all__)}")

"""The VGG networks of Simonyan and Zisserman (arXiv 1409.1556), trained and tested as their paper does.

`load` opens a model, `features` taps its layers by their names, `verydeep.perceptual` has losses on them.
Every command is a function of the same name: `verydeep.train`, `verydeep.evaluate`, `verydeep.predict` and so on.
Importing the package imports nothing heavy: each name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from verydeep.version import __version__ as __version__

if TYPE_CHECKING:
    from verydeep import errors as errors
    from verydeep import perceptual as perceptual
    from verydeep import serving as serving
    from verydeep.api.bench import bench as bench
    from verydeep.api.compare import compare as compare
    from verydeep.api.convert import convert as convert
    from verydeep.api.describe import describe as describe
    from verydeep.api.engines import engines as engines
    from verydeep.api.evaluate import evaluate as evaluate
    from verydeep.api.export import export as export
    from verydeep.api.extract import extract as extract
    from verydeep.api.features import features as features
    from verydeep.api.features import layer_names as layer_names
    from verydeep.api.fuse import fuse as fuse
    from verydeep.api.inspect import inspect as inspect
    from verydeep.api.new import new as new
    from verydeep.api.predict import predict as predict
    from verydeep.api.predictor import Predictor as Predictor
    from verydeep.api.push import push as push
    from verydeep.api.report import report as report
    from verydeep.api.serve import serve as serve
    from verydeep.api.shard import shard as shard
    from verydeep.api.study import study as study
    from verydeep.api.style import style as style
    from verydeep.api.train import train as train
    from verydeep.api.transfer import transfer as transfer
    from verydeep.api.visualize import visualize as visualize
    from verydeep.api.watch import watch as watch
    from verydeep.configurations import CONFIGURATIONS as CONFIGURATIONS
    from verydeep.configurations import Architecture as Architecture
    from verydeep.evaluation.protocols import CentreCrop as CentreCrop
    from verydeep.evaluation.protocols import Dense as Dense
    from verydeep.evaluation.protocols import MultiCrop as MultiCrop
    from verydeep.evaluation.protocols import TenCrop as TenCrop
    from verydeep.evaluation.ranking import Prediction as Prediction
    from verydeep.images.color import Preprocessing as Preprocessing
    from verydeep.model import Model as Model
    from verydeep.model import load as load
    from verydeep.network.vgg import VGG as VGG
    from verydeep.training.recipe import Recipe as Recipe

_MODULES = ("errors", "perceptual", "serving")
_FUNCTIONS = (
    "bench",
    "compare",
    "convert",
    "describe",
    "engines",
    "evaluate",
    "export",
    "extract",
    "fuse",
    "inspect",
    "new",
    "predict",
    "push",
    "report",
    "serve",
    "shard",
    "study",
    "style",
    "train",
    "transfer",
    "visualize",
    "watch",
)
_HOMES = {
    "CONFIGURATIONS": "verydeep.configurations",
    "Architecture": "verydeep.configurations",
    "Preprocessing": "verydeep.images.color",
    "Dense": "verydeep.evaluation.protocols",
    "MultiCrop": "verydeep.evaluation.protocols",
    "CentreCrop": "verydeep.evaluation.protocols",
    "TenCrop": "verydeep.evaluation.protocols",
    "Recipe": "verydeep.training.recipe",
    "Model": "verydeep.model",
    "Prediction": "verydeep.evaluation.ranking",
    "Predictor": "verydeep.api.predictor",
    "load": "verydeep.model",
    "VGG": "verydeep.network.vgg",
    "features": "verydeep.api.features",
    "layer_names": "verydeep.api.features",
} | {name: f"verydeep.api.{name}" for name in _FUNCTIONS}

__all__ = [
    "CONFIGURATIONS",
    "VGG",
    "Architecture",
    "CentreCrop",
    "Dense",
    "Model",
    "MultiCrop",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "Recipe",
    "TenCrop",
    "__version__",
    "bench",
    "compare",
    "convert",
    "describe",
    "engines",
    "errors",
    "evaluate",
    "export",
    "extract",
    "features",
    "fuse",
    "inspect",
    "layer_names",
    "load",
    "new",
    "perceptual",
    "predict",
    "push",
    "report",
    "serve",
    "serving",
    "shard",
    "study",
    "style",
    "train",
    "transfer",
    "visualize",
    "watch",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"verydeep.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'verydeep' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)

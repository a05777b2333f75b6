"""Two batches of images -> a distance for each pair, on what a network's layers give for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from math import isfinite
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from verydeep.arguments import check_type
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.images.color import Preprocessing
from verydeep.inference.engine import Opened
from verydeep.inference.kernels import has_kernels
from verydeep.inference.torch_engine import open_network
from verydeep.network.derivatives import is_differentiated, is_recorded
from verydeep.network.derived import Derived, can_keep
from verydeep.network.features import Features
from verydeep.network.forward import plain
from verydeep.network.native_layers import Maps, has_hooks, is_told_by_weights
from verydeep.network.ranges import Grey, ImagesLike, Range, check_values, extremes
from verydeep.network.vgg import VGG
from verydeep.plan import PoolingKind
from verydeep.processor import native_module

if TYPE_CHECKING:
    from verydeep.inference.native import NativeEngine

Reduction = Literal["mean", "sum", "none"]
Engine = Literal["auto", "torch"]
Distance = Literal["mse", "mae"]
Tap = Tensor | Maps  # in the layout of the kernels that computed it, or plain
Taps = dict[str, Tensor]
ModelLike = Opened | VGG | str | PathLike[str]

PAIR_PIXELS = 8 * 224 * 224  # of images whose maps are in memory at once, where no gradients are wanted
TARGET = "target images"  # as messages call them
NATIVE_PIXELS = 2 * 224 * 224  # of those that the native engine is shown at once: more leave the processor's cache


class Options(TypedDict, total=False):
    """What every loss on a pair takes beside its own arguments and `range`; `PairLoss` says what it means."""

    preprocessing: Preprocessing | str | None
    reduction: Reduction
    check: bool
    grey: Grey


class PairLoss(nn.Module):
    """What all losses on a pair of batches have in common. Each says how taps are compared.

    The weights are those that the model has when the loss is made, unless others are loaded into the loss, and
    frozen until `requires_grad_(True)`. They stay on their device and in their precision. Where no derivatives are
    wanted, pairs are shown a few at a time. The native engine computes what needs no derivatives, of images on
    the processor in float32, while the weights are frozen.

    Args:
        model: a model on disk, one that `verydeep.load` has opened, or a `VGG`.
        layers: that are compared, or what chooses them for an architecture.
        range: least and greatest value of the images: (0, 1), (-1, 1) or (0, 255).
        preprocessing: of a `VGG`, or of another library's weights where they do not come with it: a
            `Preprocessing`, or `torchvision`, `oxford`, `matconvnet` or `amdegroot`. A run folder has its own.
        pooling: `average` replaces every max-pooling of the network.
        reduction: over the batch: `mean`, `sum`, or `none` for an entry a pair.
        check: whether images are looked at: their range, and that they are finite.
        grey: `repeat` takes the channel of images of one channel three times; `refuse` takes RGB alone.
        engine: `torch` never takes the native engine.

    Raises:
        UsageError: an argument does not fit; the message says which, and what to do.
        ModelError: there is no such model, or it cannot be used.

    """

    tapped: type[Features] = Features  # how the network is tapped
    native_pixels = NATIVE_PIXELS

    @torch.inference_mode(False)  # a loss that is made in inference mode has gradients after it
    def __init__(
        self,
        model: ModelLike,
        layers: Sequence[str] | Callable[[Architecture], Sequence[str]],
        *,
        range: Range,
        preprocessing: Preprocessing | str | None = None,
        pooling: PoolingKind = "max",
        reduction: Reduction = "mean",
        check: bool = True,
        grey: Grey = "refuse",
        engine: Engine = "auto",
    ) -> None:
        super().__init__()
        check_type("reduction", reduction, Reduction)
        check_type("engine", engine, Engine)
        self.reduction: Reduction = reduction
        self.engine: Engine = engine
        wanted = () if callable(layers) else layers
        network, known = open_network(model, wanted, preprocessing, engine=self.engine)
        if known is None:
            raise UsageError(
                "a network alone does not know how its images are preprocessed; give preprocessing, or a model "
                "from disk"
            )
        self.features = self.tapped(
            network,
            layers(network.architecture) if callable(layers) else layers,
            preprocessing=known,
            range=range,
            pooling=pooling,
            check=False,  # the loss does, which knows which of the two is wrong
            grey=grey,
            engine=self.engine,
        )
        self.check = check
        if network is model:  # the caller may go on to train it
            self.features = deepcopy(self.features).lay_out()
        self._native = Native(known)

    def forward(self, images: ImagesLike, target: ImagesLike) -> Tensor:
        """Compare images with others, pair by pair.

        Args:
            images: RGB of shape (batch, 3, height, width), in the range that was said. In the range of levels they
                may be uint8. An array has the shape (batch, height, width, 3).
            target: of the same shape.

        Returns:
            A number; of shape (batch,) where nothing is reduced. It is float64 for images of float64, otherwise
            float32: half precision could not hold a small distance.

        Raises:
            UsageError: the two differ in shape, type or device, or cannot be such images.
            ModelError: a distance is NaN or infinite, and images are checked.

        """
        images, target = self._pair(images, target)
        if is_differentiated(images, target, *self._weights()):
            return reduce(self._checked(self._compare(images, target)), self.reduction)
        compare, most = self._compare, PAIR_PIXELS
        if self._by_engine(images):
            compare, most = self._compare_natively, self.native_pixels
        count = max(1, most // (2 * images.shape[2] * images.shape[3]))
        pairs = zip(torch.split(images, count), torch.split(target, count), strict=True)
        return reduce(self._checked(torch.cat([compare(*pair) for pair in pairs])), self.reduction)

    def _pair(self, images: ImagesLike, target: ImagesLike) -> tuple[Tensor, Tensor]:
        """Both batches as images, which can be compared pair by pair."""
        first, second = self.features.as_images(images), self.features.as_images(target, TARGET)
        check_pair(first, second)
        if self.check and self.features.preprocess:
            check_values(first, self.features.preprocess.range)
            check_values(second, self.features.preprocess.range, TARGET)
        return first, second

    def __repr__(self) -> str:
        preprocess = self.features.preprocess
        shown = {
            "configuration": self.features.architecture.configuration,
            "layers": self.features.layers,
            "range": preprocess and preprocess.range,
            "reduction": self.reduction,
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def _weights(self) -> list[Tensor]:
        """All tensors that may be trained, also of a replica by `nn.DataParallel`, which has no parameters."""
        return list(self.features.tensors().values())

    def _checked(self, distances: Tensor) -> Tensor:
        """Make sure that distances are finite, where images are looked at, which are finite themselves."""
        if self.check and not all(map(isfinite, extremes(distances) or ())):
            raise ModelError(
                "a distance is NaN or infinite though the images are finite: the network's features overflow; "
                "use float32 or bfloat16 in place of float16, or other weights"
            )
        return distances

    def _compare(self, images: Tensor, target: Tensor) -> Tensor:
        """Distances of a few pairs; the first entry of the shape is theirs."""
        taps, target_taps = self._taps(images, target)
        with no_autocast(images.device):  # it would take sums in half precision
            return self._distance(taps, target_taps, images, target)

    def _compare_natively(self, images: Tensor, target: Tensor) -> Tensor:
        """The same by the native engine, which is shown both at once and reads its weights once for the two."""
        found = self._native.taps(self.features, torch.cat([images, target]))
        both = {name: tap.chunk(2) for name, tap in found.items()}
        taps, target_taps = ({name: halves[which] for name, halves in both.items()} for which in (0, 1))
        return self._distance(taps, target_taps, images, target)

    def _taps(self, images: Tensor, target: Tensor) -> tuple[Taps, Taps]:
        """What the layers give. Where no derivatives of a batch are wanted, the engine may compute it faster.

        Where they are wanted of the other, and the kernels compute these, one function computes both.
        """
        if self.features.on_kernels(images):
            return self._read(images), self._read(target)
        natively = [self._by_engine(one) and not is_differentiated(one) for one in (images, target)]
        found: list[Taps] = [
            self._native.taps(self.features, one) if native else self._read(one)
            for one, native in zip((images, target), natively, strict=True)
        ]
        if natively[0] != natively[1]:
            _equate(found[natively.index(True)], found[natively.index(False)], images, target)
        return found[0], found[1]

    def _read(self, images: Tensor) -> Taps:
        """What the layers give, as `Features` says."""
        found: Taps = self.features(images)
        return found

    def _by_engine(self, images: Tensor) -> bool:
        """Whether the native engine can compute what needs no derivatives."""
        return self.engine == "auto" and self._native.suits(self.features, images)

    def _distance(self, taps: Taps, target_taps: Taps, images: Tensor, target: Tensor) -> Tensor:
        raise NotImplementedError


class Native:
    """The native engine behind a loss: made of its weights when it is first wanted, and when they have changed.

    Args:
        preprocessing: of the model.

    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing
        self._engine: Derived[None, NativeEngine] = Derived()

    def suits(self, features: Features, images: Tensor) -> bool:
        """Whether it can take these images and weights: on the processor, in float32, of what it can keep.

        And no layer has a hook, which it does not call, or computes something else than its weights tell.
        """
        if native_module() is None or is_recorded() or torch.is_autocast_enabled("cpu"):
            return False
        if any(map(has_hooks, features.children())) or not has_kernels(features.architecture):
            return False
        modules = ((features.get_submodule(node.name), node.kind) for node in features.nodes if node.tensors)
        if not all(is_told_by_weights(module, padded=kind != "fully_connected") for module, kind in modules):
            return False
        if features.architecture.batch_norm and features.nodes[-1].kind == "convolution":
            return False  # it multiplies the normalisation in, whose weights are not among these
        weights = features.tensors().values()
        every = (images, *weights)
        return all(one.device.type == "cpu" and one.dtype == torch.float32 for one in every) and can_keep(weights)

    def taps(self, features: Features, images: Tensor) -> Taps:
        """What the layers give, as `Features` does."""
        engine, shown = self._shown(features, images)
        found = engine.run_preprocessed(shown, features.layers)
        return {name: torch.from_numpy(maps) for name, maps in found.items()}

    def distances(
        self, features: Features, images: Tensor, target: Tensor, weights: Taps, *, epsilon: float
    ) -> Taps:
        """How far unit vectors are apart at each place of each layer, as `NativeEngine.distances` says."""
        engine, shown = self._shown(features, torch.stack([images, target], 1).flatten(0, 1))
        by_layer = {layer: tensor.detach().float().contiguous().numpy() for layer, tensor in weights.items()}
        found = engine.distances(shown, by_layer, epsilon=epsilon)
        return {layer: torch.from_numpy(maps) for layer, maps in found.items()}

    def _shown(self, features: Features, images: Tensor) -> tuple[NativeEngine, NDArray[np.float32]]:
        """The engine, and images as it takes them."""
        engine = self._engine.get(None, features.tensors().values(), lambda: self._make(features))
        return engine, features.preprocessed(images).permute(0, 2, 3, 1).resolve_neg().numpy()

    def _make(self, features: Features) -> NativeEngine:
        from verydeep.inference.native import NativeEngine
        from verydeep.run_folder import ModelConfig, TrainedOn

        architecture = features.architecture
        names = tuple(map(str, np.arange(architecture.num_classes)))
        return NativeEngine(
            ModelConfig(architecture, self._preprocessing, names, TrainedOn((1, 1))),
            {name: tensor.detach().contiguous().numpy() for name, tensor in features.tensors().items()},
            features.layers,
            pooling=features.pooling,
            threads=torch.get_num_threads(),
            on_demand=True,
        )


def _equate(native: Taps, by_torch: Taps, images: Tensor, target: Tensor) -> None:
    """Give equal images equal taps, as the two engines round differently: their distance is exactly 0."""
    same = (images == target).flatten(1).all(1)
    if same.any():
        for name, tap in by_torch.items():
            by_torch[name] = plain(tap)
            mixed = by_torch[name].detach().clone()  # of the same layout, by which sums are rounded
            mixed[~same] = native[name][~same]
            native[name] = mixed


def check_pair(images: Tensor, target: Tensor) -> None:
    """Make sure that two batches can be compared pair by pair.

    Raises:
        UsageError: they differ in shape, type or device.

    """
    if images.shape != target.shape:
        raise UsageError(
            f"images have the shape {tuple(images.shape)}, their targets {tuple(target.shape)}; a pair must be "
            "of one size: rescale or cut one of them, or .expand() a single one over the batch"
        )
    if (images.dtype, images.device) != (target.dtype, target.device):
        raise UsageError(
            f"images are {images.dtype} on {images.device}, their targets {target.dtype} on "
            f"{target.device}; bring both to one: target.to(images)"
        )


def reduce(distances: Tensor, reduction: Reduction) -> Tensor:
    """Reduce over the batch, and over places where there is a distance for each."""
    if reduction == "none":
        return distances
    return distances.mean() if reduction == "mean" else distances.sum()


def layer_weights(layers: Sequence[str], weights: Sequence[float] | None) -> dict[str, float]:
    """A weight for each layer: 1 where none are given.

    Raises:
        UsageError: there is another number of them, or one is not a finite number.

    """
    try:
        numbers = [1.0] * len(layers) if weights is None else [float(weight) for weight in weights]
    except (TypeError, ValueError):
        raise UsageError(f"weights are {weights!r}; give a list with a number for each layer") from None
    if len(numbers) != len(layers):
        raise UsageError(f"there are {len(numbers)} weights for {len(layers)} layers; give one for each")
    if not all(isfinite(number) for number in numbers):
        raise UsageError(f"layers have the weights {', '.join(map(str, numbers))}; each must be a finite number")
    return dict(zip(layers, numbers, strict=True))


def mean_difference(first: Tensor, second: Tensor, distance: Distance) -> Tensor:
    """Mean of squared (`mse`) or absolute (`mae`) differences, for each of a batch."""
    difference = wide(first) - wide(second)
    return (difference.square() if distance == "mse" else difference.abs()).flatten(1).mean(1)


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context without `torch.autocast`, which the meta device has none of."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def wide(tap: Tensor) -> Tensor:
    """A tensor in float32 where it has fewer bits, as under autocast, so that sums over it are right."""
    return tap.float() if tap.dtype in (torch.bfloat16, torch.float16) else tap


def weighted_sum(distances: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Distances of the layers, each with its weight."""
    return torch.stack([weights[layer] * distance for layer, distance in distances.items()]).sum(0)

"""Taps of a network on torch: with gradients to the image, on any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from operator import attrgetter
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.arguments import check_type
from verydeep.errors import UsageError
from verydeep.images.color import Preprocessing
from verydeep.network import native_layers
from verydeep.network.derivatives import is_foreign
from verydeep.network.derived import Derived, can_keep
from verydeep.network.forward import Engine, Network, plain
from verydeep.network.native_layers import Maps
from verydeep.network.preprocess import Preprocess
from verydeep.network.ranges import (
    PRECISIONS,
    Grey,
    ImagesLike,
    Range,
    as_images,
    check_images,
    check_values,
)
from verydeep.network.vgg import VGG
from verydeep.plan import PoolingKind, check_size, nodes_to

Module = TypeVar("Module", bound=nn.Module)

MOST_TRANSFORMED = 256 << 20  # bytes of transformed weights: D's features take 225 MiB, and as much for gradients


class Features(Network):
    """What the named layers of a network give for images. The network ends at the deepest of them.

    The weights are shared with `network`, not copied, and frozen: gradients go to the images, not to them, and
    `network` itself stays as it is. The layers compute what the network's do, with the hooks, parametrisations and
    pruning that these have by now. Batch normalisation goes by the model's statistics, whether training or not,
    and there is no dropout. Nothing is computed in place, so a tap stays what it was.

    Images may be on any device. Where they are on another than the weights, or in float64, copies of the weights
    are used, which are kept until the weights change; the weights themselves are never moved or cast. Images of
    fewer bits than the weights are computed in the weights' precision; `torch.autocast` does what it always does.

    Args:
        network: whose layers are tapped.
        layers: their names: `conv4_3` before the ReLU, `relu4_3` after it, `bn4_3` between where the network is
            batch-normalised, `norm1_1` (LRN), `pool5`, `fc7`, `relu7`; `verydeep.layer_names` lists them.
        preprocessing: the model's. Wanted with `range`.
        range: least and greatest value of the images, which then are RGB: (0, 1), (-1, 1) or (0, 255). None
            where images are preprocessed already, as `network` itself takes them.
        pooling: `average` replaces every max-pooling by the mean of the same 2x2 places, as Gatys et al. do.
        trainable: whether weights are trained too, by gradients that go to `network`'s own parameters.
        check: whether the values of images are compared with `range`.
        grey: `repeat` takes images of one channel too.
        engine: what computes; None for what computes `network`.
        most_transformed: bytes of transformed weights that are kept for the next call.

    Raises:
        UsageError: there is no such layer; the message names the near ones. Or `range` lacks `preprocessing`.

    """

    def __init__(
        self,
        network: VGG,
        layers: Sequence[str],
        *,
        preprocessing: Preprocessing | None = None,
        range: Range | None = None,
        pooling: PoolingKind = "max",
        trainable: bool = False,
        check: bool = True,
        grey: Grey = "refuse",
        engine: Engine | None = None,
        most_transformed: int = MOST_TRANSFORMED,
    ) -> None:
        super().__init__()
        check_type("grey", grey, Grey)
        check_type("pooling", pooling, PoolingKind)
        self.grey: Grey = grey
        self.architecture = network.architecture
        self.nodes = nodes_to(network.architecture, layers)
        self.layers = tuple(layers)
        self.pooling: PoolingKind = pooling
        self.engine = engine or network.engine
        if range is not None and preprocessing is None:
            raise UsageError(
                "a network alone does not know how its images are preprocessed; give preprocessing, or a model "
                "from disk, or leave range out and give images as the network takes them"
            )
        self.preprocess = None if preprocessing is None or range is None else Preprocess(preprocessing, range)
        self.check = check
        self._copies: Derived[tuple[torch.device, torch.dtype], Features] = Derived()
        self._transformed: Derived[object, Tensor] = Derived(_bytes_of, most_transformed)
        for node in self.nodes:
            if node.tensors:
                module = network.get_submodule(node.name)
                self.add_module(node.name, module if trainable else _frozen(module))

    def forward(self, images: ImagesLike) -> dict[str, Tensor]:
        """What each layer gives, by its name, in the order that they were asked for.

        Args:
            images: of shape (batch, 3, height, width): RGB in the range that was said, or preprocessed. In the
                range of levels they may be uint8. An array has the shape (batch, height, width, 3).

        Returns:
            Of shape (batch, channels, rows, columns) each; FC layers give a place for each window.

        Raises:
            UsageError: the images are too small, have another shape or type, or are outside their range.

        """
        return {name: plain(found) for name, found in self.packed(self.as_images(images)).items()}

    def packed(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor | Maps]:
        """The same, but what the kernels computed stays in their layout; of some of the layers alone, if asked."""
        check_images(images)
        nodes = self.nodes if layers is None else nodes_to(self.architecture, list(layers))
        check_size(self.architecture, nodes, *images.shape[2:])
        dtype = self._precision(images)
        network = self._at(images.device, dtype)
        # Preprocessed before they are rounded to what the weights have.
        return network.run_packed(nodes, network.preprocessed(images).to(dtype), layers or self.layers)

    def on_kernels(self, images: Tensor) -> bool:
        """Whether the kernels compute the first convolution of these images."""
        return self.engine == "auto" and native_layers.takes(images) and self._is_native(self.nodes[0], images)

    def transformed(self, weight: Tensor, name: str) -> native_layers.Transformed | None:
        """Keep what the kernels make of frozen weights, up to `most_transformed` bytes in all."""
        if not can_keep([weight]):
            return None

        def give(sizes: native_layers.Sizes, back: bool, precision: native_layers.Precision) -> Tensor | None:
            # Maps of up to 3 places a side may be computed in another way.
            key = (name, back, precision, sizes[2:] if min(sizes[2:]) < 4 else ())
            return self._transformed.get(
                key, [weight], lambda: native_layers.transform(weight, sizes, back, precision)
            )

        return give

    def tensors(self) -> dict[str, Tensor]:
        """Weights and statistics by their names in the state dict.

        By attributes, as the replicas that `nn.DataParallel` makes have no parameters.
        """
        named = {name: attrgetter(name)(self) for node in self.nodes for name in node.tensors}
        return {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}

    def as_images(self, images: ImagesLike, what: str = "images") -> Tensor:
        """Turn what `forward` takes into floating-point numbers with channels first; messages call them `what`.

        Raises:
            UsageError: they are of another shape or type.

        """
        return as_images(images, self.preprocess.range if self.preprocess else None, self.grey, what)

    def preprocessed(self, images: ImagesLike) -> Tensor:
        """Images as the network takes them, of images in the range that was said, which is checked.

        Raises:
            UsageError: they are of another shape or type, have NaN, or are outside the range.

        """
        given = self.as_images(images)
        if self.preprocess is None:
            return given
        if self.check:
            check_values(given, self.preprocess.range)
        x: Tensor = self.preprocess(given.permute(0, 2, 3, 1))
        return x

    def batch_norm(self, module: nn.BatchNorm2d, x: Tensor) -> Tensor:
        """Normalise by the model's statistics, in training too."""
        if not module.training:
            found: Tensor = module(x)
            return found
        return F.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps)

    def normalizes_by_batch(self, module: nn.BatchNorm2d) -> bool:
        """Never."""
        return False

    def _precision(self, images: Tensor) -> torch.dtype:
        """The precision of both weights and images in which none of these loses any.

        Raises:
            UsageError: the weights are of a type that nothing is computed in.

        """
        dtype: torch.dtype = attrgetter(next(name for node in self.nodes for name in node.tensors))(self).dtype
        if dtype not in PRECISIONS:
            raise UsageError(
                f"the weights are {dtype}, which cannot be used for computing; use `.float()` or `.half()`"
            )
        if images.dtype == torch.float64:
            return torch.float64
        return torch.float32 if dtype == torch.float64 else dtype

    def _at(self, device: torch.device, dtype: torch.dtype) -> Features:
        """The network on a device and in a precision: itself, or a copy.

        Raises:
            UsageError: the weights have no values.

        """
        tensors = self._held()
        if all((one.device, one.dtype) == (device, dtype) and not is_foreign(one) for one in tensors):
            return self
        if any(one.is_meta for one in tensors) and device.type != "meta":
            raise UsageError("the weights are on the meta device, which has no values; load the model anew")
        if can_keep(tensors):
            return self._copies.get((device, dtype), tensors, lambda: self._copy(device, dtype))
        return self._copy(device, dtype)

    def _copy(self, device: torch.device, dtype: torch.dtype) -> Features:
        """The network with its tensors moved and cast, by operations that gradients go through."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype, copy=True)

        def moved_constant(tensor: Tensor) -> Tensor:
            return tensor.to(device, torch.promote_types(dtype, tensor.dtype), copy=True)

        twin = _like(self, moved)
        if self.preprocess is not None:  # which is not rounded to what the weights have
            twin.preprocess = _like(self.preprocess, moved_constant)
        twin._copies, twin._transformed = copy(self._copies), copy(self._transformed)  # which are empty
        return twin

    def _held(self) -> list[Tensor]:
        """All that the layers compute with: also what hooks and parametrisations make weights of."""
        layers = [self.get_submodule(node.name) for node in self.nodes if node.tensors]
        held = [
            one
            for layer in layers
            for module in layer.modules()
            for one in (vars(module) | module._parameters | module._buffers).values()
        ]
        return [one for one in held if isinstance(one, Tensor) and one.is_floating_point()]


def _bytes_of(tensor: Tensor) -> int:
    return tensor.nbytes


def _frozen(module: nn.Module) -> nn.Module:
    """A module with the same tensors, which gets no gradients and can be moved without moving the other."""

    def frozen(tensor: Tensor) -> Tensor:
        detached = tensor.detach()
        return nn.Parameter(detached, requires_grad=False) if isinstance(tensor, nn.Parameter) else detached

    return _like(module, frozen).eval()


def _like(module: Module, change: Callable[[Tensor], Tensor]) -> Module:
    """A module that computes the same, hooks and parametrisations too, of tensors made of the other's.

    Its class is the other's, and what is no tensor is shared. Tensors need not be parameters.
    """
    twin = module.__new__(type(module))

    def changed(value: Any) -> Any:
        if isinstance(value, nn.Module):
            return _like(value, change)
        if isinstance(value, MethodType) and value.__self__ is module:  # a forward of its own
            return MethodType(value.__func__, twin)
        return change(value) if isinstance(value, Tensor) else value

    for name, value in vars(module).items():
        twin.__dict__[name] = changed(value)
        if isinstance(value, dict):  # of parameters, buffers, modules or hooks, which are added here alone
            twin.__dict__[name] = copy(value)
            twin.__dict__[name].update((key, changed(one)) for key, one in value.items())
    return twin

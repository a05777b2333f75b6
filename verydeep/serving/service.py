"""What requests ask for -> what models answer. Images are decoded by a few threads and computed by one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.comparison.drawing import overlay
from verydeep.comparison.metrics import metric_of
from verydeep.configurations import STRIDE
from verydeep.errors import UsageError
from verydeep.evaluation.posterior import Posteriors, posterior_of_maps
from verydeep.evaluation.protocols import Protocol
from verydeep.evaluation.score_map import ScoreMap, map_stride
from verydeep.extraction.extract import Extraction, Rows, extract
from verydeep.extraction.summaries import Summary, summary_shape
from verydeep.feature_layers import LAYERS, check_vgg16
from verydeep.images import decode
from verydeep.images.encode import png
from verydeep.images.geometry import rescaled_size
from verydeep.images.views import Pixels, as_image, rescale
from verydeep.inference.engine import Engine
from verydeep.plan import SCORES, nodes_to, output_shapes
from verydeep.processor import num_threads
from verydeep.serving.limits import MOST_OUTPUTS, MOST_SHOWN, MOST_WRITTEN, Limits, Refusal
from verydeep.serving.metrics import Metrics
from verydeep.serving.models import ServedModel, ServedModels
from verydeep.serving.work import Room, Worker
from verydeep.visualization.maps import LayerMaps, strongest_channels

Sent = decode.Encoded | Pixels
Answer = TypeVar("Answer")


class Service:
    """Models, and what computes for them.

    Args:
        models: by name.
        limits: what it takes at most.
        threads: that decode images (default: one for each core that it may use).

    """

    def __init__(self, models: ServedModels, limits: Limits, threads: int | None = None) -> None:
        self.models = models
        self.limits = limits
        self.metrics = Metrics()
        self.room = Room(limits.queue)
        self.worker = Worker(self.room, self.metrics)
        self._decoders = ThreadPoolExecutor(num_threads(threads), "verydeep-decode")

    def close(self) -> None:
        """Finish what is at work, and end the threads."""
        self.worker.close()
        self._decoders.shutdown(cancel_futures=True)

    async def posteriors(
        self, model: ServedModel, images: Sequence[Sent], views: str | None, scales: tuple[int, ...]
    ) -> Posteriors:
        """Probabilities of the classes, a row for each image: what `verydeep predict` computes.

        Raises:
            Refusal: there is no room, or an image is too large.
            UsageError, ImageError, ModelError: as `Model.posterior`.

        """
        tests = model.tests(views, scales)
        protocols = [one for test in tests for one in test]
        scoring = model.scoring(tests)
        with self.room.images(len(images)):
            if len(images) > 1:  # of one, the thread that decodes it makes sure
                sizes = await self._all([partial(self._size, one) for one in images])
                check_shown(sum(self._shown(size, scoring.scales, protocols, model) for size in sizes), "scales")
            rows = np.empty((len(images), scoring.num_classes))
            waiting: list[tuple[list[int], asyncio.Future[list[Any]]]] = []
            try:
                with self.worker.arriving():
                    ready = await self._all(
                        [partial(self._at_scales, one, scoring.scales, protocols, model) for one in images]
                    )
                    groups: dict[Any, list[int]] = defaultdict(list)
                    for number, (image, _) in enumerate(ready):
                        shapes = tuple(image[scale].shape for scale in scoring.scales) if scoring.whole else ()
                        groups[model.name, views, scales, shapes].append(number)
                    for key, numbers in groups.items():
                        items, pixels = zip(*(ready[number] for number in numbers), strict=True)
                        future = self.worker.submit(items, scoring.posteriors, key, pixels=sum(pixels))
                        waiting.append((numbers, future))
                for numbers, future in waiting:
                    rows[numbers] = await future
            finally:  # where one failed, or the client has gone
                for _, future in waiting:
                    future.cancel()
            return rows

    async def posteriors_of_tensor(self, model: ServedModel, images: NDArray[np.float32]) -> Posteriors:
        """Probabilities for images that are preprocessed already: one dense view each, as they are.

        Args:
            model: one network, on the native engine.
            images: of shape (batch, 3, height, width), as the ONNX export takes them.

        """
        engine: Any = model.engine
        if not model.takes_tensors:
            raise UsageError("preprocessed images are taken by a single network on the native engine; send files")
        if images.size > 3 * MOST_SHOWN:
            raise Refusal(413, f"the tensor has {images.size:,} numbers; at most {3 * MOST_SHOWN:,} are taken")

        def compute(items: list[NDArray[np.float32]]) -> list[Posteriors]:
            scores = [engine.run_preprocessed(one[None].transpose(0, 2, 3, 1), (SCORES,))[SCORES] for one in items]
            return [posterior_of_maps(one)[0] for one in scores]

        with self.room.images(len(images)):
            return np.stack(await self.worker.submit(list(images), compute, pixels=images.size // 3))

    async def score_map(
        self, model: ServedModel, image: Sent, scale: int | None, render: Callable[[ScoreMap], Answer]
    ) -> Answer:
        """Where in an image the classes are seen; of an ensemble the mean. `render` makes the answer."""
        if model.has_views and not model.has_map:
            raise UsageError(f"the networks of {model.name} have windows of different sizes; ask one of them")
        window = model.window

        def compute(decoded: list[Image.Image]) -> list[ScoreMap]:
            maps = [one.score_map(decoded[0], scale) for one in model.models]
            return [replace(maps[0], posteriors=np.mean([one.posteriors for one in maps], axis=0))]

        def rescaled() -> Image.Image:
            decoded = self._read(image)
            side = scale or 2 * window
            width, height = rescaled_size(*decoded.size, side)
            passes = (STRIDE // map_stride(window)) ** 2
            check_shown((width + window) * (height + window) * passes * len(model.models), "scale")
            return rescale(decoded, side)  # here, so that no large image waits for the engine

        with self.room.images(1):
            ready = await self.in_thread(rescaled)
            (found,) = await self.worker.submit([ready], compute, pixels=prod(ready.size))
            return await self.in_thread(lambda: render(found))

    async def outputs(
        self,
        model: ServedModel,
        images: Sequence[Sent],
        layers: tuple[str, ...],
        pool: Summary,
        scale: int | None,
        most: int,
        render: Callable[[list[Rows]], Answer],
    ) -> Answer:
        """Outputs of layers: what `verydeep extract` saves of each image. `render` makes the answer in a thread.

        Args:
            model: that is asked.
            images: as they were sent.
            layers: their names.
            pool: what is kept of an output.
            scale: smaller side; None for that of training.
            most: numbers of the answer.
            render: outputs of each image -> the answer.

        """
        engine = model.engine
        wanted = Extraction(layers, scale or engine.config.trained_on.test_scale, None, pool)
        wanted.check(engine.config.architecture)
        nodes = engine.needed(layers, wanted.scale, wanted.scale)

        def compute(shown: list[Pixels]) -> list[Rows]:
            return [extract(engine, [one], layers, pool) for one in shown]

        with self.room.images(len(images)):
            sizes = await self._all([partial(self._size, one) for one in images])
            sizes = [rescaled_size(*size, wanted.scale) for size in sizes]
            check_shown(sum(map(prod, sizes)), "scale")
            outputs = [output_shapes(nodes, height, width) for width, height in sizes]
            for one in outputs:
                check_outputs(one, layers)
            values = sum(prod(summary_shape(one[name], pool)) for one in outputs for name in layers)
            if values > most:
                raise Refusal(413, f"the answer would have {values:,} numbers, more than {most:,}: use `pool`")
            shown = await self._all([partial(self._at_scale, one, wanted.scale) for one in images])
            rows = await self.worker.submit(shown, compute, pixels=sum(map(prod, sizes)))
            return await self.in_thread(lambda: render(rows))

    async def channels(
        self,
        model: ServedModel,
        image: Sent,
        layers: tuple[str, ...],
        top: int,
        scale: int | None,
        render: Callable[[list[LayerMaps]], Answer],
    ) -> Answer:
        """The strongest channels of layers, as `verydeep visualize` shows them; `render` as of `score_map`."""
        engine = model.engine
        side = scale or model.scales[len(model.scales) // 2]
        nodes = engine.needed(layers, side, side)

        def compute(shown: list[Pixels]) -> list[list[LayerMaps]]:
            return [strongest_channels(engine, shown[0], layers, top)]

        with self.room.images(1):
            width, height = rescaled_size(*await self.in_thread(lambda: self._size(image)), side)
            outputs = output_shapes(nodes, height, width)
            check_outputs(outputs, layers)
            drawn = sum(top * prod(outputs[name][1:]) for name in layers)
            if drawn > MOST_WRITTEN:
                raise Refusal(
                    413, f"{drawn:,} places would be drawn, more than {MOST_WRITTEN:,}; use a smaller `scale`"
                )
            shown = await self.in_thread(lambda: self._at_scale(image, side))
            (found,) = await self.worker.submit([shown], compute, pixels=width * height)
            return await self.in_thread(lambda: render(found))

    async def compare(
        self,
        model: ServedModel,
        images: Sequence[Sent],
        metric: str | None,
        layers: tuple[str, ...],
        *,
        scale: int | None,
        resize: bool,
        drawn: bool,
    ) -> Comparison:
        """The perceptual distance of two images, as `verydeep compare` measures it."""
        name = metric or default_metric(model.engine, layers)
        chosen = layers_of(model.engine, name, layers)
        measure = metric_of(name, model.engine, chosen)
        compared = chosen or LAYERS.get(name, ())
        nodes = nodes_to(model.engine.config.architecture, compared) if compared else ()
        if drawn and not measure.has_maps:
            raise UsageError(f"a map is of lpips and content; {name} is not a mean over places")

        def prepare() -> tuple[Pixels, Pixels]:
            for image in images:
                size = self._size(image)
                check_compared(rescaled_size(*size, scale) if scale is not None else size)
            first, second = (self._read(one) for one in images)
            if scale is not None:
                first, second = (rescale(one, scale) for one in (first, second))
            if first.size != second.size:
                if not resize:
                    sizes = " and ".join(f"{one.width}x{one.height}" for one in (first, second))
                    raise UsageError(f"the images have {sizes} pixels; send images of one size, or `resize=first`")
                second = second.resize(first.size, Image.Resampling.BILINEAR)
            measure.check(first.height, first.width)
            if name != "lpips":  # whose maps are not held whole
                outputs = output_shapes(nodes, first.height, first.width)
                check_outputs(outputs, compared, 4 * MOST_OUTPUTS)
            return np.asarray(first), np.asarray(second)

        def compute(pair: list[Pixels]) -> list[Comparison]:
            distances, maps = measure.pairs(pair[0][None], pair[1][None], maps=drawn)
            layer = overlay(pair[1], maps[0]) if drawn else None
            return [Comparison(name, float(distances[0]), png(layer) if layer else None)]

        with self.room.images(2):
            pair = await self.in_thread(prepare)
            found: Comparison = (await self.worker.submit(list(pair), compute, pixels=pair[0].size))[0]
            return found

    async def in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Do something in a thread that decodes, so that other requests are answered meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    async def _all(self, works: Sequence[Callable[[], Answer]]) -> list[Answer]:
        """The same for several; where one fails, those that have not begun are dropped."""
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._decoders, work) for work in works]
        try:
            return [await future for future in futures]
        finally:
            for future in futures:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # it is told of the first alone

    def _read(self, image: Sent) -> Image.Image:
        """Decode an image that is not too large."""
        if isinstance(image, decode.Encoded):
            with _refused():
                return decode.read(image, most=self.limits.max_pixels)
        self._size(image)
        return as_image(image)

    def _size(self, image: Sent) -> tuple[int, int]:
        """Width and height of an image that is not too large."""
        if isinstance(image, decode.Encoded):
            with _refused():
                return decode.size(image, most=self.limits.max_pixels)
        height, width = image.shape[:2]
        if width * height > self.limits.max_pixels:
            most = self.limits.max_pixels
            raise Refusal(413, f"the image has {width}x{height} pixels; at most {most:,} are taken")
        return width, height

    def _at_scale(self, image: Sent, scale: int) -> Pixels:
        decoded = self._read(image)
        check_shown(prod(rescaled_size(*decoded.size, scale)), "scale")
        return np.asarray(rescale(decoded, scale))

    def _at_scales(
        self, image: Sent, scales: Sequence[int], protocols: Sequence[Protocol], model: ServedModel
    ) -> tuple[dict[int, Pixels], int]:
        """Decode an image once, for all scales; and how many pixels will be shown of it."""
        decoded = self._read(image)
        shown = self._shown(decoded.size, scales, protocols, model)
        check_shown(shown, "scales")
        return {scale: np.asarray(rescale(decoded, scale)) for scale in scales}, shown

    def _shown(
        self, size: tuple[int, int], scales: Sequence[int], protocols: Sequence[Protocol], model: ServedModel
    ) -> int:
        """Pixels that are shown to networks of an image, or rescaled for it."""
        shown = len(model.models) * sum(shown_pixels(one, *size, model.window) for one in protocols)
        return max(shown, sum(prod(rescaled_size(*size, scale)) for scale in scales))


@contextmanager
def _refused() -> Iterator[None]:
    """An image that is too large is a request that is too large."""
    try:
        yield
    except decode.TooLargeError as error:
        raise Refusal(413, str(error)) from None


@dataclass(frozen=True)
class Comparison:
    """The distance of two images.

    Attributes:
        metric: its name.
        distance: 0 where the images are equal.
        map: PNG of the second image with the distance at each pixel laid over it, if it was asked for.

    """

    metric: str
    distance: float
    map: bytes | None


def default_metric(engine: Engine, layers: tuple[str, ...]) -> str:
    """LPIPS where the network is VGG-16 and no layers are named, else content."""
    try:
        check_vgg16(engine.config.architecture, "LPIPS")
    except UsageError:
        return "content"
    return "content" if layers else "lpips"


def layers_of(engine: Engine, name: str, layers: tuple[str, ...]) -> tuple[str, ...]:
    """The layers that are compared: of content the last of the third stage where there is no `relu3_3`."""
    names = [node.name for node in engine.nodes]
    if layers or name != "content" or set(LAYERS[name]) <= set(names):
        return layers
    return tuple([one for one in names if one.startswith("relu3_")][-1:] or names[-1:])


def shown_pixels(protocol: Protocol, width: int, height: int, window: int) -> int:
    """Pixels that a protocol shows a network of an image of a size."""
    total = 0
    for scale in protocol.scales:
        size = rescaled_size(width, height, scale)
        total += prod(size) if protocol.whole else len(protocol.offsets(*size, window)) * window**2
    return total * (1 + protocol.mirror)


def check_shown(pixels: int, argument: str) -> None:
    """Make sure that an answer takes no more than seconds.

    Raises:
        Refusal: too many pixels would be shown to the network.

    """
    if pixels > MOST_SHOWN:
        raise Refusal(
            413,
            f"{pixels:,} pixels would be shown to the network, more than {MOST_SHOWN:,}; use a smaller "
            f"`{argument}` or fewer images",
        )


def check_compared(size: tuple[int, int]) -> None:
    """Make sure that an image is not too large to be compared: outputs of many layers are in memory.

    Raises:
        Refusal: it is.

    """
    if prod(size) > MOST_SHOWN // 8:
        raise Refusal(
            413,
            f"an image of {size[0]}x{size[1]} pixels would be compared; at most {MOST_SHOWN // 8:,} are: use a "
            "smaller `scale`",
        )


def check_outputs(shapes: Mapping[str, Sequence[int]], layers: Sequence[str], most: int = MOST_OUTPUTS) -> None:
    """Make sure that the outputs of layers, and what is on the way to them, fit in memory.

    Raises:
        Refusal: they do not.

    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    numbers = sum(sizes[name] for name in layers) + 2 * max(sizes.values())
    if numbers > most:
        raise Refusal(413, f"{numbers:,} numbers would be computed, more than {most:,}; use a smaller `scale`")

"""The weight files that libraries publish, by checksum, and what is known about them.

Figures are the publishers' own, on ImageNet's 50,000 validation images, under the protocol that is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from verydeep.errors import check_choice
from verydeep.files import digest_of
from verydeep.images.color import Preprocessing
from verydeep.run_folder import TrainedOn
from verydeep.weights.metadata import Metadata


@dataclass(frozen=True)
class Checksum:
    """What the digest of a published file begins with.

    Attributes:
        algorithm: `sha256` or `md5`.
        prefix: hexadecimal digits, as many as were published.

    """

    algorithm: str
    prefix: str

    def of(self, path: Path) -> str:
        """The digest of a file, by this algorithm."""
        return digest_of(path, self.algorithm)

    def fits(self, path: Path) -> bool:
        """Whether the file is the one that it is the checksum of."""
        return self.of(path).startswith(self.prefix)


OXFORD_MEAN = (123.68, 116.779, 103.939)

PreprocessingName = Literal["torchvision", "oxford", "matconvnet", "amdegroot"]

PREPROCESSING = {
    # What torchvision and timm do to images of 0 to 1, in levels of 0 to 255.
    "torchvision": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "RGB"),
    # The paper's own: the mean alone, and Caffe's order, that of OpenCV.
    "oxford": Preprocessing(OXFORD_MEAN, (1.0, 1.0, 1.0), "BGR"),
    # Oxford's as MatConvNet has it, its first layer turned to RGB.
    "matconvnet": Preprocessing(OXFORD_MEAN, (1.0, 1.0, 1.0), "RGB"),
    # Oxford's without its classifier, as torchvision publishes it for SSD.
    "amdegroot": Preprocessing((122.99925, 116.9991, 103.9992), (1.0, 1.0, 1.0), "RGB"),
}
"""Preprocessings by name, as `verydeep.convert` and `verydeep.load` take them."""

TORCHVISION_TRAINED_ON = TrainedOn((256, 256))  # tested on the 224 x 224 centre at Q = 256
OXFORD_TRAINED_ON = TrainedOn((256, 512))  # both releases are the nets trained with scale jitter
OXFORD_LICENCE = "CC-BY-4.0"


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes.

    Attributes:
        name: by which its library knows it.
        url: where it is published.
        checksum: SHA-256, of which torch.hub takes the first eight digits, or MD5.
        metadata: what belongs to it.
        top1_error: in percent, under `protocol`; None where nobody tells.
        top5_error: likewise.
        protocol: how it was tested.

    """

    name: str
    url: str
    checksum: Checksum
    metadata: Metadata
    top1_error: float | None = None
    top5_error: float | None = None
    protocol: str = "224 x 224 centre crop, Q = 256"

    @property
    def file(self) -> str:
        """Its name as a file."""
        return self.url.rpartition("/")[2]


def _torchvision(
    model: str, digits: str, configuration: str, top1: float, top5: float, enumeration: str
) -> Published:
    return Published(
        f"torchvision:{model}-IMAGENET1K_V1",
        f"https://download.pytorch.org/models/{model}-{digits}.pth",
        Checksum("sha256", digits),
        Metadata(
            PREPROCESSING["torchvision"],
            None,
            TORCHVISION_TRAINED_ON,
            "BSD-3-Clause",
            f"torchvision's {enumeration}.IMAGENET1K_V1",
            configuration,
        ),
        round(100 - top1, 3),
        round(100 - top5, 3),
    )


def _keras(
    model: str, configuration: str, md5: str, notop: str, top1: float | None = None, top5: float | None = None
) -> Published:
    file = f"{model}_weights_tf_dim_ordering_tf_kernels{notop.replace('-', '_')}.h5"
    return Published(
        f"keras:{model.upper()}{notop}",
        f"https://storage.googleapis.com/tensorflow/keras-applications/{model}/{file}",
        Checksum("md5", md5),
        Metadata(
            PREPROCESSING["oxford"],
            None,
            OXFORD_TRAINED_ON,
            OXFORD_LICENCE,
            f"Keras's {model.upper()}, which is Oxford's network {configuration}",
            configuration,
        ),
        top1,
        top5,
        "224 x 224 centre crop",
    )


PUBLISHED: tuple[Published, ...] = (
    _torchvision("vgg11", "8a719046", "A", 69.020, 88.628, "VGG11_Weights"),
    _torchvision("vgg11_bn", "6002323d", "A", 70.370, 89.810, "VGG11_BN_Weights"),
    _torchvision("vgg13", "19584684", "B", 69.928, 89.246, "VGG13_Weights"),
    _torchvision("vgg13_bn", "abd245e5", "B", 71.586, 90.374, "VGG13_BN_Weights"),
    _torchvision("vgg16", "397923af", "D", 71.592, 90.382, "VGG16_Weights"),
    _torchvision("vgg16_bn", "6c64b313", "D", 73.360, 91.516, "VGG16_BN_Weights"),
    _torchvision("vgg19", "dcbb9e9d", "E", 72.376, 90.876, "VGG19_Weights"),
    _torchvision("vgg19_bn", "c79401a0", "E", 74.218, 91.842, "VGG19_BN_Weights"),
    Published(
        "torchvision:vgg16-IMAGENET1K_FEATURES",
        "https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth",
        Checksum("sha256", "88682ab5"),
        Metadata(
            PREPROCESSING["amdegroot"],
            None,
            OXFORD_TRAINED_ON,
            OXFORD_LICENCE,
            "torchvision's VGG16_Weights.IMAGENET1K_FEATURES: Oxford's network D without a classifier",
            "D",
        ),
    ),
    _keras("vgg16", "D", "64373286793e3c8b2b4e3219cbf3544b", "", 28.732, 9.95),
    _keras("vgg16", "D", "6d6bbae143d832006294945121d1f1fc", "-notop"),
    _keras("vgg19", "E", "cbe5617147190e668d6c5d5026f83318", "", 28.744, 10.012),
    _keras("vgg19", "E", "253f8cb515780f3b799900260a226db6", "-notop"),
)
"""Every file that is known by its checksum."""


def published_with(checksum: Checksum) -> Published | None:
    """The published file that has this digest, if any."""
    for published in PUBLISHED:
        known = published.checksum
        if known.algorithm == checksum.algorithm and checksum.prefix.startswith(known.prefix):
            return published
    return None


def preprocessing_of(given: Preprocessing | str | None) -> Preprocessing | None:
    """A preprocessing, or the one that a name of `PREPROCESSING` means.

    Raises:
        UsageError: nothing is called so.

    """
    if not isinstance(given, str):
        return given
    return PREPROCESSING[check_choice("preprocessing", given, PREPROCESSING)]

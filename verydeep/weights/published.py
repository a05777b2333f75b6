"""The weight files that libraries publish: what belongs to each, known by its checksum.

Figures are the publishers' own, on ImageNet's 50,000 validation pictures, under the protocol that is named.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from verydeep.images.color import Preprocessing
from verydeep.run_folder import TrainedOn
from verydeep.weights.source import Known

OXFORD_MEAN = (123.68, 116.779, 103.939)

PREPROCESSING = {
    # What torchvision and timm do to pictures of 0 to 1, in levels of 0 to 255.
    "torchvision": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "RGB"),
    # The paper's own: the mean alone, and Caffe's order, that of OpenCV.
    "oxford": Preprocessing(OXFORD_MEAN, (1.0, 1.0, 1.0), "BGR"),
    # Oxford's as MatConvNet has it, its first layer turned to RGB.
    "matconvnet": Preprocessing(OXFORD_MEAN, (1.0, 1.0, 1.0), "RGB"),
    # Oxford's without its classifier, as torchvision publishes it for SSD.
    "amdegroot": Preprocessing((122.99925, 116.9991, 103.9992), (1.0, 1.0, 1.0), "RGB"),
}
"""Preprocessings by name, as `--preprocessing` takes them."""

TORCHVISION_TRAINED_ON = TrainedOn((256, 256))  # tested on the 224 x 224 centre at Q = 256
OXFORD_TRAINED_ON = TrainedOn((256, 512))  # both releases are the nets trained with scale jitter

CHUNK = 1 << 22


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes.

    Attributes:
        name: by which its library knows it.
        file: its usual name.
        url: where it is published.
        algorithm: of the checksum: `sha256`, of which torch.hub takes the first eight digits, or `md5`.
        checksum: hexadecimal; the beginning alone where the library has no more.
        configuration: a name of Table 1.
        known: what belongs to it.
        batch_norm: whether it has batch normalisation.
        classifier: whether it has FC layers that can be used.
        top1_error: in percent, under `protocol`; None where nobody tells.
        top5_error: likewise.
        protocol: how it was tested.

    """

    name: str
    file: str
    url: str
    algorithm: str
    checksum: str
    configuration: str
    known: Known
    batch_norm: bool = False
    classifier: bool = True
    top1_error: float | None = None
    top5_error: float | None = None
    protocol: str = "224 x 224 centre crop, Q = 256"


def _torchvision(
    model: str, digits: str, configuration: str, top1: float, top5: float, enumeration: str
) -> Published:
    batch_norm = model.endswith("_bn")
    file = f"{model}-{digits}.pth"
    return Published(
        f"torchvision:{model}-IMAGENET1K_V1",
        file,
        f"https://download.pytorch.org/models/{file}",
        "sha256",
        digits,
        configuration,
        Known(
            PREPROCESSING["torchvision"],
            None,
            TORCHVISION_TRAINED_ON,
            "BSD-3-Clause",
            f"torchvision's {enumeration}.IMAGENET1K_V1",
            configuration,
        ),
        batch_norm,
        top1_error=round(100 - top1, 3),
        top5_error=round(100 - top5, 3),
    )


def _keras(
    model: str, configuration: str, md5: str, classifier: bool, top1: float | None, top5: float | None
) -> Published:
    file = f"{model}_weights_tf_dim_ordering_tf_kernels{'' if classifier else '_notop'}.h5"
    return Published(
        f"keras:{model.upper()}" + ("" if classifier else "-notop"),
        file,
        f"https://storage.googleapis.com/tensorflow/keras-applications/{model}/{file}",
        "md5",
        md5,
        configuration,
        Known(
            PREPROCESSING["oxford"],
            None,
            OXFORD_TRAINED_ON,
            "CC-BY-4.0",
            f"Keras's {model.upper()}, which is Oxford's network {configuration}",
            configuration,
        ),
        classifier=classifier,
        top1_error=top1,
        top5_error=top5,
        protocol="224 x 224 centre crop",
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
        "vgg16_features-amdegroot-88682ab5.pth",
        "https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth",
        "sha256",
        "88682ab5",
        "D",
        Known(
            PREPROCESSING["amdegroot"],
            None,
            OXFORD_TRAINED_ON,
            "CC-BY-4.0",
            "torchvision's VGG16_Weights.IMAGENET1K_FEATURES: Oxford's network D without a classifier",
            "D",
        ),
        classifier=False,
    ),
    _keras("vgg16", "D", "64373286793e3c8b2b4e3219cbf3544b", True, 28.732, 9.95),
    _keras("vgg16", "D", "6d6bbae143d832006294945121d1f1fc", False, None, None),
    _keras("vgg19", "E", "cbe5617147190e668d6c5d5026f83318", True, 28.744, 10.012),
    _keras("vgg19", "E", "253f8cb515780f3b799900260a226db6", False, None, None),
)
"""Every file that is known by its checksum."""


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def by_checksum(algorithm: str, digest: str) -> Published | None:
    """The published file that has this digest, if any."""
    for published in PUBLISHED:
        if published.algorithm == algorithm and digest.startswith(published.checksum):
            return published
    return None

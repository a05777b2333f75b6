"""What the command line needs beyond signatures and docstrings: a table for each thing, by argument or command."""

from __future__ import annotations

from collections.abc import Mapping

NAMES = {"start_from": "from"}
"""Options that are not called as their argument, `from` being a word of Python's."""

POSITIONS = {"network": "CONFIG|MODEL", "repository": "OWNER/NAME"}
"""Positions that are not called as their argument, in the singular and in capitals."""

ONE_WORD = ("class_names",)
"""Arguments that are one word here, though a function takes several, too."""

FILES: Mapping[str, tuple[str, ...]] = {"report": ("out", "page"), "watch": ("out",)}
"""Arguments that name a file for the answer; it is not printed then, unless as JSON."""

EXAMPLES: Mapping[str, str] = {
    "bench": "verydeep bench --batch-sizes 1 16",
    "compare": "verydeep compare photos restored --out distances.csv",
    "convert": "verydeep convert vgg16.pth runs/vgg16 --preprocessing torchvision --class-names imagenet",
    "describe": "verydeep describe D",
    "engines": "verydeep engines",
    "evaluate": "verydeep evaluate runs/mine photos --views both --out mine.npz",
    "export": "verydeep export runs/mine --out mine.onnx",
    "extract": "verydeep extract cifar10 photos --layers relu4_3 relu7 --out features.npz",
    "fuse": "verydeep fuse crops.npz dense.npz --out fused.npz",
    "inspect": "verydeep inspect vgg16.pth",
    "new": "verydeep new D runs/untrained --num-classes 10",
    "predict": "verydeep predict cifar10 photo.jpg --top 3",
    "push": "verydeep push runs/mine OWNER/NAME",
    "report": "verydeep report mine.npz --page mine.html --models runs/mine --data photos",
    "serve": "verydeep serve cifar10 --port 8000",
    "shard": "verydeep shard photos --out shards --rescale 512",
    "study": "verydeep study digits --out digits",
    "style": "verydeep style torchvision:vgg16 photo.jpg painting.jpg --out styled.png",
    "train": "verydeep train photos runs/mine",
    "transfer": "verydeep transfer tiny-imagenet photos --out runs/quick",
    "visualize": "verydeep visualize cifar10 photo.jpg --page layers.html",
    "watch": "verydeep watch runs/mine --follow",
}
"""An example of each command, which ends its help."""

RENAMED: Mapping[str, Mapping[str, str]] = {
    "bench": {
        "--pictures": "--images",
        "--num-pictures": "--num-images",
        "--markdown": "--out TABLE.md",
        "--image-size": "--window",
    },
    "convert": {"--configuration": "--config", "--scale": "--train-scale"},
    "describe": {"--image-size": "--window"},
    "evaluate": {"--posteriors": "--out"},
    "extract": {"--scale": "--scales"},
    "new": {"--start": "--init"},
    "predict": {"--map": "--maps"},
    "report": {"--markdown": "--out TABLE.md", "--csv": "--out TABLE.csv"},
    "shard": {"--smaller-side": "--rescale", "--pictures-per-shard": "--images-per-shard"},
    "style": {
        "--start": "--init",
        "--model": "the model stands first now: `verydeep style MODEL CONTENT STYLE --out IMAGE`",
        "--overwrite": "an image that is there is replaced now",
    },
    "train": {
        "--image-size": "--window",
        "--scale": "--train-scale",
        "--start": "--init",
        "--configuration": "--config",
    },
    "watch": {"--png": "--out"},
}
"""Options by their earlier names, and what they are called now; or a sentence on what to write instead."""

MEANT = {
    "--gpu": "--device",
    "--output": "--out",
    "-o": "--out",
}
"""Options as other programs call them, and what they are called here; those of `train` are in `recipe.SHORT`."""

"""A model, its results and its journal -> the page that stands beside its weights: a model card, in Markdown.

Nothing is invented: what nobody has told is named as unknown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verydeep.accounting import num_parameters
from verydeep.configurations import STRIDE
from verydeep.errors import UsageError
from verydeep.evaluation.calibration import calibration
from verydeep.evaluation.protocols import protocol_name
from verydeep.evaluation.results import Evaluation
from verydeep.run_folder import EARLIER, ModelConfig
from verydeep.training.journal import best_epoch
from verydeep.training.recipe import renamed

KNOWN_LICENCES = {
    "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0",
    "cc0-1.0", "gpl-3.0", "mit",
}  # fmt: skip
MOST_CLASSES = 20  # that the card names one by one
LICENCE_UNKNOWN = "The licence of these weights is unknown. Ask their source before you redistribute them."


@dataclass(frozen=True)
class CardFacts:
    """What a card tells beside the model's own facts.

    Attributes:
        name: of the model, as its reader knows it: `owner/name`, or its folder.
        results: its tests.
        epochs: the journal's records of epochs; empty where there is no journal.
        licence: of the weights; None where nobody has told it.

    """

    name: str
    results: Sequence[Evaluation] = ()
    epochs: Sequence[dict[str, Any]] = ()
    licence: str | None = None


def check_results(config: ModelConfig, results: Sequence[Evaluation]) -> None:
    """Make sure that results are of this model.

    Raises:
        UsageError: one is of another network, of several, or of other classes.

    """
    architecture = config.architecture
    for result in results:
        seen = {(one.configuration, one.width, one.batch_norm) for one in result.facts.networks}
        wanted = (architecture.configuration, architecture.width, architecture.batch_norm)
        if len(result.facts.networks) != 1 or seen != {wanted} or result.facts.class_names != config.class_names:
            names = ", ".join(f"{one.model} ({one.configuration})" for one in result.facts.networks)
            raise UsageError(
                f"a result is of {names} with {len(result.facts.class_names)} classes, the model is a network "
                f"{architecture.configuration} with {architecture.num_classes}; name results of this model"
            )


def card(config: ModelConfig, facts: CardFacts) -> str:
    """Write the card: a head for the Hub's index, and a page for people."""
    parts = [
        _head(config, facts),
        f"# {facts.name}",
        _what(config),
        "## Results",
        _figures(facts),
        "## Usage",
        _use(facts, config.architecture.num_classes),
        "## Input",
        _preprocessing(config),
        "## Training",
        _training(config),
        "## Limits",
        _limits(config),
        "## Licence",
        f"The weights: {facts.licence}." if facts.licence else LICENCE_UNKNOWN,
    ]
    return "\n\n".join(parts) + "\n"


def _head(config: ModelConfig, facts: CardFacts) -> str:
    """The head in YAML, of which JSON is a part."""
    architecture = config.architecture
    task = "image-classification" if architecture.num_classes else "image-feature-extraction"
    head: dict[str, Any] = {
        "library_name": "verydeep",
        "pipeline_tag": task,
        "tags": ["vgg", task, f"vgg-{architecture.configuration.lower()}", "arxiv:1409.1556"],
    }
    if facts.licence:
        known = facts.licence.lower() in KNOWN_LICENCES
        head |= {"license": facts.licence.lower() if known else "other"}
        head |= {} if known else {"license_name": facts.licence}
    if facts.results:
        head["model-index"] = [{"name": facts.name, "results": [_indexed(result) for result in facts.results]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---"])


def _indexed(result: Evaluation) -> dict[str, Any]:
    rates, data = result.error_rates, last_part(result.facts.data)
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": data, "split": result.facts.part},
        "metrics": [
            {
                "type": "accuracy",
                "name": f"top-1 accuracy in %, {_views(result)}",
                "value": round(100 - rates.top1_error, 4),
            }
        ],
    }


def _what(config: ModelConfig) -> str:
    architecture = config.architecture
    shape = [f"{architecture.weight_layers} weight layers", f"{num_parameters(architecture):,} parameters"]
    if architecture.width != 1:
        shape.append(f"{architecture.width:g} times the paper's channels")
    if architecture.batch_norm:
        shape.append("batch normalisation, which the paper does not have")
    gives = (
        f"It is fully convolutional: it gives class scores for every window of {architecture.window}x"
        f"{architecture.window} pixels. Their mean is its answer for an image."
        if architecture.num_classes
        else "It ends with its last pooling, which gives features, a vector for every 32 pixels."
    )
    return (
        f"Network {architecture.configuration} of *Very Deep Convolutional Networks for Large-Scale Image "
        "Recognition* (Simonyan and Zisserman, [arXiv 1409.1556](https://arxiv.org/abs/1409.1556)): "
        f"{', '.join(shape)}. {gives}\n\n"
        f"It has {_classes(config.class_names)}."
    )


def _classes(names: tuple[str, ...]) -> str:
    if not names:
        return "no classes: it has no FC layers and gives features"
    if len(names) <= MOST_CLASSES:
        return f"{len(names)} classes: {', '.join(names)}"
    return f"{len(names)} classes, from *{names[0]}* to *{names[-1]}*; `config.json` has them all"


def _figures(facts: CardFacts) -> str:
    parts = []
    if facts.results:
        rows = [
            "| data | images | protocol | top-1 error | top-5 error | calibration error |",
            "|---|--:|---|--:|--:|--:|",
        ]
        for result in facts.results:
            rates, data = result.error_rates, f"{last_part(result.facts.data)}, {result.facts.part}"
            top5 = f"{rates.top5_error:.2f} %" if rates.top_k == 5 else ""
            apart = calibration(result.posteriors, result.labels).expected_error
            rows.append(
                f"| {data} | {rates.num_images:,} | {_views(result)} | {rates.top1_error:.2f} % | {top5} | "
                f"{apart:.1f} points |"
            )
        parts += [
            "\n".join(rows),
            "The calibration error is the mean distance between the probability of the class that is named and "
            "the share of right answers, over ten bins.",
        ]
    if facts.epochs:
        best = best_epoch(facts.epochs)
        parts.append(
            f"During training, its lowest top-1 error on the held-out images was "
            f"{best['validation_error']:.2f} % (epoch {best['epoch'] + 1} of {len(facts.epochs)}). The "
            "weights are from that epoch. They were chosen by these images, so the figure is slightly too good."
        )
    return "\n\n".join(parts) or "No test of these weights is known."


def _views(result: Evaluation) -> str:
    first = result.facts.first
    tests = [member for member in result.facts.members if member.model == first.model]
    scales = ", ".join(map(str, sorted({scale for member in tests for scale in member.scales})))
    return f"{protocol_name(member.views for member in tests)}, Q = {scales}" + ", mirror images" * first.mirror


def _use(facts: CardFacts, num_classes: int) -> str:
    on_hub = "/" in facts.name
    word, package = (f"hf:{facts.name}", "'verydeep[hub]'") if on_hub else (facts.name, "verydeep")
    if not num_classes:
        return (
            f"```bash\npip install {package}\n"
            f"verydeep extract {word} image.jpg --layers pool5 --out features.npz\n```\n\n"
            f'```python\nimport verydeep\n\ntap = verydeep.features("{word}", ["pool5"], range=(0, 1))\n```'
        )
    return (
        f"```bash\npip install {package}\nverydeep predict {word} image.jpg\n```\n\n"
        f'```python\nimport verydeep\n\nmodel = verydeep.load("{word}")\n'
        'print(model.predict("image.jpg"))\nmodel.score_map("image.jpg").draw().save("where.png")\n```'
    )


def _preprocessing(config: ModelConfig) -> str:
    preprocessing, trained = config.preprocessing, config.trained_on
    least = config.architecture.window if config.architecture.num_classes else STRIDE
    scale = " to ".join(map(str, dict.fromkeys(trained.scale)))
    return (
        f"Pixels from 0 to 255, channels in the order {preprocessing.channels}. The mean {preprocessing.mean} "
        "of R, G "
        f"and B is subtracted, then the result is divided by {preprocessing.deviation}. verydeep does this "
        "itself.\n\n"
        f"Both sides must have at least {least} pixels. It was trained at S = {scale}, "
        f"{'with' if trained.mirror else 'without'} mirror images, and is tested at Q = "
        f"{trained.test_scale} by default."
    )


def _training(config: ModelConfig) -> str:
    facts = config.provenance
    lines = [line for stage in _stages(facts) for line in _stage(stage)]
    versions = facts.get("versions")
    if isinstance(versions, dict):
        lines.append("Made by: " + ", ".join(f"{name} {value}" for name, value in versions.items() if value))
    return "\n".join(f"- {line}" for line in lines) or "The training is unknown."


def _stages(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """What is known of a training, behind that of the one it started from."""
    stages = [facts]
    while isinstance(before := stages[0].get(EARLIER), dict):
        stages.insert(0, before)
    return stages


def _stage(facts: dict[str, Any]) -> list[str]:
    data, recipe = facts.get("data"), facts.get("recipe")
    lines = []
    for word, fact in (("From", "origin"), ("Grown from", "grown_from"), ("Started from", "started_from")):
        if facts.get(fact):
            lines.append(f"{word}: {facts[fact]}")
    if isinstance(data, dict):
        count = data.get("num_images")
        lines.append(f"Data: {data.get('name')}" + (f", {count:,} images" if isinstance(count, int) else ""))
        lines[-1] += f"; {data['split']}" if data.get("split") else ""
    if isinstance(recipe, dict):
        values = ", ".join(f"{name} {value}" for name, value in renamed(recipe).items())
        lines.append(f"Recipe {facts.get('recipe_name', '')}: {values}".replace(" :", ":"))
    return lines


def _limits(config: ModelConfig) -> str:
    count = config.architecture.num_classes
    if not count:
        return "- The features show what is frequent in the training data, and little of what is rare in it."
    return (
        f"- It always answers with one of its {count} classes, whatever an image shows.\n"
        "- Probabilities are not calibrated for images unlike the training data.\n"
        "- The results hold for images like those of the data above, and for the protocol in the table.\n"
        "- It inherits the biases of its training data."
    )


def last_part(place: str) -> str:
    """The last part of a path or URL: a name of data that tells nothing of the machine it lay on."""
    return place.partition("?")[0].rstrip("/\\").replace("\\", "/").rpartition("/")[2] or place

"""Run folders -> what was trained: the architecture, the recipe, the journal. Section 3.1.

A result may come from anybody: what it says is text, and only run folders that the user names are opened. A run
without one is still named, with what the result says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verydeep.configurations import configuration
from verydeep.errors import UsageError, VerydeepError, few, of_system
from verydeep.evaluation.results import Evaluation, MemberFacts
from verydeep.reports.tables import network_name, trained_scale
from verydeep.run_folder import JOURNAL, ModelConfig, folder_of
from verydeep.training.journal import best_epoch, is_epoch, read_journal
from verydeep.training.recipe import renamed
from verydeep.weights.opening import open_config
from verydeep.weights.source import locate

Particulars = list[tuple[str, list[str]]]
"""A term, and its value for each run: Table 1 has its networks in columns."""

NUM_COLORS = 6  # of the page's palette


@dataclass(frozen=True)
class Run:
    """One trained network.

    Attributes:
        facts: what its first result says of it.
        number: from 0, among the runs of the page.
        model: its path or name, as the user says; None where nothing is opened.
        config: None where the folder is gone or damaged.
        lost: why, in a sentence, or an empty text.
        journal: its records.

    """

    facts: MemberFacts
    number: int
    model: Path | None
    config: ModelConfig | None
    lost: str
    journal: list[dict[str, Any]]

    @property
    def color(self) -> int:
        """Number of its colour in the palette, from 1."""
        return self.number % NUM_COLORS + 1

    @property
    def name(self) -> str:
        """The network and its folder."""
        return f"{network_name(self.facts)} · {self.folder}"

    @property
    def folder(self) -> str:
        """The last two parts of its path."""
        return short_path(self.facts.model)

    @property
    def grown_from(self) -> str:
        """The model whose layers it began with, or an empty text."""
        return str(self.config.provenance.get("grown_from") or "") if self.config else ""

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The journal's records of epochs."""
        return [*filter(is_epoch, self.journal)]

    @property
    def seconds(self) -> float:
        """Time spent in training steps."""
        return sum(float(record["seconds"]) for record in self.journal if "seconds" in record)


def read_runs(results: Sequence[Evaluation], models: Sequence[Path]) -> list[Run]:
    """Read the run folder of each network once, in the order of the results.

    Args:
        results: they say what their networks are called, and nothing that they name is opened.
        models: the run folders that the user names: each is of the network that was tested from that path, or
            from one with the same last part.

    Raises:
        UsageError: one is of none of the networks, or of several.

    """
    members = [member for result in results for member in result.facts.members]
    first = {member.model: member for member in reversed(members)}
    recorded = list(dict.fromkeys(member.model for member in members))
    named = {_recorded_as(model, recorded): model for model in models}
    return [_read(first[model], number, named.get(model)) for number, model in enumerate(recorded)]


def _recorded_as(model: Path, recorded: Sequence[str]) -> str:
    """What results call a model that the user names."""
    same = [name for name in recorded if Path(name).absolute() == model.absolute()]
    found = same or [name for name in recorded if Path(name).name == model.name]
    if len(found) != 1:
        what = "none" if not found else "more than one"
        raise UsageError(
            f"`models` names {model}, which is {what} of the networks of these results ({few(recorded)}); name "
            "their run folders"
        )
    return found[0]


def short_path(path: str) -> str:
    """Keep the last two parts of a path, which tell it from others."""
    return "/".join(Path(path).parts[-2:])


def _read(facts: MemberFacts, number: int, model: Path | None) -> Run:
    if model is None:
        return Run(facts, number, None, None, "its run folder was not named", [])
    try:
        where = locate(model).path
        return Run(facts, number, model, open_config(model), "", read_journal(folder_of(where) / JOURNAL))
    except VerydeepError as error:
        return Run(facts, number, model, None, str(error), [])
    except OSError as error:
        return Run(facts, number, model, None, of_system(error), [])


def in_columns(columns: Sequence[dict[str, Any]]) -> Particulars:
    """Lay facts of runs out side by side; what is None is not known."""
    terms = dict.fromkeys(term for column in columns for term, value in column.items() if value is not None)
    values = {term: [column.get(term) for column in columns] for term in terms}
    return [(term, ["–" if one is None else str(one) for one in each]) for term, each in values.items()]


def network_facts(run: Run) -> dict[str, Any]:
    """Describe a network and what it started from."""
    facts, config = run.facts, run.config
    told: dict[str, Any] = {
        "weight layers": configuration(facts.configuration).weight_layers,
        "width": "the paper’s" if facts.width == 1 else f"×{facts.width:g}",
        "parameters": f"{facts.parameters:,}",
        "training scale S": trained_scale(facts.trained_scale),
    }
    if config is None:
        return told
    window, data = config.architecture.window, config.provenance.get("data") or {}
    return told | {
        "window": f"{window} × {window} pixels",
        "batch normalisation": "yes" if config.architecture.batch_norm else "no",
        "training images": f"{data['num_images']:,}" if "num_images" in data else None,
        "grown from": short_path(run.grown_from) if run.grown_from else "–",
        "init": renamed(config.provenance.get("recipe") or config.provenance).get("init"),
    }


def training_facts(run: Run) -> dict[str, Any]:
    """Describe how a network was trained and how that went."""
    if run.config is None:
        return {}
    provenance = run.config.provenance
    recipe = renamed(provenance.get("recipe") or {})
    told = {
        "recipe": provenance.get("recipe_name"),
        "learning rate": _rate(recipe),
        "batch": recipe.get("batch_size"),
        "dropout": recipe.get("dropout"),
        "weight decay": recipe.get("weight_decay"),
        "seed": recipe.get("seed", provenance.get("seed")),
        "processor": provenance.get("processor"),
    }
    if run.epochs:
        best = best_epoch(run.epochs)
        told["best epoch"] = f"{int(best['epoch']) + 1} of {len(run.epochs)}"
        told["time in training"] = duration(run.seconds)
    return told


def _rate(recipe: dict[str, Any]) -> str | None:
    if "learning_rate" not in recipe:
        return None
    return f"{recipe['learning_rate']}, {recipe.get('schedule', 'constant')}"


def duration(seconds: float) -> str:
    """Write a time in the two units that matter: `9.8 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // small} {small_name}"
    return f"{whole} s"

"""Results -> one self-contained HTML page: what was trained, how well it does, what it sees, where it errs.

The page needs no network and no JavaScript. What is no longer there (a run folder, the pictures) is left out, and
the page says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import VerydeepError, of_system
from verydeep.evaluation.calibration import calibration
from verydeep.evaluation.results import Evaluation
from verydeep.inference import open_engine
from verydeep.reports import sentences
from verydeep.reports.embedded import confusion_picture, filter_sheet
from verydeep.reports.examples import SMALL_WINDOW, Album, image_row, mistakes, score_maps
from verydeep.reports.figures import calibration_curve, learning_curves
from verydeep.reports.published import SOURCE, table_7
from verydeep.reports.runs import Run, in_columns, network_facts, read_runs, short_path, training_facts
from verydeep.reports.tables import Row, data_names, headings, make_rows, title
from verydeep.reports.templates import render_page
from verydeep.run_folder import weights_file
from verydeep.version import __version__

MOST_NUMBERED = 25  # classes of a confusion matrix with numbers
MOST_LISTED = 20  # classes of which the error is listed

Made = TypeVar("Made")


def render(results: Sequence[Evaluation], paths: Sequence[Path], page: Path) -> str:
    """Make the page.

    Args:
        results: at least one, all of the same classes.
        paths: of the results.
        page: where it will be written, for the command that makes it again.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    return render_page("page.html.jinja", _context(results, paths, page))


def _context(results: Sequence[Evaluation], paths: Sequence[Path], page: Path) -> dict[str, Any]:
    rows, runs = make_rows(results), read_runs(results)
    best = min(results, key=_rank)
    return {
        **_overview(rows, runs, best),
        **_table(rows),
        **_confusion(best),
        **_calibration(best),
        **_pictures(best),
        "short_path": short_path,
        "short_paths": lambda members: " + ".join(short_path(member.model) for member in members),
        "filters": [_filters(run) for run in runs],
        "training_commands": sentences.training_commands(runs),
        "evaluation_commands": list(map(sentences.evaluation_command, results, paths)),
        "report_command": sentences.report_command(paths, page),
        "version": __version__,
    }


def _rank(result: Evaluation) -> tuple[bool, float]:
    """Put images that were not trained on first, then the least error."""
    return result.facts.part in ("train", "all"), result.error_rates.top1_error


def _overview(rows: Sequence[Row], runs: Sequence[Run], best: Evaluation) -> dict[str, Any]:
    row = next(row for row in rows if row.facts == best.facts)
    run = next(run for run in runs if run.facts.model == best.facts.first.model)
    return {
        "headline": sentences.headline(row, len(runs)),
        "standfirst": sentences.standfirst(run, len(best.facts.class_names)),
        "runs": runs,
        "best_run": run,
        "best_name": run.name if len(best.facts.networks) == 1 else row.network,
        "networks": in_columns([network_facts(run) for run in runs]),
        "trainings": in_columns([training_facts(run) for run in runs]),
        "drawings": learning_curves(runs),
        "precision": sentences.precision(row),
        "facts": best.facts,
    }


def _table(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "table_title": title(rows),
        "headings": headings(rows),
        "rows": rows,
        "has_test_errors": any(row.published and row.published.top5_test_error is not None for row in rows),
        "several_data": len({row.data for row in rows}) > 1,
        "data_names": data_names(rows),
        "order": sentences.order(rows),
        "source": SOURCE,
        "table_7": table_7(),
        "crops": any(member.views in ("crops", "both") for row in rows for member in row.facts.members),
        "fusions": any(len(row.facts.members) > 1 for row in rows),
    }


def _confusion(best: Evaluation) -> dict[str, Any]:
    confusion = best.error_rates.confusion
    numbered = len(confusion) <= MOST_NUMBERED
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    errors = class_errors(best)
    return {
        "confusion": [
            [(count, round(share, 4)) for count, share in zip(*row, strict=True)]
            for row in zip(confusion.tolist(), shares.tolist(), strict=True)
        ]
        if numbered
        else None,
        "confusion_picture": None if numbered else confusion_picture(confusion),
        "class_errors": errors[:MOST_LISTED],
        "num_class_errors": len(errors),
        "greatest_class_error": max([item["error"] for item in errors], default=0.0),
    }


def _calibration(best: Evaluation) -> dict[str, Any]:
    measured = calibration(best.posteriors, best.labels)
    drawing, lost = _attempt(lambda: calibration_curve(measured))
    return {
        "calibration": drawing,
        "calibration_lost": lost,
        "calibration_error": measured.expected_error,
        "overconfident": bool((measured.count * (measured.confidence - measured.accuracy)).sum() > 0),
    }


def class_errors(result: Evaluation) -> list[dict[str, Any]]:
    """List the classes that have images, the one most often wrong first.

    Of each: its name; its top-1 error, in %; and the class that it is most often taken for, if there is one.
    """
    rates, names = result.error_rates, result.facts.class_names
    listed = []
    for label, row in enumerate(rates.confusion):
        if row.sum():
            others = np.where(np.arange(len(row)) == label, 0, row)
            taken_for = names[int(others.argmax())] if others.any() else ""
            listed.append({"name": names[label], "error": float(rates.per_class[label]), "taken_for": taken_for})
    return sorted(listed, key=lambda item: -item["error"])


def _pictures(best: Evaluation) -> dict[str, Any]:
    """Show the best network's examples, as far as its data and its weights are there."""
    album, album_lost = _attempt(lambda: Album(best.facts.data))
    engine, engine_lost = _attempt(lambda: open_engine(Path(best.facts.first.model)))
    maps, row, maps_lost = None, None, album_lost or engine_lost
    if album and engine:
        maps, maps_lost = _attempt(lambda: score_maps(best, album, engine))
        row, _ = _attempt(lambda: image_row(best, album, engine))
    return {
        "maps": maps,
        "maps_lost": maps_lost,
        "row": row,
        "window": engine.config.architecture.window if engine else 0,
        "small_window": SMALL_WINDOW,
        "mistakes": mistakes(best, album),
        "num_mistakes": int((best.posteriors.argmax(1) != best.labels).sum()),
        "mistakes_lost": album_lost,
    }


def _filters(run: Run) -> dict[str, Any]:
    """First-layer filters of a run, or why they cannot be shown."""
    config = run.config
    if config is None:
        return {"run": run, "sheet": None, "lost": run.lost, "grey": False}
    sheet, lost = _attempt(lambda: filter_sheet(_first_layer(run.facts.model), config.preprocessing.channels))
    return {
        "run": run,
        "sheet": sheet,
        "lost": lost,
        "number": config.architecture.convolutions[0].out_channels,
        "grey": len(set(config.preprocessing.mean)) == 1,
    }


def _first_layer(model: str) -> NDArray[Any]:
    from safetensors import SafetensorError, safe_open

    path = weights_file(Path(model))
    try:
        with safe_open(path, framework="numpy") as tensors:
            weights: NDArray[Any] = tensors.get_tensor("conv1_1.weight")
    except (SafetensorError, KeyError, ValueError) as error:
        raise VerydeepError(f"{path} has no first-layer filters that can be read: {error}") from None
    return weights


def _attempt(make: Callable[[], Made]) -> tuple[Made | None, str]:
    """Make something, or say why that cannot be done."""
    try:
        return make(), ""
    except VerydeepError as error:
        return None, str(error)
    except OSError as error:
        return None, of_system(error)

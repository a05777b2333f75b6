"""Results -> one self-contained HTML page: what was trained, how well it does, what it sees, where it errs.

The page needs no network and no JavaScript. Run folders and images are opened only where the user names them: a
result may come from anybody. What is not named or no longer there is left out, and the page says so.
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
from verydeep.inference import Engine, open_engine
from verydeep.notes import say
from verydeep.reports import sentences
from verydeep.reports.embedded import confusion_image, filter_sheet
from verydeep.reports.examples import SMALL_WINDOW, Album, image_row, mistakes, score_maps
from verydeep.reports.figures import calibration_curve, learning_curves
from verydeep.reports.published import SOURCE, table_7
from verydeep.reports.runs import Run, in_columns, network_facts, read_runs, short_path, training_facts
from verydeep.reports.tables import Row, data_names, headings, make_rows, title
from verydeep.reports.templates import render_page
from verydeep.run_folder import CONFIG, ModelConfig, weights_file
from verydeep.safetensors_file import read_tensors
from verydeep.version import __version__
from verydeep.weights.opening import is_ours, open_source
from verydeep.weights.source import locate

MOST_NUMBERED = 25  # classes of a confusion matrix with numbers
MOST_DRAWN = 5000  # classes of one that is drawn
MOST_LISTED = 20  # classes of which the error is listed
THEIRS = ("S", "Q", "top-1 (%)", "top-5 (%)", "top-5, test set (%)")  # headings of `Row.published_cells`

Made = TypeVar("Made")


def render(
    results: Sequence[Evaluation],
    paths: Sequence[Path],
    page: Path,
    models: Sequence[Path] = (),
    data: str | None = None,
) -> str:
    """Make the page.

    Args:
        results: at least one, all of the same classes.
        paths: of the results.
        page: where it will be written, for the command that makes it again.
        models: run folders of the results' networks that may be opened.
        data: the data that may be opened, for the images.

    Raises:
        UsageError: one of the models is of none of the results.
        VerydeepError: what makes pages is not installed.

    """
    rows, runs = make_rows(results), read_runs(results, models)
    best = min(results, key=_rank)
    return render_page(
        "page.html.jinja",
        {
            **_context(results, paths, rows, runs, best),
            **_images(best, _run_of(best, runs), data),
            "report_command": sentences.report_command(paths, page, models, data),
            "fuller_command": _fuller_command(paths, page, runs, models, data or best.facts.data),
            "is_full": data is not None and all(run.model for run in runs),
        },
    )


def _fuller_command(
    paths: Sequence[Path], page: Path, runs: Sequence[Run], models: Sequence[Path], data: str
) -> str:
    """The command for a page on which nothing is left out, with what the results name."""
    unnamed = [Path(run.facts.model) for run in runs if run.model is None]
    return sentences.report_command(paths, page, [*models, *unnamed], data)


def _context(
    results: Sequence[Evaluation],
    paths: Sequence[Path],
    rows: Sequence[Row],
    runs: Sequence[Run],
    best: Evaluation,
) -> dict[str, Any]:
    return {
        **_overview(rows, runs, best),
        **_table(rows),
        **_confusion(best),
        **_calibration(best),
        "short_path": short_path,
        "short_paths": lambda members: " + ".join(short_path(member.model) for member in members),
        "filters": [_filters(run) for run in runs],
        "training_commands": sentences.training_commands(runs),
        "evaluation_commands": list(map(sentences.evaluation_command, results, paths)),
        "own_commands": sentences.OWN_COMMANDS,
        "further_commands": sentences.FURTHER_COMMANDS,
        "version": __version__,
    }


def _rank(result: Evaluation) -> tuple[bool, float]:
    """Put images that were not trained on first, then the least error."""
    return result.facts.part in ("train", "all"), result.error_rates.top1_error


def _run_of(best: Evaluation, runs: Sequence[Run]) -> Run:
    """The run of a result's first network."""
    return next(run for run in runs if run.facts.model == best.facts.first.model)


def _overview(rows: Sequence[Row], runs: Sequence[Run], best: Evaluation) -> dict[str, Any]:
    row = next(row for row in rows if row.facts == best.facts)
    run = _run_of(best, runs)
    models = [member.model for member in best.facts.networks]
    tested = {tuple(member.model for member in row.facts.networks) for row in rows}
    return {
        "headline": sentences.headline(row, len(tested)),
        "standfirst": sentences.standfirst(
            [run for run in runs if run.facts.model in models], len(best.facts.class_names)
        ),
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
    has_test_errors = any(row.published and row.published.top5_test_error is not None for row in rows)
    return {
        "table_title": title(rows),
        "headings": headings(rows),
        "rows": rows,
        "theirs": THEIRS if has_test_errors else THEIRS[:-1],
        "several_data": len({row.data for row in rows}) > 1,
        "data_names": data_names(rows),
        "order": sentences.order(rows),
        "source": SOURCE,
        "table_7": table_7(),
        "crops": any(member.views in ("crops", "both") for row in rows for member in row.facts.members),
        "fusions": any(len(row.facts.members) > 1 for row in rows),
    }


def _confusion(best: Evaluation) -> dict[str, Any]:
    num_classes = len(best.facts.class_names)
    numbered, drawn = num_classes <= MOST_NUMBERED, MOST_NUMBERED < num_classes <= MOST_DRAWN
    errors = class_errors(best)
    return {
        "confusion": _numbered(best.error_rates.confusion) if numbered else None,
        "confusion_image": confusion_image(best.error_rates.confusion) if drawn else None,
        "class_errors": errors[:MOST_LISTED],
        "num_class_errors": len(errors),
        "greatest_class_error": max([item["error"] for item in errors], default=0.0),
    }


def _numbered(confusion: NDArray[np.int64]) -> list[list[tuple[int, float]]]:
    """Each number of a confusion matrix, and its share of its row."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    return [
        [(count, round(share, 4)) for count, share in zip(*row, strict=True)]
        for row in zip(confusion.tolist(), shares.tolist(), strict=True)
    ]


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
    errors, listed = rates.per_class, []
    for label in np.flatnonzero(rates.counts).tolist():
        other = rates.taken_for(label) if errors[label] else None
        taken_for = "" if other is None else names[other]
        listed.append({"name": names[label], "error": float(errors[label]), "taken_for": taken_for})
    return sorted(listed, key=lambda item: -item["error"])


def _images(best: Evaluation, run: Run, data: str | None) -> dict[str, Any]:
    """Show the best network's examples, as far as its data and its weights are named and there."""
    album, album_lost = _attempt(lambda: Album(data))
    engine, engine_lost = _attempt(lambda: _engine_of(run, best))
    maps, row, maps_lost = None, None, album_lost or engine_lost
    if album and engine:
        maps, maps_lost = _attempt(lambda: score_maps(best, album, engine))
        row, _ = _attempt(lambda: image_row(best, album, engine))
    lost = album_lost or ("" if engine_lost else maps_lost)
    if data is not None and lost:
        say(f"the page has no score maps: {lost}" if album else f"the page has no images: {lost}")
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


def _engine_of(run: Run, best: Evaluation) -> Engine:
    if run.model is None:
        raise VerydeepError(run.lost)
    engine = open_engine(run.model)
    if engine.config.class_names != best.facts.class_names:
        raise VerydeepError(f"{run.model} has other classes than the result")
    return engine


def _filters(run: Run) -> dict[str, Any]:
    """First-layer filters of a run, or why they cannot be shown."""
    config = run.config
    if config is None or run.model is None:
        return {"run": run, "sheet": None, "lost": run.lost, "grey": False}
    model = run.model
    sheet, lost = _attempt(lambda: filter_sheet(_first_layer(model, config), config.preprocessing.channels))
    return {
        "run": run,
        "sheet": sheet,
        "lost": lost,
        "number": config.architecture.convolutions[0].out_channels,
        "grey": len(set(config.preprocessing.mean)) == 1,
    }


def _first_layer(model: Path, config: ModelConfig) -> NDArray[Any]:
    where, name = locate(model).path, "conv1_1.weight"
    tensors = read_tensors(weights_file(where), only=(name,)) if is_ours(where) else open_source(model)[1]
    weights = tensors.get(name)
    if weights is None or weights.shape != config.architecture.tensors[name]:
        raise VerydeepError(f"{model} has no first-layer filters of the network in its {CONFIG}")
    return weights


def _attempt(make: Callable[[], Made]) -> tuple[Made | None, str]:
    """Make something, or say why that cannot be done."""
    try:
        return make(), ""
    except VerydeepError as error:
        return None, str(error)
    except OSError as error:
        return None, of_system(error)

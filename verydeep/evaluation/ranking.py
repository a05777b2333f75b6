"""Posteriors -> the most probable classes of an image: lists that print themselves as tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import printable
from verydeep.results import html_table

BAR_WIDTH = 30
MOST_CLASSES = 3  # that are shown of each of several images
MOST_IMAGES = 20  # of which they are shown


class Prediction(NamedTuple):
    """A class and its probability.

    Attributes:
        class_name: as the model calls it.
        probability: from 0 to 1.

    """

    class_name: str
    probability: float


class Ranking(list[Prediction]):
    """The most probable classes of an image, the best first: a list that prints itself as bars."""

    def __repr__(self) -> str:
        return "\n".join(
            f"{one.probability:7.2%}  {'█' * round(BAR_WIDTH * one.probability):{BAR_WIDTH}}  "
            f"{printable(one.class_name)}"
            for one in self
        )

    def _repr_html_(self) -> str:
        return html_table(("class", "probability"), [(name, f"{probability:.2%}") for name, probability in self])


class Rankings(list[Ranking]):
    """The rankings of several images, in their order: a list that prints the first of them, a line an image."""

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (str(number), *(f"{printable(name)} {share:.1%}" for name, share in ranking[:MOST_CLASSES]))
            for number, ranking in enumerate(self[:MOST_IMAGES])
        ]

    def _rest(self) -> str:
        return f"... and {len(self) - MOST_IMAGES} more" if len(self) > MOST_IMAGES else ""

    def __repr__(self) -> str:
        lines = [f"{number}: {', '.join(classes)}" for number, *classes in self._rows()]
        return "\n".join([*lines, *filter(None, [self._rest()])])

    def _repr_html_(self) -> str:
        rows = self._rows()
        head = ("image", *(f"class {place}" for place in range(1, max(map(len, rows), default=1))))
        return html_table(head, rows) + (f"<p>{self._rest()}</p>" if self._rest() else "")


def ranked(posterior: NDArray[np.float64], class_names: tuple[str, ...], top: int) -> Ranking:
    """The `top` most probable classes; of equally probable ones the first counts as better."""
    order = np.argsort(-posterior, kind="stable")[:top]
    return Ranking(Prediction(class_names[label], float(posterior[label])) for label in order)

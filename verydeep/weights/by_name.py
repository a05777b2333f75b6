"""Names of published weights -> a file here. No name is known yet: paths alone."""

from __future__ import annotations

from verydeep.errors import ModelError
from verydeep.run_folder import CONFIG, WEIGHTS
from verydeep.weights.source import Source


def find(name: str) -> Source:
    """Find weights by their name.

    Raises:
        ModelError: there is no such name.

    """
    raise ModelError(
        f"{name} does not exist; give a run folder with {CONFIG} and {WEIGHTS}, as `verydeep train` and "
        "`verydeep new` make, or a file of weights"
    )

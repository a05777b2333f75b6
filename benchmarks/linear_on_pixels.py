"""What a linear classifier on pixels reaches on a data set: the least that a network must beat.

    python benchmarks/linear_on_pixels.py DATA [--side 32]

Each image is rescaled to SIDE x SIDE pixels, standardised, and a multinomial logistic regression is fitted to
the training part; its strength of regularisation is chosen on a fifth of that part. Tested on the held-out part.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from verydeep.evaluation.error_rates import error_rates
from verydeep.images.image_set import ImageSet
from verydeep.images.sources import open_data


def pixels(images: ImageSet, side: int) -> np.ndarray:
    rows = []
    for number in range(len(images)):
        image = images.source.read(number, side)
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        rows.append(np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).ravel())
    return np.stack(rows).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--side", type=int, default=32)
    arguments = parser.parse_args()
    data = open_data(arguments.data)
    x, y = pixels(data.train, arguments.side), data.train.labels
    fit_x, choose_x, fit_y, choose_y = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)

    def classifier(strength: float) -> object:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))

    scores = {c: classifier(c).fit(fit_x, fit_y).score(choose_x, choose_y) for c in (1e-4, 1e-3, 1e-2, 1e-1)}
    best = max(scores, key=scores.get)
    final = classifier(best).fit(x, y)
    rates = error_rates(final.predict_proba(pixels(data.held_out, arguments.side)), data.held_out.labels)
    print(
        f"{len(y):,} training and {rates.num_images:,} held-out images of {arguments.side}x{arguments.side}, "
        f"C = {best:g}: top-1 error {rates.top1_error:.2f} %, top-{rates.top_k} error {rates.top5_error:.2f} %"
    )


if __name__ == "__main__":
    main()

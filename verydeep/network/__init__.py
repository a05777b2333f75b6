"""A batch of images -> its class score map. Sections 2.1 and 3.2 of the paper."""

from verydeep.errors import require

require("torch", "train", "computing with gradients")  # all modules of this folder and of perceptual/ import it

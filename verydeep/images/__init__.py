"""Images on disk -> batches of pixels. An image is a NumPy array until it meets torch in training."""

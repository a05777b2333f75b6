"""Pictures on disk -> batches of pixels. A picture is a NumPy array until it meets torch in training."""

"""A network and batches -> a trained network. Section 3.1 of the paper."""

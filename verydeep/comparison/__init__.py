"""Images compared with each other: their pairs, a metric on a network's layers, and its distances."""

"""Long lists of images, worked through in chunks: planned, prefetched, shared out, kept and resumed."""

"""A batch of images -> its class score map. Sections 2.1 and 3.2 of the paper."""

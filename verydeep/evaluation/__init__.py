"""Networks and images -> posteriors -> error rates. Sections 3.2 and 4 of the paper."""

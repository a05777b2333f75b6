"""The commands of `verydeep`, each made from the function of its name. `cli.py` runs them."""

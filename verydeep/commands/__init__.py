"""The commands of `verydeep`, a file each: their arguments, and how the rooms work together to answer.

A command is a dataclass. Its fields are its arguments, their docstrings its help; `run` does it.
"""

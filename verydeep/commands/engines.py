"""`verydeep engines`: what this machine can compute with, and what will be chosen."""

from __future__ import annotations

from verydeep.commands.command import Answering, command


@command
class Engines(Answering):
    """Show what this machine can compute with, and what `auto` will choose.

    VERYDEEP_THREADS and VERYDEEP_INSTRUCTIONS in the environment overrule what is found.
    """

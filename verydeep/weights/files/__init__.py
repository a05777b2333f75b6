"""A file -> its tensors, named and lying as they do in it: a module for each format of `formats.FORMATS`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from verydeep.errors import ModelError, UsageError, printable, require
from verydeep.weights.checkpoint import Checkpoint, NotWeightsError, Reader
from verydeep.weights.files import sandbox
from verydeep.weights.formats import FORMATS, format_of

MOST_LETTERS = 500  # of a reason


def read(path: Path, network: str | None = None) -> Checkpoint:
    """Read a file.

    Args:
        path: the file.
        network: which of the networks in it to take, by the name that it has there.

    Raises:
        ModelError: it is damaged, or holds what is not weights; the message names it.
        UsageError: files of this format hold one network, which has no name.
        VerydeepError: a library that reads it is not installed; the message says which extra has it.

    """
    checkpoint = Checkpoint(format_of(path))
    form = FORMATS[checkpoint.format]
    if network is not None:
        if not form.holds_several:
            raise UsageError(f"{path} holds one network; leave out the name {network}")
        checkpoint.facts["network"] = network
    if form.requires:
        require(*form.requires, f"reading {form.label} files")
    reader: Reader = sandbox.reader(form.reader) if form.sandboxed else import_module(form.reader).read
    try:
        for name, tensor, dtype in reader(path, checkpoint.facts):
            checkpoint.tensors[name], checkpoint.dtypes[name] = tensor, dtype
    except NotWeightsError as error:
        raise ModelError(f"{path} {printable(error, MOST_LETTERS)}") from None
    return checkpoint

"""A model on disk <-> in memory: its weights with everything that belongs to them. No torch here.

RUN/
  model.safetensors   the best weights (by validation error)
  config.json         architecture, preprocessing, class names, how it was trained, where it comes from
  last.safetensors    the last weights
  journal.jsonl       a line a step and a line an epoch
  split.json          names of the images that were held out, where the data came without that part
  training_images.npy hashes of the content of the images that were trained on, as `ImageSource.hashes`
  training_names.jsonl.gz  names of these images, a line each
  skipped.jsonl       images that could not be read, and why, if there are any
  state.pt            what a run needs to resume; state.previous.pt is the one before
  tensorboard/        the journal's curves for TensorBoard, where it is installed
"""

from verydeep.run_folder.config import (
    EARLIER,
    ModelConfig,
    TrainedOn,
    read_config,
)
from verydeep.run_folder.contents import (
    CONFIG,
    JOURNAL,
    LAST_WEIGHTS,
    PREVIOUS_STATE,
    SKIPPED,
    SPLIT,
    STATE,
    TENSORBOARD,
    TRAINING_IMAGES,
    TRAINING_NAMES,
    WEIGHTS,
    folder_of,
    has_state,
    making_folder,
    refuse_existing,
    remove_parts,
    remove_unbegun,
    resume_command,
)
from verydeep.run_folder.origin import (
    processor_name,
    provenance,
)
from verydeep.run_folder.split import (
    copy_training_images,
    read_split,
    read_training_images,
    read_training_names,
    write_training_images,
    write_training_names,
)
from verydeep.run_folder.tensors import (
    all_finite,
    check_shapes,
    check_tensors,
    fingerprint,
    read_model,
    weights_file,
    write_model,
    write_weights,
)

__all__ = [
    "CONFIG",
    "EARLIER",
    "JOURNAL",
    "LAST_WEIGHTS",
    "PREVIOUS_STATE",
    "SKIPPED",
    "SPLIT",
    "STATE",
    "TENSORBOARD",
    "TRAINING_IMAGES",
    "TRAINING_NAMES",
    "WEIGHTS",
    "ModelConfig",
    "TrainedOn",
    "all_finite",
    "check_shapes",
    "check_tensors",
    "copy_training_images",
    "fingerprint",
    "folder_of",
    "has_state",
    "making_folder",
    "processor_name",
    "provenance",
    "read_config",
    "read_model",
    "read_split",
    "read_training_images",
    "read_training_names",
    "refuse_existing",
    "remove_parts",
    "remove_unbegun",
    "resume_command",
    "weights_file",
    "write_model",
    "write_training_images",
    "write_training_names",
    "write_weights",
]

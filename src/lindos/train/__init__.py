"""Training: a run file, a loop, checkpoints, a journal.

For teaching a Transformer from token shards in one process. Not for preparing data (`data`), nor for describing
networks (`model`); parallel layouts are applied here, never inside the model.
"""

from lindos.train.checkpoint import CheckpointError
from lindos.train.journal import Journal
from lindos.train.loop import Trainer, TrainingError
from lindos.train.run_file import RunFile, learning_rate

__all__ = ["CheckpointError", "Journal", "RunFile", "Trainer", "TrainingError", "learning_rate"]

"""Documents to token shards to batches, resumable to the token.

For making data sets out of text (`prepare`, `lindos data prepare`) and for reading them in training and measuring
(`TokenDataset`, `BatchPlan`). Not for models or tensors: everything here is NumPy, and torch is never imported.
"""

from lindos.data.batches import Batch, BatchPlan, sequential_batches
from lindos.data.dataset import TokenDataset, TokenPart
from lindos.data.errors import DataError
from lindos.data.mix import Mix, load_mix
from lindos.data.prepare import prepare
from lindos.data.shards import DatasetWriter, ShardWriter

__all__ = [
    "Batch",
    "BatchPlan",
    "DataError",
    "DatasetWriter",
    "Mix",
    "ShardWriter",
    "TokenDataset",
    "TokenPart",
    "load_mix",
    "prepare",
    "sequential_batches",
]

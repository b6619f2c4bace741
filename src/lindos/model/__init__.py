"""The network in PyTorch, and the formats its weights come in.

One Transformer serves every model the specs describe, free of any parallelism and of any training or serving loop:
those stand in `train` and `engine`. Checkpoint formats live in `formats/`.
"""

from lindos.model.attention import attention
from lindos.model.cache import KVCache
from lindos.model.experts import Routing
from lindos.model.initial import initialise
from lindos.model.transformer import Transformer, document_starts

__all__ = ["KVCache", "Routing", "Transformer", "attention", "document_starts", "initialise"]

"""The nouns: what a network is, what it runs on, how work is spread, what people say to it.

Everything here is a frozen description with exact counts; nothing here computes a forward pass, times a machine or
touches the network. No other room of Lindos is imported.
"""

from lindos.specs.base import LindosError, Spec, SpecError, nearest
from lindos.specs.catalog import catalog_models, load_model_spec, read_table
from lindos.specs.conversation import Conversation, Message
from lindos.specs.layout import Layout
from lindos.specs.machine import Cluster, Machine
from lindos.specs.model import ModelSpec
from lindos.specs.precision import Precision

__all__ = [
    "Cluster",
    "Conversation",
    "Layout",
    "LindosError",
    "Machine",
    "Message",
    "ModelSpec",
    "Precision",
    "Spec",
    "SpecError",
    "catalog_models",
    "load_model_spec",
    "nearest",
    "read_table",
]

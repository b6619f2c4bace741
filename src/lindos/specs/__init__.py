"""The nouns: what a network is, what it runs on, how work is spread, what people say to it.

Everything here is a frozen description with exact counts; nothing here computes a forward pass, times a machine or
touches the network. No other room of Lindos is imported.
"""

from lindos.specs.base import LindosError, Spec, SpecError, nearest, nearest_few
from lindos.specs.catalog import (
    catalog_accelerators,
    catalog_clusters,
    catalog_fabrics,
    catalog_machines,
    catalog_models,
    choose,
    load_cluster,
    load_machine,
    load_model_spec,
    read_table,
)
from lindos.specs.conversation import Conversation, Message
from lindos.specs.layout import Layout
from lindos.specs.machine import Accelerator, Cluster, Fabric, Machine
from lindos.specs.model import LatentAttention, ModelSpec, RopeScaling
from lindos.specs.precision import Precision

__all__ = [
    "Accelerator",
    "Cluster",
    "Conversation",
    "Fabric",
    "LatentAttention",
    "Layout",
    "LindosError",
    "Machine",
    "Message",
    "ModelSpec",
    "Precision",
    "RopeScaling",
    "Spec",
    "SpecError",
    "catalog_accelerators",
    "catalog_clusters",
    "catalog_fabrics",
    "catalog_machines",
    "catalog_models",
    "choose",
    "load_cluster",
    "load_machine",
    "load_model_spec",
    "nearest",
    "nearest_few",
    "read_table",
]

"""ModelSpec: what the network is, and what follows from that."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lindos.specs.base import Spec
from lindos.specs.precision import Precision

Count = Annotated[int, Field(gt=0, lt=1 << 53)]
Positive = Annotated[float, Field(gt=0)]


class ModelSpec(Spec):
    """A decoder-only mixture-of-experts Transformer, by named sizes and switches.

    Other families are described by the same fields, never by subclasses: whatever a family does differently is a
    field here. Multipliers and caps are off unless they are given; Grok-1's stand in its catalogue entry.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    """How commands call it."""
    title: str = ""
    """One line for people."""
    source: str = ""
    """Where the figures come from."""
    licence: str = ""

    layers: Count
    width: Count
    """Size of the residual stream."""
    vocabulary: Count
    sequence: Count
    """Longest sequence it is meant for, in tokens."""

    heads: Count
    kv_heads: Count
    head_size: Count

    experts: Count
    experts_per_token: Count
    expert_width: Count
    """Inner size of one expert."""

    embedding_multiplier: Positive = 1.0
    """Scales the looked-up embeddings."""
    logit_multiplier: Positive = 1.0
    """Scales the final logits."""
    attention_multiplier: Positive
    """Scales q·k; usually 1/sqrt(head_size)."""
    attention_softcap: Positive | None = None
    """c in c*tanh(x/c), applied to the scaled q·k."""
    router_softcap: Positive | None = None
    logit_softcap: Positive | None = None

    rope_base: Positive = 10000.0
    norm_eps: Positive = 1e-5
    activation: Literal["gelu_tanh", "silu"] = "gelu_tanh"
    renormalise_gates: bool = False
    """Whether the gates of the chosen experts are divided by their sum."""
    tied_head: bool = True
    """Whether the output head is the transposed embedding."""

    pad_token: int | None = None
    """Keys whose token has this id are masked."""
    kind: Literal["base", "chat"] = "base"
    """A base model completes raw text; a chat model was tuned on role tokens."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.head_size % 2:
            raise ValueError(f"head_size ({self.head_size}) must be even: rotary positions turn pairs")
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token ({self.experts_per_token}) exceeds experts ({self.experts})")
        if self.pad_token is not None and not 0 <= self.pad_token < self.vocabulary:
            raise ValueError(f"pad_token ({self.pad_token}) lies outside the vocabulary ({self.vocabulary})")
        return self

    # Counts. All exact; norms and router included.

    @property
    def attention_parameters(self) -> int:
        """Weights of one layer's query, key, value and output projections."""
        return 2 * self.width * self.head_size * (self.heads + self.kv_heads)

    @property
    def expert_parameters(self) -> int:
        """Weights of one expert: gate, up and down."""
        return 3 * self.width * self.expert_width

    @property
    def router_parameters(self) -> int:
        return self.width * self.experts

    @property
    def norm_parameters(self) -> int:
        """Scales of one layer's norms: before and after attention, before and after the experts."""
        return 4 * self.width

    @property
    def layer_parameters(self) -> int:
        return self._layer(self.experts)

    @property
    def embedding_parameters(self) -> int:
        """Embedding, and the head where it is a matrix of its own."""
        return self.vocabulary * self.width * (1 if self.tied_head else 2)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.embedding_parameters + self.width

    @property
    def active_parameters(self) -> int:
        """Parameters one token passes through: the chosen experts, and everything that is not an expert."""
        return self.layers * self._layer(self.experts_per_token) + self.embedding_parameters + self.width

    def _layer(self, experts: int) -> int:
        fixed = self.attention_parameters + self.router_parameters + self.norm_parameters
        return fixed + experts * self.expert_parameters

    def weight_bytes(self, precision: Precision = Precision.BF16) -> float:
        """Bytes of all weights; below two bytes a weight the embedding stays bf16, as usual."""
        embedding = self.embedding_parameters * max(precision.bytes_per_weight, Precision.BF16.bytes_per_weight)
        return (self.parameters - self.embedding_parameters) * precision.bytes_per_weight + embedding

    def kv_bytes_per_token(self, precision: Precision = Precision.BF16) -> int:
        """Bytes of key-value cache one token adds, over all layers."""
        return int(2 * self.layers * self.kv_heads * self.head_size * precision.bytes_per_weight)

    def forward_flops_per_token(self, context: int) -> int:
        """Floating-point operations of one token's forward pass that looks back on `context` tokens.

        Two per multiply-add: every product's weights once (the head included, the embedding lookup not) and
        q·k and p·v over the context. Norms, softmax and rotary positions are left out, as is usual
        (PaLM, appendix B, https://arxiv.org/abs/2204.02311).
        """
        matrices = self.active_parameters - self.layers * self.norm_parameters - self.width
        if not self.tied_head:
            matrices -= self.vocabulary * self.width
        return 2 * matrices + 4 * self.layers * self.heads * self.head_size * context

    def training_flops_per_token(self, sequence: int) -> int:
        """Forward and backward (twice the forward) of one token, which sees half of its sequence on average."""
        return 3 * self.forward_flops_per_token(sequence // 2)

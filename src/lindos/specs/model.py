"""ModelSpec: what the network is, and what follows from that."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lindos.specs.base import Spec
from lindos.specs.precision import Precision

Count = Annotated[int, Field(gt=0, lt=1 << 53)]
Number = Annotated[int, Field(ge=0, lt=1 << 53)]
Positive = Annotated[float, Field(gt=0)]


class LatentAttention(Spec):
    """Multi-head latent attention (DeepSeek-V2, https://arxiv.org/abs/2405.04434, section 2.1).

    Keys and values are kept as one compressed vector a token; `head_size` of the model is then the part of a query or
    key without position.
    """

    kv_rank: Count
    """Size of the compressed keys and values."""
    query_rank: Number = 0
    """Size of the compressed queries; 0 where they are not compressed."""
    rope_size: Count
    """The part of each query, and the one key shared by all heads, that carries the position."""
    value_size: Count


class RopeScaling(Spec):
    """Rotary positions stretched to longer sequences: YaRN (https://arxiv.org/abs/2309.00071, sections 3.2 to 3.4).

    Pairs that turn more than `beta_fast` times within `original_sequence` keep their frequency, those that turn less
    than `beta_slow` times have it divided by `factor`, those between a linear mixture of both.
    """

    factor: Annotated[float, Field(ge=1)]
    original_sequence: Count
    """The longest sequence before stretching, in tokens."""
    beta_fast: Positive = 32.0
    beta_slow: Positive = 1.0
    attention_factor: Annotated[float, Field(ge=0)] = 0.0
    """Scales turned queries and keys, so that scores grow by its square; 0 is 0.1 ln(factor) + 1."""


class ModelSpec(Spec):
    """A decoder-only Transformer, by named sizes and switches: dense, or a mixture of experts.

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

    latent: LatentAttention | None = None

    experts: Number = 0
    """Of one layer, the shared ones apart; 0 in a dense model."""
    experts_per_token: Number = 0
    expert_width: Number = 0
    """Inner size of one expert."""
    shared_width: Number = 0
    """Inner size of what every token passes beside the chosen experts (shared experts, a residual MLP)."""
    shared_multiplier: Positive = 1.0
    """Scales the sum of the experts and that branch: 1 is DeepSeek's plain sum; Grok-2 divides by sqrt(2) (SGLang)."""
    dense_layers: Number = 0
    """Leading layers with one plain MLP instead of experts; all of them in a dense model."""
    dense_width: Number = 0
    """Inner size of that MLP."""
    routed_nodes: Number = 0
    """On how many machines one token's experts may lie (group-limited routing); 0: no limit."""
    gated: bool = True
    """Whether an MLP has a gate beside its way up."""
    mtp_layers: Number = 0
    """Extra layers that predict further tokens; trained, not counted among `parameters`."""

    window: Number = 0
    """How many tokens back the layers with a sliding window see; 0 without one."""
    full_attention_every: Count = 1
    """Every n-th layer sees everything; the others their window."""
    attention_sinks: bool = False
    """One learned logit a head that takes attention from the tokens."""
    query_key_norms: bool = False
    """An RMSNorm over each head's query and key before they are turned, its scale shared by the heads (Qwen3)."""
    learned_positions: bool = False
    """A table of `sequence` positions instead of rotary turns."""
    alibi: bool = False
    """A penalty on distance instead of rotary turns (https://arxiv.org/abs/2108.12409)."""
    biases: Literal["none", "qkv", "all"] = "none"
    """Which products add a bias."""
    router_bias: bool = False
    """A correction a router adds to choose experts (DeepSeek-V3), where `biases` does not give it one."""
    norms_per_layer: Literal[1, 2, 4] = 4
    norm_bias: bool = False
    embedding_norm: bool = False
    """A norm right after the embedding, as BLOOM has it."""

    embedding_multiplier: Positive = 1.0
    """Scales the looked-up embeddings."""
    logit_multiplier: Positive = 1.0
    """Scales the final logits."""
    attention_multiplier: Annotated[float, Field(ge=0)] = 0.0
    """Scales q·k; 0 is 1/sqrt(head_size)."""
    attention_softcap: Positive | None = None
    """c in c*tanh(x/c), applied to the scaled q·k."""
    router_softcap: Positive | None = None
    logit_softcap: Positive | None = None
    attention_temperature_length: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    """L: capped scores of a query at a position p (from 0) beyond L are multiplied with log2(p) / log2(L); 0: never.
    Grok-2 has it, as SGLang computes it (`xai_temperature_len` in its kernels); nothing of xAI's confirms it."""

    rope_base: Positive = 10000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: Positive = 1e-5
    activation: Literal["gelu_tanh", "silu", "relu2"] = "gelu_tanh"
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
        if self.dense_layers > self.layers:
            raise ValueError(f"dense_layers ({self.dense_layers}) exceeds layers ({self.layers})")
        if self.mixture_layers and not (self.experts and self.experts_per_token and self.expert_width):
            raise ValueError(
                f"{self.mixture_layers} layers have experts: experts, experts_per_token and expert_width must be given "
                "(a dense model has dense_layers equal to layers)"
            )
        if self.dense_layers and not self.dense_width:
            raise ValueError("dense_width must be given where there are dense_layers")
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token ({self.experts_per_token}) exceeds experts ({self.experts})")
        if self.attention_temperature_length == 1:
            raise ValueError(
                "attention_temperature_length must be 0 or at least 2: scores are divided by its logarithm"
            )
        if self.pad_token is not None and not 0 <= self.pad_token < self.vocabulary:
            raise ValueError(f"pad_token ({self.pad_token}) lies outside the vocabulary ({self.vocabulary})")
        return self

    # Counts. All exact; norms, biases and router included.

    @property
    def mixture_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers

    @property
    def full_layers(self) -> int:
        """Layers whose attention sees everything."""
        return self.layers // self.full_attention_every if self.window else self.layers

    @property
    def score_scale(self) -> float:
        """What q·k is multiplied with."""
        return self.attention_multiplier or self.query_key_size**-0.5

    @property
    def query_key_size(self) -> int:
        """Size of one head's query and key."""
        return self.head_size + (self.latent.rope_size if self.latent else 0)

    @property
    def value_size(self) -> int:
        """Size of one head's value."""
        return self.latent.value_size if self.latent else self.head_size

    @property
    def attention_matrices(self) -> int:
        """Weights of one layer's query, key, value and output projections, biases and norms apart."""
        if self.latent is None:
            return 2 * self.width * self.head_size * (self.heads + self.kv_heads)
        latent, queries = self.latent, self.heads * self.query_key_size
        query = latent.query_rank * (self.width + queries) if latent.query_rank else self.width * queries
        keys_values = self.width * (latent.kv_rank + latent.rope_size)
        keys_values += latent.kv_rank * self.heads * (self.head_size + latent.value_size)
        return query + keys_values + self.heads * latent.value_size * self.width

    @property
    def attention_parameters(self) -> int:
        """One layer's projections with their biases, sinks and inner norms."""
        total = self.attention_matrices
        if self.biases != "none":
            total += self.head_size * (self.heads + 2 * self.kv_heads)
        if self.biases == "all":
            total += self.width
        if self.latent is not None:
            total += self.latent.kv_rank + self.latent.query_rank
        if self.query_key_norms:
            total += 2 * self.head_size
        return total + (self.heads if self.attention_sinks else 0)

    @property
    def expert_parameters(self) -> int:
        """Weights of one expert: gate (where there is one), up and down."""
        return self._mlp(self.expert_width)

    @property
    def router_parameters(self) -> int:
        biased = self.biases == "all" or self.router_bias
        return self.width * self.experts + (self.experts if biased else 0)

    @property
    def norm_parameters(self) -> int:
        """Scales of one layer's norms over the residual stream: before (and, of four, after) attention and MLP."""
        return self.norms_per_layer * self._norm

    @property
    def layer_parameters(self) -> int:
        """One layer with experts; in a dense model, one layer."""
        return self._mixture_layer(self.experts) if self.mixture_layers else self.dense_layer_parameters

    @property
    def dense_layer_parameters(self) -> int:
        """One of the leading layers without experts; 0 where there is none."""
        if not self.dense_layers:
            return 0
        return self.attention_parameters + self.norm_parameters + self._mlp(self.dense_width)

    @property
    def embedding_parameters(self) -> int:
        """Embedding, learned positions, and the head where it is a matrix of its own."""
        positions = self.sequence * self.width if self.learned_positions else 0
        return self.vocabulary * self.width * (1 if self.tied_head else 2) + positions

    @property
    def parameters(self) -> int:
        return self._total(self.experts)

    @property
    def active_parameters(self) -> int:
        """Parameters one token passes through: the chosen experts, and everything that is not an expert."""
        return self._total(self.experts_per_token)

    def _total(self, experts: int) -> int:
        mixture = self.mixture_layers * self._mixture_layer(experts) if self.mixture_layers else 0
        dense = self.dense_layers * self.dense_layer_parameters
        norms = self._norm * (2 if self.embedding_norm else 1)
        return mixture + dense + self.embedding_parameters + norms

    @property
    def _norm(self) -> int:
        return self.width * (2 if self.norm_bias else 1)

    def _mlp(self, inner: int) -> int:
        matrices = 3 if self.gated else 2
        biases = (matrices - 1) * inner + self.width if self.biases == "all" else 0
        return matrices * self.width * inner + biases

    def _mixture_layer(self, experts: int) -> int:
        fixed = self.attention_parameters + self.router_parameters + self.norm_parameters
        shared = self._mlp(self.shared_width) if self.shared_width else 0
        return fixed + shared + experts * self.expert_parameters

    def weight_bytes(self, precision: Precision = Precision.BF16) -> float:
        """Bytes of all weights; below two bytes a weight the embedding stays bf16, as usual."""
        embedding = self.embedding_parameters * max(precision.bytes_per_weight, Precision.BF16.bytes_per_weight)
        return (self.parameters - self.embedding_parameters) * precision.bytes_per_weight + embedding

    def kv_bytes_per_token(self, precision: Precision = Precision.BF16) -> int:
        """Bytes of key-value cache one token adds, over all layers."""
        numbers = 2 * self.kv_heads * self.head_size
        if self.latent is not None:
            numbers = self.latent.kv_rank + self.latent.rope_size
        return int(self.layers * numbers * precision.bytes_per_weight)

    def kv_tokens(self, context: int) -> float:
        """How many tokens' keys and values a sequence of `context` tokens keeps, averaged over the layers."""
        if not self.window:
            return context
        return (self.full_layers * context + (self.layers - self.full_layers) * min(context, self.window)) / self.layers

    def forward_flops_per_token(self, context: int) -> int:
        """Floating-point operations of one token's forward pass that looks back on `context` tokens.

        Two per multiply-add: every product's weights once (the head included, the embedding lookup not) and
        q·k and p·v over the context. Norms, biases, softmax and rotary positions are left out, as is usual
        (PaLM, appendix B, https://arxiv.org/abs/2204.02311).
        """
        products = self.layers * self.attention_matrices + self.width * self.vocabulary
        mlp = 3 if self.gated else 2
        products += self.dense_layers * mlp * self.width * self.dense_width
        chosen = self.experts_per_token * self.expert_width + self.shared_width
        products += self.mixture_layers * self.width * (mlp * chosen + self.experts)
        pairs = self.full_layers * context
        pairs += (self.layers - self.full_layers) * min(context, self.window)
        return 2 * products + 2 * self.heads * (self.query_key_size + self.value_size) * pairs

    def training_flops_per_token(self, sequence: int) -> int:
        """Forward and backward (twice the forward) of one token, which sees half of its sequence on average."""
        return 3 * self.forward_flops_per_token(sequence // 2)

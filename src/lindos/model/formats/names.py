"""What the tensors are called: by Lindos, in the order of the release, and elsewhere.

Lindos's names are those of `Transformer.state_dict()`. The tables are in `Naming`; weights of two dimensions are
[out, in] elsewhere and experts are tensors of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lindos.specs import ModelSpec

RELEASE_LAYER = (
    "experts.gate",
    "experts.down",
    "experts.up",
    "attention.key",
    "attention.output",
    "attention.query",
    "attention.value",
    "norm_attention_in",
    "norm_attention_out",
    "norm_experts_in",
    "norm_experts_out",
    "experts.router",
)
"""One layer in the order of the release's files, a sorted walk over moe/{linear, linear_1, linear_v},
multi_head_attention/{key, linear, query, value}, rms_norm{, _1, _2, _3}, router."""


def release_order(layers: int) -> list[str]:
    """Lindos's name of each numbered file of the release; its layers are sorted as text: 0, 1, 10, 11, ..., 2, 20."""
    names = ["embedding", "final_norm"]
    for layer in sorted(map(str, range(layers))):
        names += [f"layers.{layer}.{part}" for part in RELEASE_LAYER]
    return names


def layer_shapes(spec: ModelSpec, *, dense: bool = False) -> dict[str, tuple[int, ...]]:
    """The tensors of one layer, with experts or `dense`, in the order of `Transformer.state_dict()`."""
    beside = spec.dense_width if dense else spec.shared_width
    width, inner, kv = spec.width, spec.heads * spec.head_size, spec.kv_heads * spec.head_size
    shapes: dict[str, tuple[int, ...]] = {
        "norm_attention_in": (width,),
        "norm_attention_out": (width,),
        "norm_experts_in": (width,),
        "norm_experts_out": (width,),
        "attention.query": (width, inner),
        "attention.key": (width, kv),
        "attention.value": (width, kv),
        "attention.output": (inner, width),
        "attention.query_norm": (spec.head_size,),
        "attention.key_norm": (spec.head_size,),
        "experts.router": (width, spec.experts),
        "experts.gate": (spec.experts, width, spec.expert_width),
        "experts.up": (spec.experts, width, spec.expert_width),
        "experts.down": (spec.experts, spec.expert_width, width),
        "shared.gate": (width, beside),
        "shared.up": (width, beside),
        "shared.down": (beside, width),
    }
    absent: list[str] = []
    if spec.norms_per_layer == 2:
        absent += ["norm_attention_out", "norm_experts_out"]
    if not spec.query_key_norms:
        absent += ["attention.query_norm", "attention.key_norm"]
    if dense:
        absent += ["experts.router", "experts.gate", "experts.up", "experts.down"]
    if not beside:
        absent += ["shared.gate", "shared.up", "shared.down"]
    return {name: shape for name, shape in shapes.items() if name not in absent}


def expected_shapes(spec: ModelSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of the model and its shape, one after the other: a false number of layers costs nothing."""
    yield "embedding", (spec.vocabulary, spec.width)
    plain, mixture = layer_shapes(spec, dense=True), layer_shapes(spec)
    for index in range(spec.layers):
        for part, shape in (plain if index < spec.dense_layers else mixture).items():
            yield f"layers.{index}.{part}", shape
    yield "final_norm", (spec.width,)
    if not spec.tied_head:
        yield "head", (spec.vocabulary, spec.width)


def stays_fp32(name: str) -> bool:
    """Norms and routers are kept in fp32 whatever the rest is stored in."""
    return name.endswith((".router", "norm")) or ".norm_" in name


@dataclass(frozen=True)
class Naming:
    """One way of naming, without the `.weight` that ends every name."""

    format: str
    layers: str
    """What comes before the layer's number."""
    outer: dict[str, str]
    layer: dict[str, str]
    experts: str
    """What comes before the expert's number."""
    expert: dict[str, str]
    duplicate_head: bool
    """Whether its readers want `lm_head` spelled out where it is the embedding."""
    fused: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Tensors [expert, out, in] of all experts, and ours in them, one above the other; read only."""
    spelled_otherwise: dict[str, str] = field(default_factory=dict)
    """Further names of theirs for a layer's tensors of ours; read only."""
    _back: dict[str, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._back.update({theirs: ours for ours, theirs in (self.outer | self.layer).items()})
        self._back.update(self.spelled_otherwise)

    def stem(self, name: str, expert: int | None = None) -> str:
        """Their name (without `.weight`) of ours; `expert` for tensors stacked over experts."""
        if name in self.outer:
            return self.outer[name]
        _, layer, part = name.split(".", 2)
        if part in self.expert:
            return f"{self.layers}{layer}.{self.experts}{expert}.{self.expert[part]}"
        return f"{self.layers}{layer}.{self.layer[part]}"

    def parse(self, stem: str) -> tuple[str, int | None] | None:
        """Our name (and the expert) of theirs; None for a name that is not of this format."""
        if stem in self.outer.values():
            return self._back[stem], None
        found = re.fullmatch(re.escape(self.layers) + r"(\d{1,6})\.(.+)", stem)
        if found is None:
            return None
        layer, rest = int(found[1]), found[2]
        if rest in self._back:
            return f"layers.{layer}.{self._back[rest]}", None
        found = re.fullmatch(re.escape(self.experts) + r"(\d{1,6})\.(\w+)", rest)
        parts = {theirs: ours for ours, theirs in self.expert.items()}
        if found is None or found[2] not in parts:
            return None
        return f"layers.{layer}.{parts[found[2]]}", int(found[1])

    def parse_fused(self, stem: str) -> tuple[str, ...] | None:
        """Our names of what lies in one tensor of all experts of a layer; None for any other tensor."""
        found = re.fullmatch(re.escape(self.layers) + r"(\d{1,6})\.(.+)", stem)
        if found is None or found[2] not in self.fused:
            return None
        return tuple(f"layers.{int(found[1])}.{part}" for part in self.fused[found[2]])

    def count_first(self, stems: Iterable[str]) -> int:
        """How many of these are names of layer 0."""
        first = [stem for stem in stems if stem.startswith(f"{self.layers}0.")]
        return sum(self.parse(stem) is not None or self.parse_fused(stem) is not None for stem in first)


_ATTENTION = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
}
_FUSED = {
    "mlp.experts.gate_up_proj": ("experts.gate", "experts.up"),
    "mlp.experts.down_proj": ("experts.down",),
}

SGLANG = Naming(
    format="sglang",
    layers="model.layers.",
    outer={"embedding": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head"},
    layer={
        "norm_attention_in": "pre_attn_norm",
        "norm_attention_out": "post_attn_norm",
        "norm_experts_in": "pre_moe_norm",
        "norm_experts_out": "post_moe_norm",
        **_ATTENTION,
        "experts.router": "block_sparse_moe.gate",
        "shared.gate": "mlp.gate_proj",
        "shared.up": "mlp.up_proj",
        "shared.down": "mlp.down_proj",
    },
    experts="block_sparse_moe.experts.",
    expert={"experts.gate": "w1", "experts.up": "w3", "experts.down": "w2"},
    duplicate_head=True,
)
KEYFAN = Naming(
    format="keyfan",
    layers="transformer.decoder_layer.",
    outer={"embedding": "transformer.in_out_embed", "final_norm": "transformer.rms_norm", "head": "lm_head"},
    layer={
        "norm_attention_in": "rms_norm",
        "norm_attention_out": "rms_norm_1",
        "norm_experts_in": "rms_norm_2",
        "norm_experts_out": "rms_norm_3",
        "attention.query": "multi_head_attention.query",
        "attention.key": "multi_head_attention.key",
        "attention.value": "multi_head_attention.value",
        "attention.output": "multi_head_attention.linear",
        "experts.router": "router",
    },
    experts="moe.",
    expert={"experts.gate": "linear", "experts.up": "linear_v", "experts.down": "linear_1"},
    duplicate_head=False,
)
MIXTRAL = Naming(
    format="mixtral",
    layers="model.layers.",
    outer=SGLANG.outer,
    layer={
        "norm_attention_in": "input_layernorm",
        "norm_experts_in": "post_attention_layernorm",
        **_ATTENTION,
        "experts.router": "block_sparse_moe.gate",
    },
    experts="block_sparse_moe.experts.",
    expert=SGLANG.expert,
    duplicate_head=False,
    fused=_FUSED,
    spelled_otherwise={"mlp.gate": "experts.router"},  # beside fused experts
)
QWEN3_MOE = Naming(
    format="qwen3-moe",
    layers="model.layers.",
    outer=SGLANG.outer,
    layer={
        "norm_attention_in": "input_layernorm",
        "norm_experts_in": "post_attention_layernorm",
        **_ATTENTION,
        "attention.query_norm": "self_attn.q_norm",
        "attention.key_norm": "self_attn.k_norm",
        "experts.router": "mlp.gate",
    },
    experts="mlp.experts.",
    expert={"experts.gate": "gate_proj", "experts.up": "up_proj", "experts.down": "down_proj"},
    duplicate_head=False,
    fused=_FUSED,
)
NAMINGS = (SGLANG, KEYFAN, MIXTRAL, QWEN3_MOE)

"""Each term of a step with its formula and its inputs, as `lindos plan train --explain` prints them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lindos.plan.arrays import GENERATIONS, PRECISIONS, layouts_of
from lindos.plan.case import Case
from lindos.plan.compute import Compute
from lindos.plan.memory import GIB, memory
from lindos.plan.network import Network
from lindos.plan.step import TODAY, step
from lindos.plan.training import memory_limit, shared_case
from lindos.specs import Spec


class Term(Spec):
    """One term: what it comes to, how, and from what."""

    name: str
    value: float
    unit: str
    formula: str
    inputs: dict[str, float]
    source: str = ""


def explain(plan: Any, number: int, constants: Mapping[str, float]) -> tuple[Term, ...]:
    """The terms of one option of a TrainPlan. They are computed anew, and add up to the option's step."""
    option = plan.options[number]
    shared = shared_case(plan.model, plan.cluster, sequence=plan.sequence, batch=plan.batch)
    case = Case(shared.work, shared.hardware, layouts_of([option.layout]), shared.software)
    return (
        *_counts(case),
        *_rates(case, constants),
        *_times(case, constants),
        *_sizes(case, memory_limit(plan.cluster)),
    )


def _one(value: Any) -> float:
    return float(value if isinstance(value, int | float) else value[0])


def _counts(case: Case) -> list[Term]:
    work, layout = case.work, case.layout
    ranks = {"batch": work.batch, "shards * replicas": layout.data, "micro_batch": layout.micro_batch}
    terms = [
        Term(
            name="micro-batches", value=_one(case.micro_batches), unit="a step and data rank",
            formula="batch / (shards * replicas * micro_batch)", inputs=_numbers(ranks),
        ),
        Term(
            name="tokens", value=_one(case.tokens), unit="a micro-batch and rank",
            formula="micro_batch * sequence / context",
            inputs=_numbers({"micro_batch": layout.micro_batch, "sequence": work.sequence, "context": layout.context}),
        ),
        Term(
            name="model FLOPs", value=_one(case.model_flops), unit="a step",
            formula="3 * batch * sequence * (2 * products' weights + 2 * heads * (key + value size) * pairs)",
            inputs=_numbers({"batch": work.batch, "sequence": work.sequence, "pairs": case.pairs}),
            source="PaLM, appendix B, https://arxiv.org/abs/2204.02311, with causal attention",
        ),
    ]  # fmt: skip
    if work.mixture_layers[0]:
        rows = {"tokens": case.tokens, "chosen": work.chosen, "tensor": layout.tensor, "expert": layout.expert}
        terms.append(
            Term(
                name="expert rows", value=_one(case.expert_rows), unit="a layer, micro-batch and rank",
                formula="tokens * chosen experts, / tensor where experts lie whole on their ranks",
                inputs=_numbers(rows),
            )
        )  # fmt: skip
    return terms


def _rates(case: Case, c: Mapping[str, float]) -> list[Term]:
    compute, network, hardware = Compute(case, c), Network(case, c), case.hardware
    generation = GENERATIONS[int(hardware.generation[0])]
    precision = PRECISIONS[int(case.layout.precision[0])]
    share = {"fp8": f"product8_{generation}", "fp4": "product4"}.get(precision, f"product_{generation}")
    peak = {"fp8": hardware.peak8, "fp4": hardware.peak4}.get(precision, hardware.peak16)
    return [
        Term(
            name="rate of large products", value=_one(compute.rate), unit="FLOP/s",
            formula=f"peak ({precision}) * {share} * clock; clock = (watts / usual watts) ^ power_exponent",
            inputs={**_numbers({"peak": peak, "clock": compute.clock}), **_named(c, share, "power_exponent")},
        ),
        Term(
            name="one product's widest", value=_one(_widest(case, compute)), unit="s forward",
            formula="max(FLOPs / rate * (1 + wave_outputs / outputs) * (1 + tile_edge / inner), bytes / memory)",
            inputs=_named(c, "wave_outputs", "tile_edge", "memory_share", f"grouped_{generation}", "imbalance"),
        ),
        Term(
            name="fused attention", value=_one(hardware.peak16) * c[f"attention_{generation}"], unit="FLOP/s",
            formula="peak (16 bit) * attention * (head size / 128) ^ head_exponent, at most 1; backward 2.5 times the "
            "FLOPs at attention_backward of the rate",
            inputs=_named(c, f"attention_{generation}", "attention_backward", "head_exponent"),
            source="FlashAttention-2, https://arxiv.org/abs/2307.08691",
        ),
        Term(
            name="link", value=_one(network.link), unit="B/s", formula="link bandwidth * link_share",
            inputs={**_numbers({"link bandwidth": hardware.link_bandwidth}), **_named(c, "link_share")},
        ),
        Term(
            name="port", value=_one(network.port), unit="B/s",
            formula="port bandwidth of one accelerator * port_share; a ring over several machines moves at this times "
            "its members in one machine, at most the link",
            inputs={**_numbers({"port bandwidth": hardware.port_bandwidth}), **_named(c, "port_share")},
        ),
    ]  # fmt: skip


def _widest(case: Case, compute: Compute) -> Any:
    """Seconds of the product into the widest MLP, as an example of the formula."""
    work, layout = case.work, case.layout
    if work.mixture_layers[0]:
        inner = work.ways_in * work.expert_width / case.expert_split
        return compute.product(case.expert_rows / case.local_experts, work.width, inner, groups=case.local_experts)
    return compute.product(case.tokens, work.width, work.ways_in * work.dense_width / layout.tensor)


FORMULAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "products": ("micro-batches * layers / pipeline * (forward + backward, + forward again with full recompute)", ()),
    "attention": ("the same of attention's two products", ("attention_backward",)),
    "memory-bound": (
        "bytes of norms, residuals, turns, activations, sorting and casts / memory bandwidth; backward twice",
        ("pointwise", "sort_passes", "fused_sort", "cast_bytes", "memory_share"),
    ),
    "head": ("micro-batches * (logits' products + 16 bytes a logit / memory), of the slowest stage", ("memory_share",)),
    "tensor parallel": (
        "micro-batches * layers * 4 (2 with whole experts) * (2, 3 with full recompute) gathers * tensor_shown",
        ("tensor_shown", "link_share", "collective_start"),
    ),
    "context parallel": ("keys and values gathered, beside attention: max(exchange - attention, 0) + context_shown * "
                         "min(exchange, attention)", ("context_shown",)),
    "expert parallel": (
        "micro-batches * layers * dispatch and combine * (2, 3 with full recompute) * exchange_shown; an exchange is "
        "bytes within the domain / link + bytes to other domains / port + start",
        ("exchange_shown", "exchange_link", "exchange_port", "exchange_start"),
    ),
    "host": (
        "(accelerator^4 + launches^4)^(1/4) - accelerator; launches = layers * host time * what CUDA graphs leave",
        ("host_dense_layer", "host_mixture_layer", "host_ageing", "graphs_left"),
    ),
    "pipeline sends": ("(micro-batches + bubble) * 2 * virtual stages * a micro-batch's residual stream * stage_shown",
                       ("stage_shown",)),
    "pipeline bubble": ("(pipeline - 1) / virtual stages stages' times; a third with zero-bubble", ()),
    "data parallel": (
        "scattered gradients beside the last backward pass and gathered weights beside the first forward pass, or with "
        "sharded weights both in every micro-batch: what does not hide, and a share of what does",
        ("reduced_shown", "sharded_shown", "port_share", "link_share"),
    ),
    "optimizer": ("(30 bytes * parameters of the rank's own + 4 bytes * parameters it holds) / memory + step_fixed",
                  ("step_fixed", "memory_share")),
    "older software": (
        "everything * (exp(ageing * years before mid-2026 + youth * years a generation still matures) - 1)",
        ("ageing_dense", "ageing_mixture", "youth"),
    ),
    "stragglers": ("everything * straggler * log2(accelerators / 8)", ("straggler",)),
}  # fmt: skip


def _times(case: Case, c: Mapping[str, float]) -> list[Term]:
    timed = step(case, c)
    terms = []
    for name, seconds in timed.parts.items():
        formula, used = FORMULAS[name]
        inputs = {**_INPUTS.get(name, lambda _: {})(case), **_named(c, *used)}
        terms.append(Term(name=name, value=_one(seconds), unit="s", formula=formula, inputs=inputs))
    total = "the sum of the above"
    terms.append(Term(name="step", value=_one(timed.seconds), unit="s", formula=total, inputs={"software": TODAY}))
    return terms


_INPUTS: dict[str, Callable[[Case], dict[str, float]]] = {
    "products": lambda case: _numbers({"micro-batches": case.micro_batches, "layers": case.work.layers,
                                       "pipeline": case.layout.pipeline}),
    "pipeline bubble": lambda case: _numbers({"pipeline": case.layout.pipeline,
                                              "virtual stages": case.layout.virtual_stages,
                                              "micro-batches": case.micro_batches}),
    "tensor parallel": lambda case: _numbers({"tensor": case.layout.tensor, "tokens": case.tokens,
                                              "width": case.work.width}),
    "expert parallel": lambda case: _numbers({"expert": case.layout.expert, "expert rows": case.expert_rows,
                                              "domain": case.hardware.domain}),
    "data parallel": lambda case: _numbers({"dense parameters of a rank": case.dense_rank_parameters,
                                            "expert parameters of a rank": case.expert_rank_parameters,
                                            "ranks": case.dense_copies}),
    "stragglers": lambda case: _numbers({"accelerators": case.layout.world}),
}  # fmt: skip


def _sizes(case: Case, limit: float) -> list[Term]:
    formulas = {
        "weights": "2 bytes a parameter of the rank; with sharded weights 4 bytes a parameter of its own",
        "gradients": "gradient bytes * parameters, of its own where gradients are sharded",
        "optimizer": "12 bytes (master weight, two moments) a parameter of its own; 8 beside sharded weights",
        "activations": "micro-batches in flight * layers of the stage * what each layer's backward pass needs",
        "buffers": "logits and what the loss makes of them, or the embedding's gradient; layers gathered in passing",
    }
    terms = [
        Term(name=f"memory: {kind}", value=_one(size) / GIB, unit="GiB", formula=formulas[kind], inputs={})
        for kind, size in memory(case).table().items()
    ]
    free = "accelerator's memory less 4 GiB for driver, communication and fragmentation"
    return [*terms, Term(name="memory: free", value=limit / GIB, unit="GiB", formula=free, inputs={})]


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: _one(value) for name, value in values.items()}


def _named(c: Mapping[str, float], *names: str) -> dict[str, float]:
    return {name: c[name] for name in names}

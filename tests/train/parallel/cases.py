"""Small models, and how a run in a layout is held against the run on one process."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lindos.specs import Layout, ModelSpec
from lindos.train.run_file import OptimizerSection
from lindos.train.stage import Purpose
from tests.train.parallel.pool import Pool
from tests.train.parallel.work import MUON, PURPOSE, Case, Trace, alone, shared, whole

PACKED = Purpose(z_loss=1e-3, balance=0.1, router_z=1e-2, pad_token=0, start_token=3)
"""Documents in one row apart, rows filled up."""
DENSE: dict[str, Any] = {"experts": 0, "experts_per_token": 0, "expert_width": 0, "dense_layers": 4, "dense_width": 32}
FORMS: dict[str, dict[str, Any]] = {
    "grok": {},
    "grok-2": {"shared_width": 24, "shared_multiplier": 0.7, "tied_head": False, "attention_temperature_length": 8},
    "qwen": {"norms_per_layer": 2, "query_key_norms": True, "activation": "silu", "attention_softcap": None},
    "dense": DENSE,
    "dense-first": {"dense_layers": 1, "dense_width": 32},
    "padded": {"pad_token": 0},
    "many-experts": {"experts": 16, "experts_per_token": 1},
    "four-heads": {"kv_heads": 4},
    "eight-heads": {"heads": 8, "kv_heads": 8},
    "six-layers": {"layers": 6},
    "eight-layers": {"layers": 8},
}


def form(name: str) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "tiny", "layers": 4, "width": 16, "vocabulary": 50, "sequence": 64, "heads": 4, "kv_heads": 2,
        "head_size": 8, "experts": 4, "experts_per_token": 2, "expert_width": 24, "embedding_multiplier": 3.0,
        "logit_multiplier": 0.6, "attention_multiplier": 0.5, "attention_softcap": 30.0,
    }  # fmt: skip
    return ModelSpec.model_validate(fields | FORMS[name])


def case(layout: dict[str, Any], spec: str = "grok", **rest: Any) -> Case:
    return Case(form(spec), Layout.model_validate({"precision": "fp32", "micro_batch": 2} | layout), **rest)


@functools.cache
def _alone(
    spec: str, micro_batch: int, batch: int, sequence: int, share: float, purpose: Purpose, optimizer: str
) -> Trace:
    network, layout = ModelSpec.model_validate_json(spec), Layout(micro_batch=micro_batch)
    return alone(
        Case(
            network, layout, batch=batch, sequence=sequence, share=share, purpose=purpose,
            optimizer=OptimizerSection.model_validate_json(optimizer),
        )
    )  # fmt: skip


def check_equal(pool: Pool, run: Case) -> None:
    """Every rank's losses are those of one process, and their gradients and weights together are its own."""
    one = _alone(
        run.spec.model_dump_json(), run.layout.micro_batch, run.batch, run.sequence, run.share, run.purpose,
        run.optimizer.model_dump_json(),
    )  # fmt: skip
    parts = pool.run(shared, run)
    for step, (expected, norm) in enumerate(one.results):
        for part in parts:
            result, its_norm = part.results[step]
            assert result.counted == expected.counted
            for key in ("loss", "router_loss", "balance"):
                np.testing.assert_allclose(getattr(result, key), getattr(expected, key), rtol=1e-5, err_msg=key)
            np.testing.assert_allclose(its_norm, norm, rtol=1e-4)
        gradients = whole([part.gradients[step] for part in parts])
        assert gradients.keys() == one.gradients[step].keys()
        for name, values in gradients.items():
            np.testing.assert_allclose(values, one.gradients[step][name], rtol=1e-3, atol=1e-5, err_msg=name)
    for name, values in whole([part.weights for part in parts]).items():
        np.testing.assert_allclose(values, one.weights[name], rtol=1e-4, atol=1e-5, err_msg=name)


__all__ = ["MUON", "PACKED", "PURPOSE", "case", "check_equal", "form"]

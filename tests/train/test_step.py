"""What one step computes: losses, accumulation, optimisers, schedules."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.data import Batch
from lindos.model import Transformer, initialise
from lindos.model.elementwise import fuse_elementwise
from lindos.specs import SpecError
from lindos.train import RunFile, learning_rate
from lindos.train.loss import router_loss, text_loss
from lindos.train.optimizer import MasterWeights, Optimizer, orthogonalise
from lindos.train.run_file import OptimizerSection, ScheduleSection
from lindos.train.stage import Stage
from lindos.train.step import PlainLearner, balance_of, purpose_of


@pytest.fixture
def model(tiny_spec):
    model = Transformer(tiny_spec)
    initialise(model, 0)
    return model


def batch(spec, rows=4, tokens=16, seed=0, share=1.0):
    rng = np.random.default_rng(seed)
    return rng.integers(1, spec.vocabulary, (rows, tokens + 1)), rng.random((rows, tokens)) < share


def plain_loss(model, tokens, mask, z_weight):
    """Loss and gradients by autograd over the plain formula."""
    logits = model(torch.from_numpy(tokens[:, :-1]))
    norm = torch.logsumexp(logits, -1)
    target = logits.gather(-1, torch.from_numpy(tokens[:, 1:, None]))[..., 0]
    each = norm - target + z_weight * norm.square()
    return each[torch.from_numpy(mask)].mean()


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("logit_softcap", [None, 5.0])
def test_the_chunked_head_loss_equals_the_formula(tiny_spec, share, logit_softcap, monkeypatch):
    monkeypatch.setattr("lindos.train.loss.CHUNK_TOKENS", 14)
    monkeypatch.setattr("lindos.train.loss.ROW_QUANTUM", 4)  # so that rows without a target stand in every chunk
    spec = tiny_spec.model_copy(update={"logit_softcap": logit_softcap})
    model = Transformer(spec)
    initialise(model, 0)
    tokens, mask = batch(spec, share=share)
    x, _ = model.hidden(torch.from_numpy(tokens[:, :-1]))
    chosen = torch.from_numpy(mask)
    got = text_loss(model, x[chosen], torch.from_numpy(tokens[:, 1:])[chosen], int(mask.sum()), 0.01)
    expected = plain_loss(model, tokens, mask, 0.01)
    torch.testing.assert_close(got.total, expected, atol=1e-5, rtol=1e-5)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(got.total, parameters)
    wanted = torch.autograd.grad(expected, parameters)
    for name, a, b in zip(names, gradients, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}")


def run_of(table, **changes):
    for path, value in changes.items():
        section, key = path.split("__")
        table[section] = {**table.get(section, {}), key: value}
    return RunFile.parse(table)


def learn(model, tokens, mask, run, **special):
    learner = PlainLearner(Stage(model, purpose_of(run, **special)), run.data.micro_batch)
    return learner.learn(Batch(tokens, mask))


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_micro_batches_add_up_to_the_whole_batch(run_table, tiny_spec, share):
    tokens, mask = batch(tiny_spec, share=share)
    sums = []
    for micro in (4, 1):
        model = Transformer(tiny_spec)
        initialise(model, 0)
        master = MasterWeights(model)
        # The balance term is a product of means over a micro-batch, so it alone depends on the cut.
        run = run_of(run_table, data__micro_batch=micro, router__balance=0.0)
        result = learn(model, tokens, mask, run)
        sums.append((result.loss, master.gradients))
    assert sums[0][0] == pytest.approx(sums[1][0], rel=1e-5)
    for name in sums[0][1]:
        torch.testing.assert_close(sums[0][1][name], sums[1][1][name], atol=1e-6, rtol=1e-3)


def test_separate_documents_train_as_if_each_were_alone(run_table, tiny_spec):
    """One packed row or a row for each document: the same loss and the same gradients."""
    run = run_of(run_table, data__micro_batch=1, router__balance=0.0, router__z=0.0)
    rng = np.random.default_rng(0)
    documents = [np.r_[1, rng.integers(2, tiny_spec.vocabulary, 7)] for _ in range(3)]
    packed = np.concatenate(documents)[None]
    counted = np.concatenate([[*[True] * 7, False]] * 3)[None, :-1]
    rows = np.stack(documents), np.ones((3, 7), bool)
    sums = []
    for tokens, mask in ((packed, counted), rows):
        model = Transformer(tiny_spec)
        initialise(model, 0)
        master = MasterWeights(model)
        sums.append((learn(model, tokens, mask, run, start_token=1).loss, master.gradients))
    assert sums[0][0] == pytest.approx(sums[1][0], rel=1e-5)
    for name in sums[0][1]:
        torch.testing.assert_close(sums[0][1][name], sums[1][1][name], atol=1e-5, rtol=1e-3)


def test_router_loss_prefers_even_experts(model, tiny_spec):
    tokens, _ = batch(tiny_spec, rows=8)
    _, routings = model.hidden(torch.from_numpy(tokens))
    one_expert = torch.eye(tiny_spec.experts)[[0]]
    lopsided = [
        r._replace(chosen=torch.zeros_like(r.chosen), probabilities=one_expert.expand_as(r.probabilities))
        for r in routings
    ]
    even, worst = (router_loss(r, 1.0, 0.0).item() / tiny_spec.layers for r in (routings, lopsided))
    assert 0.9 < even < 1.5
    assert worst == pytest.approx(tiny_spec.experts)


def test_the_router_losses_are_their_formulas(model, tiny_spec):
    tokens, _ = batch(tiny_spec, rows=3)
    _, routings = model.hidden(torch.from_numpy(tokens))
    balance = z = 0.0
    for routing in routings:
        count = len(routing.chosen)
        shares = [sum(row.count(e) for row in routing.chosen.tolist()) / (2 * count) for e in range(tiny_spec.experts)]
        means = routing.probabilities.detach().mean(0).tolist()
        balance += tiny_spec.experts * sum(share * mean for share, mean in zip(shares, means, strict=True))
        z += float(routing.logits.detach().double().exp().sum(-1).log().square().mean())
    assert router_loss(routings, 1.0, 0.0).item() == pytest.approx(balance, rel=1e-5)
    assert router_loss(routings, 0.0, 1.0).item() == pytest.approx(z, rel=1e-4)


def test_filling_asks_for_no_balance(run_table, tiny_spec):
    """Rows filled up with padding have the router losses and gradients of the text alone."""
    run = run_of(run_table, data__micro_batch=2, router__balance=0.5, router__z=0.1)
    tokens, mask = batch(tiny_spec, rows=2)
    filled = np.pad(tokens, ((0, 0), (0, 30))), np.pad(mask, ((0, 0), (0, 30)))
    # The last token is predicted, and read only where a row goes on behind it.
    filled[0][:, 16] = 0
    sums = []
    for (rows, counts), pad in (((tokens, mask), None), (filled, 0), (filled, None)):
        model = Transformer(tiny_spec)
        initialise(model, 0)
        master = MasterWeights(model)
        result = learn(model, rows, counts, run, pad_token=pad)
        sums.append((result.router_loss, result.balance, master.gradients["layers.0.experts.router"]))
    (alone, filled_up, naive) = sums
    assert filled_up[:2] == pytest.approx(alone[:2], rel=1e-5)
    assert naive[:2] != pytest.approx(alone[:2], rel=1e-2)


def test_balance_is_one_when_even_and_the_expert_count_at_worst():
    assert balance_of(torch.full((3, 4), 0.25)) == pytest.approx(1.0)
    assert balance_of(torch.tensor([[1.0, 0, 0, 0]])) == pytest.approx(4.0)


def test_adamw_equals_torch(tiny_spec):
    settings = OptimizerSection(lr=1e-2, clip=1e9, weight_decay=0.1)
    ours, theirs = Transformer(tiny_spec), Transformer(tiny_spec)
    initialise(ours, 0)
    initialise(theirs, 0)
    decayed = [p for n, p in theirs.named_parameters() if p.ndim >= 2 and not n.endswith("router")]
    plain = [p for n, p in theirs.named_parameters() if p.ndim < 2 or n.endswith("router")]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=1e-2, betas=settings.betas, eps=settings.eps,
    )  # fmt: skip
    optimizer = Optimizer(MasterWeights(ours), settings)
    for step in range(3):
        tokens, mask = batch(tiny_spec, seed=step)
        plain_loss(ours, tokens, mask, 0.0).backward()
        optimizer.step(step, 1.0)
        reference.zero_grad()
        plain_loss(theirs, tokens, mask, 0.0).backward()
        reference.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}")


def test_muon_is_its_formula(tiny_spec, monkeypatch: pytest.MonkeyPatch):
    # In bf16 the last bit of its input, which the order of additions decides, shows in the third digit of its result.
    monkeypatch.setattr("lindos.train.optimizer.product_dtype", lambda _: torch.float32)
    settings = OptimizerSection(kind="muon", lr=1e-2, matrix_lr=0.03, clip=1e9, weight_decay=0.2, momentum=0.9)
    model = Transformer(tiny_spec)
    initialise(model, 0)
    master = MasterWeights(model)
    optimizer = Optimizer(master, settings)
    torch.manual_seed(0)
    before = {name: weight.clone() for name, weight in master.masters.items()}
    momenta = {name: torch.zeros_like(weight) for name, weight in before.items()}
    for step in range(2):
        for name, gradient in master.gradients.items():
            gradient.normal_()
            momenta[name] = 0.9 * momenta[name] + 0.1 * gradient
            ahead = 0.1 * gradient + 0.9 * momenta[name]
            wide = before[name].shape[-1] / before[name].shape[-2] if before[name].ndim > 1 else 1.0
            moved = 0.03 * 0.5 * max(1.0, wide) ** 0.5 * orthogonalise(ahead) if before[name].ndim > 1 else 0
            before[name] = before[name] * (1 - 0.03 * 0.5 * 0.2) - moved
        optimizer.step(step, 0.5)
    by_muon = {name for name in before if f"{name}.momentum" in optimizer.state}
    for name in before:
        inside = name.startswith("layers.") and before[name].ndim > 1 and not name.endswith("router")
        assert (name in by_muon) == inside, name
        if inside:
            torch.testing.assert_close(master.masters[name], before[name], atol=1e-5, rtol=1e-4)
    assert {name.split(".")[-1] for name in by_muon} == {"query", "key", "value", "output", "gate", "up", "down"}


@settings(max_examples=20)
@given(rows=st.integers(2, 12), columns=st.integers(2, 12), seed=st.integers(0, 99))
def test_orthogonalised_matrices_have_singular_values_near_one(rows, columns, seed):
    torch.manual_seed(seed)
    made = orthogonalise(torch.randn(3, rows, columns), iterations=8)  # of any shape, also nearly singular ones
    values = torch.linalg.svdvals(made)
    assert made.shape == (3, rows, columns)
    assert float(values.max()) < 1.5
    assert float(values.mean()) > 0.5


def test_five_iterations_bring_ordinary_matrices_near_one():
    torch.manual_seed(0)
    for rows, columns in ((32, 96), (96, 32), (64, 64)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(2, rows, columns)))
        assert float(values.max()) < 1.3
        assert float(values.median()) > 0.65


def test_gradients_are_clipped_to_one_norm(model, tiny_spec):
    master = MasterWeights(model)
    optimizer = Optimizer(master, OptimizerSection(lr=1e-3, clip=0.5, betas=(0.0, 0.0)))
    for gradient in master.gradients.values():
        gradient.fill_(1.0)
    norm = optimizer.step(0, 1.0)
    assert norm == pytest.approx(tiny_spec.parameters**0.5, rel=1e-4)
    firsts = torch.stack([v.norm() for k, v in optimizer.state.items() if k.endswith(".first")])
    assert float(firsts.norm()) == pytest.approx(0.5, rel=1e-3)


def test_the_rate_rises_holds_and_falls():
    schedule = ScheduleSection(steps=100, warmup=10, decay=0.2, floor=0.1)
    rates = [learning_rate(schedule, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[80:]))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about its own tracing
def test_fused_chains_give_what_plain_ones_give(tiny_spec):
    tokens, mask = batch(tiny_spec)
    results = []
    for fused in (False, True):
        if fuse_elementwise(fused) != fused:
            (pytest.fail if os.environ.get("LINDOS_NO_SKIP") == "1" else pytest.skip)("no C++ compiler here")
        try:
            model = Transformer(tiny_spec)
            initialise(model, 0)
            x, _ = model.hidden(torch.from_numpy(tokens[:, :-1]))
            loss = text_loss(model, x.flatten(0, 1), torch.from_numpy(tokens[:, 1:]).flatten(), mask.size, 0.0)
            loss.total.backward()
            results.append([loss.text.detach(), *(p.grad for p in model.parameters())])
        finally:
            fuse_elementwise(False)
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer__learning_rate": 1}, "optimizer.learning_rate: unknown field"),
        ({"schedule__warmups": 1}, "schedule.warmups: unknown field; did you mean 'warmup'"),
        ({"data__micro_batch": 3}, r"batch \(4\) must be a multiple of micro_batch \(3\)"),
        ({"schedule__warmup": 11}, r"warmup \(11 steps\) and decay \(the last 2\) overlap in 12 steps"),
    ],
)
def test_run_files_refuse_mistakes(run_table, change, message):
    with pytest.raises(SpecError, match=message):
        run_of(run_table, **change)


def test_sequences_longer_than_the_model_are_refused(run_table, tmp_path):
    import json

    run_table["data"]["sequence"] = 512
    (tmp_path / "run.json").write_text(json.dumps(run_table))
    with pytest.raises(SpecError, match="512 tokens exceed the 256"):
        RunFile.load(tmp_path / "run.json")

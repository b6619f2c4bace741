"""Decode steps of fixed shapes against the pass by layers; captured ones where there is an accelerator."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lindos.engine import Sampling, accelerated, loading
from lindos.engine.accelerated import AcceleratedNetwork
from lindos.engine.blocks import BLOCK, BlockPool
from lindos.engine.cache import Pages
from lindos.engine.core import EngineCore
from lindos.engine.fixedstep import FixedStep, Inputs, Size, attend_table
from lindos.engine.network import Batch, Piece, TorchNetwork
from lindos.engine.output import OutputText
from lindos.engine.request import Request
from lindos.engine.runner import Runner
from lindos.engine.scheduler import Scheduler
from lindos.model import Transformer, initialise
from lindos.model.experts import Routing, dispatch, dispatch_on_device, mix_experts
from lindos.specs import ModelSpec, RopeScaling
from tests.engine.test_packed import GROK, GROK2, QWEN

SCALED = GROK2.model_copy(
    update={"name": "stretched", "rope_scaling": RopeScaling(factor=4.0, original_sequence=64), "tied_head": False}
)
SPECS = [GROK, GROK2, QWEN, SCALED]
BLOCKS = 16
PROMPTS = [[5 + (3 * i + 7 * j) % 140 for j in range(length)] for i, length in enumerate([1, 5, 30, 63, 64, 90, 130])]


def model_of(spec: ModelSpec, **where: object) -> Transformer:
    model = Transformer(spec)
    initialise(model, seed=11)
    return model.to(**where)  # type: ignore[call-overload]


@pytest.fixture(scope="module", params=SPECS, ids=lambda spec: spec.name)
def model(request: pytest.FixtureRequest) -> Transformer:
    return model_of(request.param)


def pages_of(spec: ModelSpec, seed: int = 1) -> Pages:
    """Pages in which something stands already."""
    pages = Pages(spec, BLOCKS, dtype=torch.float32, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    for layer in pages.layers:
        layer.normal_(generator=generator)
    return pages


def batch_of(network: TorchNetwork, pages: Pages, tokens: Sequence[int], starts: Sequence[int], order: list[int]):
    """One token of each sequence, whose blocks are the next of `order`."""
    pieces = []
    for row, start in enumerate(starts):
        own, order = order[: start // BLOCK + 1], order[start // BLOCK + 1 :]
        pieces.append(Piece(row, 1, start, own, []))
    return Batch(list(tokens), list(starts), pieces, pages, network.phase)


def fixed(model: Transformer, batch: Batch, size: Size | None = None, attend=attend_table) -> Tensor:
    size = size or Size.of(batch, list(range(len(batch.pieces))))
    assert size is not None
    return FixedStep(model, batch.pages, attend)(Inputs.view(Inputs.fill(batch, size), size))[: len(batch.tokens)]


@st.composite
def sequences(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """(tokens, starts, blocks in any order), as many as fit the pages."""
    order = draw(st.permutations(range(BLOCKS)))
    starts, left = [], BLOCKS
    for start in draw(st.lists(st.integers(0, 255), min_size=1, max_size=9)):
        if (left := left - start // BLOCK - 1) >= 0:
            starts.append(start)
    tokens = draw(st.lists(st.integers(1, 149), min_size=len(starts), max_size=len(starts)))
    return tokens, starts, list(order)


DRAWN = settings(max_examples=25, deadline=None)


@DRAWN
@given(drawn=sequences())
@torch.inference_mode()
def test_a_fixed_step_is_the_step_by_layers(model: Transformer, drawn: tuple[list[int], list[int], list[int]]):
    network = TorchNetwork(model)
    ours, theirs = (batch_of(network, pages_of(model.spec), *drawn) for _ in range(2))
    wanted = network.forward(theirs, list(range(len(theirs.tokens))))
    torch.testing.assert_close(fixed(model, ours), wanted, atol=1e-4, rtol=1e-4)
    for one, other in zip(ours.pages.layers, theirs.pages.layers, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@DRAWN
@given(drawn=sequences(), rows=st.sampled_from([16, 24]), wider=st.sampled_from([1, 2]))
@torch.inference_mode()
def test_rows_and_blocks_beyond_change_nothing(
    model: Transformer, drawn: tuple[list[int], list[int], list[int]], rows: int, wider: int
):
    """But for the order of sums, which PyTorch's products choose by the number of rows."""
    network = TorchNetwork(model)
    tight, wide = (batch_of(network, pages_of(model.spec), *drawn) for _ in range(2))
    size = Size.of(wide, list(range(len(wide.tokens))))
    assert size is not None
    wanted = fixed(model, tight)
    torch.testing.assert_close(fixed(model, wide, Size(rows, size.blocks * wider)), wanted, atol=1e-5, rtol=1e-5)
    for one, other in zip(tight.pages.layers, wide.pages.layers, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_what_nobody_has_written_may_be_anything(model: Transformer):
    network, pages = TorchNetwork(model), pages_of(model.spec)
    wanted = fixed(model, batch_of(network, pages, [7, 9], [70, 3], [3, 1, 2]))
    for layer in pages.layers:
        own = layer[:, :, [3, 1, 2]].clone()
        layer.fill_(float("nan"))
        layer[:, :, [3, 1, 2]] = own
        layer[:, :, 1, 7:] = float("nan")
    assert torch.equal(fixed(model, batch_of(network, pages, [7, 9], [70, 3], [3, 1, 2])), wanted)


def test_sizes_are_few():
    network, pages = TorchNetwork(model_of(GROK)), pages_of(GROK)

    def size(starts: list[int]) -> Size | None:
        batch = batch_of(network, pages, [1] * len(starts), starts, list(range(1000)))
        return Size.of(batch, list(range(len(starts))))

    assert [size([0] * rows) for rows in (1, 2, 3, 5, 9, 17, 25, 33, 49)] == [
        Size(rows, 1) for rows in (1, 2, 4, 8, 16, 24, 32, 48, 64)
    ]
    assert [size([start]) for start in (63, 64, 127, 128, 255, 256)] == [Size(1, m) for m in (1, 2, 2, 4, 4, 8)]


@torch.inference_mode()
def test_other_steps_go_by_layers(monkeypatch: pytest.MonkeyPatch):
    model = model_of(GROK)
    network, plain, pages = AcceleratedNetwork(model), TorchNetwork(model), pages_of(GROK)
    monkeypatch.setattr(FixedStep, "__call__", lambda *_: pytest.fail("a fixed step ran"))
    prompt = Batch([4, 5, 6], [0, 1, 2], [Piece(0, 3, 0, [2], [])], pages, network.phase)
    hidden = Batch([4], [9], [Piece(0, 1, 9, [2], [3])], pages, network.phase)
    silent = batch_of(network, pages, [4, 5], [9, 3], [0, 1])
    long = batch_of(network, pages, [4], [255], [5, 6, 7, 8])
    network._most = 3
    for batch, last in ((prompt, [2]), (hidden, [0]), (silent, [1]), (long, [0])):
        assert torch.equal(network.forward(batch, last), plain.forward(batch, last))


def test_experts_are_sorted_alike_with_and_without_the_host():
    for tokens, experts in ((1, 4), (9, 4), (40, 16)):
        chosen = torch.rand(tokens, experts, generator=torch.Generator().manual_seed(tokens)).topk(2).indices
        host, device = dispatch(chosen, experts, 1), dispatch_on_device(chosen, experts)
        assert torch.equal(host.token_P, device.token_P)
        assert torch.equal(host.row_R, device.row_R)
        assert isinstance(device.groups, Tensor)
        assert device.groups.dtype == torch.int32
        assert device.groups.tolist() == torch.tensor(host.groups).cumsum(0).tolist()


def test_experts_have_the_same_gradients_with_and_without_the_host():
    torch.manual_seed(4)
    x, gates, chosen = torch.randn(12, 8), torch.rand(12, 2), torch.rand(12, 4).topk(2).indices
    weights = torch.randn(4, 8, 16), torch.randn(4, 8, 16), torch.randn(4, 16, 8)
    found = []
    for on_device in (False, True):
        leaves = [t.clone().requires_grad_() for t in (x, gates, *weights)]
        routing = Routing(x, x, leaves[1], chosen)
        y = mix_experts(leaves[0], routing, leaves[2], leaves[3], leaves[4], "silu", on_device=on_device)
        found.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


class Staying(TorchDispatchMode):
    """Refuses what moves between devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        devices = {t.device.type for t in [*args, out] if isinstance(t, Tensor) and t.ndim}
        assert len(devices) <= 1, f"{func} moves between {devices}"
        return out


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_fixed_step_never_asks_the_host(spec: ModelSpec):
    """On a device of shapes alone, whose numbers nobody can read."""
    meta = torch.device("meta")
    model = Transformer(spec, dtype=torch.bfloat16, device=meta)
    pages = Pages(spec, BLOCKS, dtype=torch.bfloat16, device=meta)
    size = Size(8, 4)
    inputs = Inputs.view(torch.empty(Inputs.length(size), dtype=torch.int64, device=meta), size)
    with torch.inference_mode(), Staying():
        logits = FixedStep(model, pages)(inputs)
    assert logits.shape == (8, spec.vocabulary)


def test_what_asks_the_host_is_noticed():
    chosen = torch.zeros(8, 2, dtype=torch.int64, device="meta")
    for asking in (lambda: int(chosen.sum()), chosen.tolist, lambda: dispatch(chosen, 4, 1)):
        with pytest.raises((RuntimeError, NotImplementedError)):
            asking()
    with pytest.raises(AssertionError, match="moves between"), Staying():
        torch.ones(2).to("meta")


def attention_cases() -> Iterator[tuple]:
    spec = GROK2
    pages, q = pages_of(spec).layers[0], torch.randn(3, spec.heads, spec.head_size)
    for table, positions in (([[3], [1], [2]], [5, 63, 0]), ([[3, 4], [1, 0], [2, 7]], [99, 63, 127])):
        yield q, pages, torch.tensor(table), torch.tensor(positions), spec.score_scale, 30.0, 5


@torch.inference_mode()
def test_attention_is_one_piece_to_the_compiler():
    traced = torch.compile(attend_table, backend="eager", fullgraph=True)
    for case in attention_cases():
        torch.testing.assert_close(traced(*case), attend_table(*case), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about its own tracing
@torch.inference_mode()
def test_attention_compiles(capsys: pytest.CaptureFixture[str]):
    compiled = accelerated._CompiledAttention()
    for case in attention_cases():
        torch.testing.assert_close(compiled(*case), attend_table(*case), atol=1e-5, rtol=1e-5)
    if "not compiled" in capsys.readouterr().err:
        (pytest.fail if os.environ.get("LINDOS_NO_SKIP") == "1" else pytest.skip)("no C++ compiler here")


@torch.inference_mode()
def test_attention_that_does_not_compile_goes_on_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(*_: object) -> Tensor:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda _: broken)
    attend = accelerated._CompiledAttention()
    for case in attention_cases():
        assert torch.equal(attend(*case), attend_table(*case))
    assert capsys.readouterr().err == (
        "lindos: on this accelerator attention is not compiled: RuntimeError: no compiler\n"
    )


class Pretended:
    """What stands for a captured graph where there are none."""

    made: list[Size] = []  # noqa: RUF012
    broken_from = 1 << 30
    error: type[Exception] = RuntimeError

    def __init__(self, step: FixedStep, flat: Tensor, size: Size, other: object) -> None:
        if size.gathered >= self.broken_from:
            raise self.error("out of\nmemory")
        self._run = lambda flat: step(Inputs.view(flat, size))
        Pretended.made.append(size)

    def __call__(self, flat: Tensor) -> Tensor:
        return self._run(flat)


@pytest.fixture
def pretending(monkeypatch: pytest.MonkeyPatch) -> AcceleratedNetwork:
    monkeypatch.setattr(accelerated, "Graph", Pretended)
    monkeypatch.setattr(Pretended, "made", [])
    network = AcceleratedNetwork(model_of(GROK))
    network._captures = True
    return network


@torch.inference_mode()
def test_graphs_are_kept_while_they_are_used(pretending: AcceleratedNetwork, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(accelerated, "GRAPHS", 2)
    pages = pages_of(GROK)

    def step(rows: int, pages: Pages = pages) -> None:
        pretending.forward(batch_of(pretending, pages, [4] * rows, [9] * rows, list(range(9))), list(range(rows)))

    for rows in (1, 2, 1, 4, 1, 2):
        step(rows)
    assert [size.rows for size in Pretended.made] == [1, 2, 4, 2]
    step(2, pages_of(GROK))
    assert [size.rows for size in Pretended.made] == [1, 2, 4, 2, 2], "other pages, other graphs"


@torch.inference_mode()
def test_what_cannot_be_captured_is_computed_all_the_same(
    pretending: AcceleratedNetwork, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Pretended, "broken_from", 4)
    pages, plain = pages_of(GROK), TorchNetwork(model_of(GROK))
    for rows in (3, 4, 2, 3):
        batch = batch_of(pretending, pages, [4] * rows, [9] * rows, list(range(9)))
        last = list(range(rows))
        torch.testing.assert_close(pretending.forward(batch, last), plain.forward(batch, last), atol=1e-4, rtol=1e-4)
    assert Pretended.made == [Size(2, 1)]
    said = capsys.readouterr().err
    assert said == (
        "lindos: on this accelerator steps that gather more than 2 blocks are not captured: RuntimeError: out of\n"
    )


@torch.inference_mode()
@pytest.mark.parametrize(("error", "left"), [(RuntimeError, [Size(2, 1)]), (torch.OutOfMemoryError, [])])
def test_graphs_beyond_the_limit_make_room(
    pretending: AcceleratedNetwork, monkeypatch: pytest.MonkeyPatch, error: type[Exception], left: list[Size]
):
    """At 8 rows something fails: those of 8 are gone, and of more than half as many; without memory, all."""
    monkeypatch.setattr(Pretended, "broken_from", 8)
    monkeypatch.setattr(Pretended, "error", error)
    pages = pages_of(GROK)
    monkeypatch.setattr(pretending, "_most", 8)
    for rows in (2, 8):
        pretending.forward(batch_of(pretending, pages, [4] * rows, [9] * rows, list(range(9))), list(range(rows)))
    assert list(pretending._graphs) == left


def test_replays_may_round_otherwise_but_not_differ():
    one = torch.tensor([[1.0, -50.0, float("nan")]])
    assert accelerated.same_logits(one + 0.5, one)
    assert not accelerated.same_logits(one + 1.5, one)


def test_loading_leaves_room_for_graphs(monkeypatch: pytest.MonkeyPatch):
    for free, left in ((10 << 30, 8 << 30), (1 << 30, 1 << 29)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 80 << 30))
        assert loading._free(torch.device("cuda")) == left


def answers(network: TorchNetwork, limit: int = 40) -> list[list[int]]:
    """Of prompts that come and go, so that who is in a step changes."""
    pool = BlockPool(4096)
    core = EngineCore(Runner(network, pool.total), Scheduler(pool, max_running=5, step_tokens=64))
    sampling = Sampling(temperature=0, ignore_end=True)
    requests = [
        Request(number, list(prompt), limit + 9 * number, sampling, OutputText(None, ()))
        for number, prompt in enumerate(PROMPTS)
    ]
    for request in requests:
        core.add(request)
    while not core.idle:
        assert not any(event.error for event in core.step())
    return [request.tokens for request in requests]


def test_an_engine_gives_the_answers_of_the_plain_network(model: Transformer):
    assert answers(AcceleratedNetwork(model)) == answers(TorchNetwork(model))


# From here on an accelerator is needed; PyTorch's compiler may warn of what it would rather have.


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@torch.inference_mode()
def test_captured_steps_are_the_plain_ones(spec: ModelSpec, capsys: pytest.CaptureFixture[str]):
    model = model_of(spec, device="cuda", dtype=torch.bfloat16)
    plain, network = TorchNetwork(model), AcceleratedNetwork(model)
    pages, others = (Pages(spec, BLOCKS, dtype=torch.bfloat16, device=plain.device) for _ in range(2))
    for layer, other in zip(pages.layers, others.layers, strict=True):
        other.copy_(layer.normal_())
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        rows = int(torch.randint(1, 8, (1,), generator=generator))
        starts = torch.randint(0, 128, (rows,), generator=generator).tolist()
        tokens = torch.randint(1, 149, (rows,), generator=generator).tolist()
        order = torch.randperm(BLOCKS, generator=generator).tolist()
        last = list(range(rows))
        found = network.forward(batch_of(network, pages, tokens, starts, order), last)
        step = FixedStep(model, others)
        batch = batch_of(plain, others, tokens, starts, order)
        size = Size.of(batch, last)
        assert size is not None
        wanted = step(Inputs.view(Inputs.fill(batch, size).cuda(), size))[:rows]
        # The compiler rounds less often within attention; where that tips a router, a row is another one.
        near = (found - wanted).norm(dim=-1) <= 0.05 * wanted.norm(dim=-1)
        assert near.float().mean() >= 0.5, (size, found, wanted)
        for layer, other in zip(pages.layers, others.layers, strict=True):
            layer.copy_(other)
    assert network._graphs
    assert "lindos:" not in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
@torch.inference_mode()
def test_replays_are_the_step_they_were_captured_from(capsys: pytest.CaptureFixture[str]):
    """Bit by bit but for what kernels choose by themselves: the same compiled step, run and replayed."""
    model = model_of(GROK2, device="cuda", dtype=torch.bfloat16)
    network = AcceleratedNetwork(model)
    pages = Pages(GROK2, BLOCKS, dtype=torch.bfloat16, device=network.device)
    for layer in pages.layers:
        layer.normal_()
    for turn in range(40):
        rows = 1 + turn % 7
        starts = [(turn * 5 + 17 * row) % 128 for row in range(rows)]
        batch = batch_of(network, pages, [1 + turn + row for row in range(rows)], starts, list(range(BLOCKS)))
        found, size = network.forward(batch, list(range(rows))), Size.of(batch, list(range(rows)))
        assert network._step is not None
        assert size is not None
        again = network._step(Inputs.view(Inputs.fill(batch, size).cuda(), size))[:rows]
        torch.testing.assert_close(found, again, atol=0.02, rtol=0.01)
    assert "lindos:" not in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
def test_an_accelerated_engine_answers_like_the_plain_network(capsys: pytest.CaptureFixture[str]):
    """Token by token, up to where an answer takes another one of two that are nearly even."""
    model = model_of(GROK, device="cuda", dtype=torch.bfloat16)
    found, wanted = answers(AcceleratedNetwork(model)), answers(TorchNetwork(model))
    same = 0
    for one, other, prompt in zip(found, wanted, PROMPTS, strict=True):
        assert len(one) == len(other)
        at = next((i for i, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), len(one))
        same += at - len(prompt)
        if at < len(one):
            with torch.inference_mode():
                logits = model(torch.tensor([one[:at]], device="cuda"))[0, -1]
            assert (logits[one[at]] - logits[other[at]]).abs() <= 0.05 * logits.abs().max()
    assert same >= 2 * len(PROMPTS)
    assert "lindos:" not in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.filterwarnings("default")
@torch.inference_mode()
def test_how_fast_decoding_is(capsys: pytest.CaptureFixture[str]):
    """Printed, not judged."""
    spec = GROK.model_copy(
        update={"layers": 8, "width": 1024, "heads": 16, "kv_heads": 4, "head_size": 64, "expert_width": 2048}
    )
    model = model_of(spec, device="cuda", dtype=torch.bfloat16)
    lines = []
    for rows in (1, 8, 16):
        rates = []
        for network in (TorchNetwork(model), AcceleratedNetwork(model)):
            pages = Pages(spec, BLOCKS, dtype=torch.bfloat16, device=network.device)
            for layer in pages.layers:
                layer.normal_()
            last = list(range(rows))
            batch = batch_of(network, pages, [5] * rows, [40] * rows, last)
            for count in (3, 50):
                torch.cuda.synchronize()
                started = time.perf_counter()
                for _ in range(count):
                    network.forward(batch, last)
                torch.cuda.synchronize()
                rates.append(count * rows / (time.perf_counter() - started))
        lines.append(f"{rows} rows: {rates[1]:,.0f} tokens a second plain, {rates[3]:,.0f} captured")
    with capsys.disabled():
        print("", *lines, sep="\n")

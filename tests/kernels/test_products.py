"""Every kernel against its twin, on every instruction set this machine has, over shapes odd and even."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.kernels import twins
from lindos.kernels.choosing import NATIVE, VARIABLE, KernelsError, available_kernels, chosen_kernels, native_module
from lindos.kernels.packing import FORMATS, Packed, packed_bytes
from lindos.kernels.products import Products, products
from lindos.kernels.quantising import packed
from lindos.kernels.twins import PackedExpert, rounded_inputs

HERE = (*available_kernels(), "torch")
made: dict[tuple[str, int], Products] = {}


def of(kernels: str, threads: int = 2) -> Products:
    if (kernels, threads) not in made:
        made[kernels, threads] = products(kernels, threads)
    return made[kernels, threads]


def expected(kernels: str, x_TK: torch.Tensor, matrix: Packed) -> torch.Tensor:
    return twins.multiply(x_TK, matrix, of(kernels).precision(len(x_TK)))


def close(found: torch.Tensor, twin: torch.Tensor) -> None:
    """Up to the order of summing in fp32."""
    torch.testing.assert_close(found, twin, rtol=1e-4, atol=2e-5 * float(twin.abs().max()) + 1e-30)


@st.composite
def cases(draw: st.DrawFn, most: int = 150, tokens: int = 150):
    rows, columns, tokens = draw(st.integers(1, most)), draw(st.integers(1, most)), draw(st.integers(1, tokens))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    scale = draw(st.sampled_from([1e-3, 1.0, 30.0]))
    return (
        torch.randn(tokens, columns, generator=generator) * scale,
        torch.randn(rows, columns, generator=generator) * 0.1,
        draw(st.sampled_from(FORMATS)),
    )


def test_a_compiler_has_made_the_kernels():
    """Where there is one, as on every machine that runs these tests; without, the twins are all that is tested."""
    assert native_module() is not None
    assert "portable" in HERE


@pytest.mark.parametrize("kernels", HERE)
@given(cases())
@settings(max_examples=60, deadline=None)
def test_a_product_equals_its_twin(kernels: str, case):
    x_TK, w_NK, format = case
    matrix = packed(w_NK, format)
    (found,) = of(kernels).multiply(x_TK, [matrix])
    close(found, expected(kernels, x_TK, matrix))


@pytest.mark.parametrize("kernels", HERE)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("tokens", [9, 29, 63, 64, 600])
def test_a_product_longer_than_any_pass_equals_its_twin(kernels: str, format, tokens: int):
    """More rows, columns and strips than a kernel takes at a time, none a multiple of what it takes."""
    x_TK = torch.randn(tokens, 1101)
    matrices = [packed(torch.randn(n, 1101), format) for n in (283, 17)]
    for found, matrix in zip(of(kernels).multiply(x_TK, matrices), matrices, strict=True):
        close(found, expected(kernels, x_TK, matrix))


@pytest.mark.parametrize("kernels", HERE)
@given(cases(40), st.lists(st.integers(1, 40), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_several_products_of_the_same_inputs(kernels: str, case, rows: list[int]):
    x_TK, _, format = case
    matrices = [packed(torch.randn(n, x_TK.shape[1]), format) for n in rows]
    for found, matrix in zip(of(kernels).multiply(x_TK, matrices), matrices, strict=True):
        close(found, expected(kernels, x_TK, matrix))


@pytest.mark.skipif("amx" not in HERE, reason="takes AMX, or kernels built to emulate it")
@given(cases(600, 63))
@settings(max_examples=60, deadline=None)
def test_few_rows_are_the_same_to_the_bit_by_tiles_and_without(case):
    x_TK, w_NK, format = case
    matrix = packed(w_NK, format)
    (tiles,), (without,) = (of(kernels).multiply(x_TK, [matrix]) for kernels in ("amx", "vnni"))
    assert torch.equal(tiles, without)


def test_tiles_round_to_bf16_where_they_are_many():
    for kernels in HERE:
        assert of(kernels).precision(1) == "int8"
        assert of(kernels).precision(1000) == ("bf16" if kernels == "amx" else "int8")


@st.composite
def layers(draw: st.DrawFn):
    width, inner, count = draw(st.integers(1, 70)), draw(st.integers(1, 70)), draw(st.integers(1, 9))
    tokens, choices = draw(st.integers(1, 150)), draw(st.integers(1, min(count, 3)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    format = draw(st.sampled_from(FORMATS))

    def matrix(n: int, k: int) -> Packed:
        return packed(torch.randn(n, k, generator=generator) * 0.2, format)

    experts = [PackedExpert(matrix(inner, width), matrix(inner, width), matrix(width, inner)) for _ in range(count)]
    x_TD = torch.randn(tokens, width, generator=generator)
    chosen = torch.rand(tokens, count, generator=generator).argsort(-1)[:, :choices].to(torch.int32)
    chosen[torch.rand(tokens, choices, generator=generator) < 0.1] = -1
    gates = torch.rand(tokens, choices, generator=generator)
    return experts, x_TD, chosen, gates, draw(st.sampled_from(["gelu_tanh", "silu"]))


@pytest.mark.parametrize("kernels", HERE)
@given(layers())
@settings(max_examples=60, deadline=None)
def test_mixed_experts_equal_their_twin(kernels: str, layer):
    experts, x_TD, chosen, gates, activation = layer
    table = of(kernels).table(len(experts), activation)
    for index in set(chosen[chosen >= 0].tolist()):
        table.put(index, experts[index])
    found = of(kernels).mix(table, x_TD, chosen, gates)
    # The inner result is rounded to int8: where the kernel's last bit differs from the twin's, so does a rounding.
    twin = twins.mix(x_TD, experts, chosen, gates, activation, of(kernels).precision)
    error = (found - twin).norm() / twin.norm().clamp(min=1e-30)
    assert float(error) < 2e-3
    if experts[0].gate.format == "bf16" and of(kernels).precision(len(x_TD)) != "bf16":
        close(found, twin)


@pytest.mark.parametrize("kernels", available_kernels())
@given(cases(tokens=63))
@settings(max_examples=30, deadline=None)
def test_a_token_is_the_same_to_the_bit_whoever_stands_beside_it(kernels: str, case):
    """As long as they are fewer than tiles take in bf16."""
    x_TK, w_NK, format = case
    matrix = packed(w_NK, format)
    (together,) = of(kernels).multiply(x_TK, [matrix])
    for threads in (1, 2):
        alone = torch.cat([of(kernels, threads).multiply(x, [matrix])[0] for x in x_TK[:5].split(1)])
        assert torch.equal(together[:5], alone)


@pytest.mark.parametrize("kernels", HERE)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("rows", [3, 20, 70])
def test_inputs_that_are_not_finite_never_give_a_number(kernels: str, format, bad: float, rows: int):
    x = torch.randn(rows, 70)
    x[1, 40] = bad
    (found,) = of(kernels).multiply(x, [packed(torch.rand(20, 70) + 0.1, format)])
    assert not bool(torch.isfinite(found[1]).any())
    assert bool(torch.isfinite(found[torch.arange(rows) != 1]).all())


@given(st.integers(1, 300), st.integers(0, 1 << 30))
def test_inputs_are_rounded_to_a_hundredth_of_their_groups_largest(columns: int, seed: int):
    x = torch.randn(2, columns, generator=torch.Generator().manual_seed(seed))
    error = (rounded_inputs(x) - x).abs().max()
    assert float(error) <= float(x.abs().max()) / 254 * 1.001


@pytest.mark.parametrize("kernels", HERE)
def test_what_does_not_fit_is_refused(kernels: str):
    matrix = packed(torch.randn(16, 32), "int8")
    with pytest.raises(ValueError, match="do not fit"):
        of(kernels).multiply(torch.randn(2, 33), [matrix])
    table = of(kernels).table(4, "silu")
    expert = PackedExpert(matrix, matrix, packed(torch.randn(32, 16), "int8"))
    with pytest.raises(IndexError):
        table.put(4, expert)
    table.put(1, expert)
    x, gates = torch.randn(1, 32), torch.ones(1, 1)
    of(kernels).mix(table, x, torch.tensor([[1]], dtype=torch.int32), gates)
    table.drop(1)
    with pytest.raises(ValueError, match="expert 1 is chosen but not there"):
        of(kernels).mix(table, x, torch.tensor([[1]], dtype=torch.int32), gates)


def test_the_compiled_side_checks_what_it_is_given():
    native = native_module()
    assert native is not None
    for format, name in enumerate(FORMATS):
        short = np.zeros(packed_bytes(name, 20, 40) - 1, np.uint8)
        with pytest.raises(ValueError, match="takes"):
            native.Matrix(short, format, 20, 40)
    with pytest.raises(ValueError, match="format"):
        native.Matrix(np.zeros(9999, np.uint8), 3, 16, 32)
    with pytest.raises(ValueError, match="at least one row"):
        native.Matrix(np.zeros(9999, np.uint8), 1, 0, 32)
    with pytest.raises(ValueError, match="no kernels named"):
        native.Kernels("neon", 1, False)


def test_many_threads_and_many_pools_end():
    """Pools come and go, also while another one works."""
    matrix = packed(torch.randn(64, 64), "int4")
    x = torch.randn(5, 64)
    twin = twins.multiply(x, matrix, "int8")

    def work() -> None:
        for _ in range(20):
            (found,) = products(available_kernels()[0], 3, bind=True).multiply(x, [matrix])
            close(found, twin)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_variable_chooses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert chosen_kernels() == HERE[0]
    for name in HERE:
        monkeypatch.setenv(VARIABLE, name.upper())
        assert chosen_kernels() == name
    monkeypatch.setenv(VARIABLE, "protable")
    with pytest.raises(KernelsError, match="did you mean 'portable'"):
        chosen_kernels()


def test_without_the_compiled_module_torch_serves():
    """As after an install without a compiler: the module cannot be imported."""
    code = (
        "import sys; sys.modules['lindos.kernels._native'] = None\n"
        "from lindos.kernels.choosing import chosen_kernels, available_kernels, missing_note\n"
        "print(chosen_kernels(), available_kernels(), 'g++' in missing_note())"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split("\n")[0] == "torch () True"


def test_kernels_of_another_processor_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lindos.kernels.choosing.available_kernels", lambda: ("portable",))
    for name in NATIVE:
        if name != "portable":
            monkeypatch.setenv(VARIABLE, name)
            with pytest.raises(KernelsError, match="cannot run these kernels"):
                chosen_kernels()

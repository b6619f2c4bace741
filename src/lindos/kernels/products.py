"""Products of fp32 inputs with packed matrices, by the native kernels or by their twins, behind one face.

Letters: T tokens, N outputs, K inputs, D width, F expert width, k choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lindos.kernels import twins
from lindos.kernels.choosing import native_module
from lindos.kernels.packing import FORMATS, Packed
from lindos.kernels.twins import Activation, PackedExpert, Precision


class Products(Protocol):
    """What computes with packed matrices. Not to be shared by threads."""

    name: str

    def precision(self, rows: int) -> Precision:
        """What the inputs of a product of so many rows, or of one expert with so many tokens, are rounded to."""
        ...

    def multiply(self, x_TK: Tensor, matrices: Sequence[Packed]) -> list[Tensor]:
        """x · matrix^T for each matrix, fp32 [T, N]; the matrices have one format and K columns each.

        Raises ValueError for shapes that do not fit.
        """
        ...

    def table(self, experts: int, activation: Activation) -> ExpertTable:
        """Room for the experts of one layer."""
        ...

    def mix(self, table: ExpertTable, x_TD: Tensor, chosen_Tk: Tensor, gates_Tk: Tensor) -> Tensor:
        """For each token the sum over its choices, in their order, of gate * down(act(gate(x)) * up(x)): fp32 [T, D].

        `chosen_Tk` is int32 and -1 where a token has fewer choices, `gates_Tk` fp32. Raises ValueError when an expert
        is chosen that is not in the table.
        """
        ...


class ExpertTable(Protocol):
    """The experts of one layer that are in memory."""

    def put(self, index: int, expert: PackedExpert) -> None:
        """Have an expert; its arrays are kept alive, not copied."""
        ...

    def drop(self, index: int) -> None:
        """Let an expert go."""
        ...


def products(kernels: str, threads: int = 1, *, bind: bool = False) -> Products:
    """Products by `kernels`: `torch`, or an instruction set that runs here (see `choosing`).

    `bind` ties each thread of the kernels to a core of its own.
    """
    return TorchProducts() if kernels == "torch" else NativeProducts(kernels, threads, bind=bind)


class NativeProducts:
    """The compiled kernels, on threads of their own."""

    def __init__(self, isa: str, threads: int, *, bind: bool) -> None:
        native = native_module()
        if native is None:
            raise ValueError("this install has no native kernels")
        self._native: Any = native
        self._kernels: Any = native.Kernels(isa, threads, bind)
        self._views: WeakKeyDictionary[Packed, Any] = WeakKeyDictionary()
        self.name = isa

    def precision(self, rows: int) -> Precision:
        return "bf16" if rows >= self._kernels.many else "int8"

    def multiply(self, x_TK: Tensor, matrices: Sequence[Packed]) -> list[Tensor]:
        x_TK = x_TK.contiguous()
        outs = [torch.empty(x_TK.shape[0], matrix.rows) for matrix in matrices]
        self._kernels.multiply(x_TK, [self.view(matrix) for matrix in matrices], outs)
        return outs

    def table(self, experts: int, activation: Activation) -> ExpertTable:
        return _NativeTable(self._native, experts, activation)

    def mix(self, table: ExpertTable, x_TD: Tensor, chosen_Tk: Tensor, gates_Tk: Tensor) -> Tensor:
        assert isinstance(table, _NativeTable)
        out_TD = torch.empty_like(x_TD, memory_format=torch.contiguous_format)
        self._kernels.mix(table.native, x_TD.contiguous(), chosen_Tk.contiguous(), gates_Tk.contiguous(), out_TD)
        return out_TD

    def network(self, shape: Mapping[str, int | float | bool]) -> Any:
        """An empty native network of these sizes, see `native/bindings.hpp`, on the threads of these products."""
        return self._native.Network(self._kernels, dict(shape))

    def native_table(self, table: ExpertTable) -> Any:
        """The compiled side of a table made by `table`."""
        assert isinstance(table, _NativeTable)
        return table.native

    def view(self, packed: Packed) -> Any:
        """The compiled side's view of a packed matrix."""
        # Made once a matrix: the check of a buffer costs as much as a small product.
        view = self._views.get(packed)
        if view is None:
            view = self._views[packed] = native_matrix(self._native, packed)
        return view


class _NativeTable:
    def __init__(self, native: Any, experts: int, activation: Activation) -> None:
        self._native = native
        self.native: Any = native.ExpertTable(experts, 1 if activation == "silu" else 0)

    def put(self, index: int, expert: PackedExpert) -> None:
        self.native.set(index, *(native_matrix(self._native, part) for part in expert))

    def drop(self, index: int) -> None:
        self.native.drop(index)


def native_matrix(native: Any, packed: Packed) -> Any:
    """The compiled side's view of a packed matrix."""
    return native.Matrix(
        packed.data, FORMATS.index(packed.format), packed.rows, packed.columns, multiplier=packed.multiplier
    )


class TorchProducts:
    """The twins: the same results by PyTorch, for tests and for machines without a compiler. Slow."""

    name = "torch"

    def precision(self, rows: int) -> Precision:
        return "int8"

    def multiply(self, x_TK: Tensor, matrices: Sequence[Packed]) -> list[Tensor]:
        for matrix in matrices:
            if matrix.columns != x_TK.shape[1]:
                raise ValueError(f"inputs {list(x_TK.shape)} do not fit a matrix [{matrix.rows}, {matrix.columns}]")
        return [twins.multiply(x_TK, matrix, "int8") for matrix in matrices]

    def table(self, experts: int, activation: Activation) -> ExpertTable:
        return _TorchTable(experts, activation)

    def mix(self, table: ExpertTable, x_TD: Tensor, chosen_Tk: Tensor, gates_Tk: Tensor) -> Tensor:
        assert isinstance(table, _TorchTable)
        missing = set(chosen_Tk[chosen_Tk >= 0].tolist()) - table.experts.keys()
        if missing:
            raise ValueError(f"expert {min(missing)} is chosen but not there")
        return twins.mix(x_TD, table.experts, chosen_Tk, gates_Tk, table.activation, "int8")


class _TorchTable:
    def __init__(self, experts: int, activation: Activation) -> None:
        self.experts: dict[int, PackedExpert] = {}
        self.activation: Activation = activation
        self._count = experts

    def put(self, index: int, expert: PackedExpert) -> None:
        if not 0 <= index < self._count:
            raise IndexError(f"the layer has {self._count} experts")
        self.experts[index] = expert

    def drop(self, index: int) -> None:
        self.experts.pop(index, None)

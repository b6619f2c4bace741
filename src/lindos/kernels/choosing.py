"""Which kernels compute: the best this processor has, those that LINDOS_KERNELS names, or none. Torch-free."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from types import ModuleType

from lindos.specs import LindosError, nearest

VARIABLE = "LINDOS_KERNELS"
NATIVE = ("amx", "vnni", "avx2", "portable")
"""The instruction sets there are kernels for, best first."""


class KernelsError(LindosError):
    """LINDOS_KERNELS asks for what this machine does not have."""


def chosen_kernels() -> str:
    """`torch`, or the instruction set whose kernels are to be used. Raises KernelsError for one that cannot run here.

    LINDOS_KERNELS may be `auto` (as if it were not set), `torch`, or one of NATIVE.
    """
    wanted = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    if wanted == "torch":
        return wanted
    known = ("auto", "torch", *NATIVE)
    if wanted not in known:
        close = nearest(wanted, known)
        hint = f"; did you mean '{close}'?" if close else ""
        raise KernelsError(f"{VARIABLE}={wanted}: it is one of {', '.join(known)}{hint}")
    there = available_kernels()
    if wanted == "auto":
        return there[0] if there else "torch"
    if wanted not in there:
        have = ", ".join((*there, "torch"))
        raise KernelsError(f"{VARIABLE}={wanted}: this machine cannot run these kernels (it has {have})")
    return wanted


def available_kernels() -> tuple[str, ...]:
    """The instruction sets of NATIVE that this build and processor have, best first; none without native kernels."""
    native = native_module()
    return () if native is None else tuple(name for name in NATIVE if native.runs(name))


@cache
def native_module() -> ModuleType | None:
    """The compiled kernels; None where Lindos was installed without a compiler."""
    try:
        return import_module("lindos.kernels._native")
    except ImportError:
        return None


def missing_note() -> str:
    """What to tell a person whose install has no native kernels; empty where it has."""
    if native_module() is not None:
        return ""
    return (
        "native kernels are missing (no C++ compiler when Lindos was installed): PyTorch computes instead, slower. "
        "Install a compiler (Debian: apt install g++) and reinstall Lindos."
    )

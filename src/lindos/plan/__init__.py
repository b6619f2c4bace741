"""Plans: what it takes to train a model on a cluster, or to install it on a machine, in time, memory and money.

One model of a training step and one of a decoding step, on NumPy arrays; constants fitted to published runs. Nothing
here computes with a network's weights, imports torch, or runs anything: `train/` and `engine/` do. What the face names
is loaded when it is asked for, so that `lindos plan --help` does not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lindos.plan.constants import Constants, shipped_constants
    from lindos.plan.install.install import InstallPlan, plan_install
    from lindos.plan.replay.scoreboard import Scoreboard, validate
    from lindos.plan.training import TrainPlan, plan_train

_HOMES = {
    "Constants": "lindos.plan.constants",
    "InstallPlan": "lindos.plan.install.install",
    "Scoreboard": "lindos.plan.replay.scoreboard",
    "TrainPlan": "lindos.plan.training",
    "plan_install": "lindos.plan.install.install",
    "plan_train": "lindos.plan.training",
    "shipped_constants": "lindos.plan.constants",
    "validate": "lindos.plan.replay.scoreboard",
}

__all__ = [
    "Constants",
    "InstallPlan",
    "Scoreboard",
    "TrainPlan",
    "plan_install",
    "plan_train",
    "shipped_constants",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lindos.plan' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)

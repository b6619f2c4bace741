"""A run's figures in TensorBoard, beside its journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lindos.specs import SpecError
from lindos.train.run_file import LogSection

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHOWN = ("step", "evaluation")
"""The kinds of lines that have figures to show."""


class TensorBoard:
    """Writes the figures of a journal's lines as scalars; nothing is written before `begin`."""

    def __init__(self, folder: Path) -> None:
        """Raises SpecError where TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SpecError(
                f'log.tensorboard: {error}; pip install "lindos[tensorboard]", or leave it out of the run file'
            ) from None
        self._make, self.folder = SummaryWriter, folder
        self._writer: SummaryWriter | None = None

    def begin(self, step: int) -> None:
        """Go on at `step`: readers drop what earlier legs wrote at or after it."""
        if self._writer is not None:
            self._writer.close()
        self._writer = self._make(str(self.folder), purge_step=step)

    def add(self, kind: str, fields: dict[str, Any]) -> None:
        """Show all numbers of a line, by its kind and their names."""
        if self._writer is None or kind not in SHOWN:
            return
        for name, value in fields.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(f"{kind}/{name}", value, fields["step"])
        self._writer.flush()  # a run that is killed goes on after what it has saved: nothing before may be missing


def board_of(log: LogSection, folder: Path) -> TensorBoard | None:
    """What a run's section on logging asks for. Raises SpecError where it is not installed."""
    return TensorBoard(folder / "tensorboard") if log.tensorboard else None

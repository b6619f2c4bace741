"""Published runs as rows: reading any CSV with the columns of the table that ships with the planner."""

from __future__ import annotations

import csv
import functools
import io
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

from lindos.specs import SpecError

Some = TypeVar("Some")
TABLE = "published/training_runs.csv"
NEEDED = (
    "source", "year", "model", "layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "seq_len", "experts", "topk",
    "shared_experts", "dense_layers", "moe_ffn", "gpu", "num_gpus", "tp", "pp", "vpp", "cp", "ep", "dp", "dp_sharding",
    "micro_batch", "global_batch_seqs", "recompute", "precision", "step_time_s",
)  # fmt: skip
"""Columns without which a table is refused."""
FURTHER = (
    "params_total_b", "params_active_b", "tokens_per_s_per_gpu", "peak_mem_gib", "provenance", "notes",
    "same_as_group", "quality",
)  # fmt: skip
"""Columns that are used where they stand."""
COUNTS = (
    "layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "seq_len", "experts", "topk", "shared_experts",
    "dense_layers", "moe_ffn", "num_gpus", "tp", "pp", "vpp", "cp", "ep", "dp", "micro_batch", "global_batch_seqs",
)  # fmt: skip
"""Columns that hold whole numbers."""
NEVER_ZERO = ("layers", "hidden", "heads", "vocab", "seq_len", "num_gpus", "tp", "micro_batch", "global_batch_seqs")
"""Those of them in which 0 is a mistake; in the others it means none, or not given."""
PLACEHOLDERS = ("", "-", "n/a", "none", "nan", "null", "?")
"""What an empty cell may hold, in any case of letters."""
THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.0*)?")
LARGEST_FILE = 256 << 20


@dataclass(frozen=True)
class Row:
    """One published run, as text by column."""

    index: int
    """Its place in the table, from 0."""
    columns: dict[str, str]

    def text(self, column: str) -> str:
        return self.columns.get(column, "").strip()

    def number(self, column: str) -> float | None:
        """The number in a column; None where it is empty or no finite positive number."""
        try:
            value = float(self.text(column))
        except ValueError:
            return None
        return value if math.isfinite(value) and value >= 0 else None

    def count(self, column: str) -> int | None:
        """The whole number in a column (`8`, `8.0`, `1,024`); None where it is empty or no whole number."""
        text = self.text(column)
        try:
            value = float(text.replace(",", "") if THOUSANDS.fullmatch(text) else text)
        except ValueError:
            return None
        return int(value) if 0 <= value < 1 << 53 and value == int(value) else None

    def empty(self, column: str) -> bool:
        """Whether nothing stands in a column, or what stands for nothing."""
        return self.text(column).lower() in PLACEHOLDERS

    def shown(self, column: str) -> str:
        """What a column holds, quoted, on one line and not too long."""
        text = self.text(column)
        return repr(text if len(text) <= 40 else text[:37] + "...")

    def no_count(self, column: str) -> bool:
        """Whether a column should hold a whole number and holds something else."""
        if self.empty(column):
            return False
        value = self.count(column)
        return value is None or (value == 0 and column in NEVER_ZERO)

    @property
    def publisher(self) -> str:
        """Who published it: all releases of one publisher's tables are one."""
        return _publisher(self.text("source"))

    @property
    def family(self) -> str:
        """The model without its size's spelling, so that whole models can be left out."""
        return _family(self.text("model"))

    @property
    def group(self) -> str:
        """Repeats of one model, hardware, layout and batch share it."""
        return self.text("same_as_group") or f"row {self.index}"

    @property
    def doubtful(self) -> bool:
        """Recalled from memory, or incomplete."""
        return self.text("provenance") == "recalled" or self.text("quality") == "partial"

    @property
    def step_seconds(self) -> float | None:
        """What was measured: seconds of a step, or tokens per second made into them."""
        seconds = self.number("step_time_s")
        if seconds:
            return seconds
        speed, gpus = self.number("tokens_per_s_per_gpu"), self.count("num_gpus")
        batch, sequence = self.count("global_batch_seqs"), self.count("seq_len")
        if speed and gpus and batch and sequence:
            found = batch / gpus * sequence / speed
            return found if 0 < found < math.inf else None
        return None


def remembered(*columns: str) -> Callable[[Callable[[Row], Some]], Callable[[Row], Some]]:
    """Remember what a function makes of these columns; it sees no others."""

    def remembering(function: Callable[[Row], Some]) -> Callable[[Row], Some]:
        @functools.lru_cache(maxsize=4096)
        def known(*texts: str) -> Some:
            return function(Row(0, dict(zip(columns, texts, strict=True))))

        return lambda row: known(*map(row.text, columns))

    return remembering


PUBLISHERS = (
    ("NVIDIA", ("nvidia", "nemo", "megatron-lm", "megatron-core", "megatron-bridge", "narayanan", "korthikanti")),
    ("MosaicML", ("mosaicml", "llm-foundry", "mpt-7b blog")),
    ("Meta", ("torchtitan", "llama")),
    ("Google", ("maxtext", "palm", "ai-hypercomputer")),
    ("MooreThreads", ("simumax", "moorethreads")),
    ("Microsoft and NVIDIA", ("mt-nlg",)),
)
"""Publishers by words in a source; others are named by the first words of their source."""


@functools.lru_cache(maxsize=4096)
def _publisher(source: str) -> str:
    text = source.lower()
    return next((name for name, words in PUBLISHERS if any(w in text for w in words)), _stem(text))


@functools.lru_cache(maxsize=4096)
def _family(model: str) -> str:
    return re.sub(r"\s*\(.*?\)|\s*truncated", "", model).strip().lower().replace("_", "-")


def _stem(text: str) -> str:
    words = re.split(r"[^a-z]+", text)
    return " ".join([w for w in words if w][:2]) or "unknown"


def read_rows(path: Path | None = None) -> list[Row]:
    """The rows of a CSV file, or of the shipped table. Raises SpecError naming what is missing."""
    if path is None:
        return parse_rows((resources.files("lindos.plan.replay") / TABLE).read_text(encoding="utf-8"), TABLE)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise SpecError(f"{path}: larger than {LARGEST_FILE >> 20} MiB; this is no table of runs")
        with path.open(encoding="utf-8-sig", newline="") as file:  # line ends within quotes stay as they are
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    return parse_rows(text, str(path))


def parse_rows(text: str, where: str) -> list[Row]:
    """Rows of CSV text, one a record. Raises SpecError."""
    reader = csv.DictReader(io.StringIO(text.replace("\0", ""), newline=""))
    same: dict[str, str] = {}  # equal cells are kept once
    try:
        names = [name.strip() for name in reader.fieldnames or []]
        _check_names(names, where)
        reader.fieldnames = names
        return [
            Row(index, {k: same.setdefault(v, v) for k, v in record.items() if isinstance(v, str)})
            for index, record in enumerate(reader)
        ]
    except csv.Error as error:
        raise SpecError(f"{where}: line {reader.line_num}: {error}") from None


def _check_names(names: list[str], where: str) -> None:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise SpecError(f"{where}: columns are missing: {', '.join(missing)}")
    twice = [" ".join(name.split()) for name, times in Counter(names).items() if name and times > 1]
    if twice:
        raise SpecError(f"{where}: columns stand more than once: {', '.join(twice)}")

"""The run file: everything one training run is, in one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lindos.specs import Layout, ModelSpec, Spec, SpecError, load_model_spec, read_table

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class DataSection(Spec):
    path: str
    """A directory made by `lindos data prepare`."""
    sequence: Count
    """Tokens a training sequence holds."""
    batch: Count
    """Sequences per optimiser step."""
    micro_batch: Count
    """Sequences per forward pass; a step accumulates batch / micro_batch of them."""
    seed: int = 0
    separate: bool = False
    """Whether documents packed into one sequence are hidden from each other; a start token begins each."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self


class OptimizerSection(Spec):
    kind: Literal["adamw", "muon"] = "adamw"
    """adamw for everything, or muon for the matrices inside the layers and adamw for the rest."""
    lr: Positive
    """Peak learning rate of adamw."""
    matrix_lr: Positive = 0.02
    """Peak learning rate of muon."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    eps: Positive = 1e-8
    momentum: Decay = 0.95
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled, on matrices only, times the learning rate."""
    clip: Positive = 1.0
    """Largest norm of the whole gradient."""


class ScheduleSection(Spec):
    steps: Count
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps of linear rise."""
    decay: Share = 0.2
    """Share of the steps at the end in which the rate falls linearly to `floor`."""
    floor: Share = 0.0
    """Where the rate ends, as a share of the peak."""

    @property
    def falling(self) -> int:
        """Steps in which the rate falls."""
        return max(1, round(self.decay * self.steps))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup > self.steps - self.falling:
            raise ValueError(
                f"warmup ({self.warmup} steps) and decay (the last {self.falling}) overlap in {self.steps} steps: "
                "the rate would never reach its peak"
            )
        return self


class RouterSection(Spec):
    balance: Annotated[float, Field(ge=0)] = 0.02
    """Weight of each layer's load-balance loss (Switch Transformer, https://arxiv.org/abs/2101.03961, eq. 4)."""
    z: Annotated[float, Field(ge=0)] = 1e-4
    """Weight of each layer's router z-loss (ST-MoE, https://arxiv.org/abs/2202.08906, eq. 5)."""


class EvaluateSection(Spec):
    every: Count = 200
    """Steps between evaluations on held-out text."""
    sequences: Count = 64


class SampleSection(Spec):
    every: Count = 500
    prompts: tuple[str, ...] = ()
    tokens: Count = 40


class CheckpointSection(Spec):
    every: Count = 200
    keep: Count = 2
    """The newest checkpoints kept."""
    background: bool = True
    """Write while the next steps go on; takes memory for a copy of weights and optimiser state."""
    memory_every: Annotated[int, Field(ge=0)] = 0
    """Steps between checkpoints in processor memory, each rank's also in that of a partner; 0: none."""
    memory_folder: str = "/dev/shm"
    """Where each machine keeps them: a file system in memory."""


class MachineSection(Spec):
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the accelerator where torch finds one, else the processor."""
    threads: Annotated[int, Field(ge=0)] = 0
    """0: as many as there are cores."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """What products are computed in. auto: bf16 where the machine has units for it, else fp32."""
    compile: bool = False
    """Fuse element-wise chains with torch.compile; wants a C++ compiler."""


class WatchSection(Spec):
    hang: Annotated[float, Field(ge=0)] = 600.0
    """Seconds that a rank waits for others in one exchange before it says for whom, and ends; 0: for ever."""
    slow: Annotated[float, Field(ge=0)] = 1.5
    """A rank whose own work takes so many times as long as that of its like is told of; 0: none is."""
    slow_every: Count = 50
    """Steps between looks for slow ranks."""
    spike: Annotated[float, Field(ge=0)] = 0.0
    """A loss or gradient norm so many robust standard deviations above those of the last steps is a spike (8, say);
    0: none is."""
    on_spike: Literal["tell", "skip", "rewind"] = "tell"
    """tell: go on; skip: leave the step's gradient out; rewind: go back to a checkpoint, and on with other batches."""


class LogSection(Spec):
    tensorboard: bool = False
    """Write losses, rates and evaluations for TensorBoard, too, into the run's folder; wants lindos[tensorboard]."""


class ReplicasSection(Spec):
    """Replica groups that come and go, each started by a command of its own; `layout.replicas` are those inside one."""

    lighthouse: str = ""
    """Address of what the groups find each other by, like http://10.0.0.1:29510; empty where there is but one group."""
    name: str = ""
    """This group's, which differs between groups; better given as --replica."""
    patience: Positive = 30.0
    """Seconds that an exchange between groups may take, healing among them, before the others are given up."""
    wait: Positive = 600.0
    """Seconds to wait for others to come to a step; longer than any of them takes for one."""
    least: Count = 1
    """Groups without which nobody goes on."""


class RunFile(Spec):
    """One run. `RunFile.load` reads it; unknown keys are errors with the nearest name."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    model: str
    """A catalogue name, or the path of a TOML file."""
    start: str = ""
    """A model directory whose weights the run starts from; empty for fresh ones."""
    seed: int = 0
    z_loss: Annotated[float, Field(ge=0)] = 1e-4
    """Weight of the squared log-normaliser of the output (PaLM, section 5)."""

    data: DataSection
    optimizer: OptimizerSection
    schedule: ScheduleSection
    router: RouterSection = RouterSection()
    evaluate: EvaluateSection = EvaluateSection()
    sample: SampleSection = SampleSection()
    checkpoint: CheckpointSection = CheckpointSection()
    log: LogSection = LogSection()
    watch: WatchSection = WatchSection()
    machine: MachineSection = MachineSection()
    replicas: ReplicasSection = ReplicasSection()
    layout: Layout = Layout()
    """How the work is spread over processes; `micro_batch` and the number format stand in `data` and `machine`."""

    @model_validator(mode="before")
    @classmethod
    def _one_micro_batch(cls, table: Any) -> Any:
        """The layout has the run's micro-batch and number format, which are said once."""
        if not isinstance(table, dict) or not isinstance(table.get("layout", {}), dict):
            return table
        layout = dict(table.get("layout", {}))
        for key, section, name in (("micro_batch", "data", "micro_batch"), ("precision", "machine", "precision")):
            there = table.get(section, {})
            said = there.get(name) if isinstance(there, dict) else getattr(there, name, None)
            if said is None or said == "auto":
                continue
            if layout.setdefault(key, said) != said:
                raise ValueError(f"layout.{key} ({layout[key]}) is not {section}.{name} ({said}); leave it out")
        return {**table, "layout": layout}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a run file. Raises SpecError."""
        run = cls.parse(read_table(path), where=str(path))
        spec = run.spec
        if run.data.sequence > spec.sequence:
            raise SpecError(
                f"{path}: data.sequence: {run.data.sequence} tokens exceed the {spec.sequence} {spec.name} is meant for"
            )
        try:
            check_layout(run.layout, spec, batch=run.data.batch, sequence=run.data.sequence)
        except SpecError as error:
            raise SpecError(f"{path}: {error}") from None
        return run

    @property
    def spec(self) -> ModelSpec:
        return load_model_spec(self.model)

    @property
    def tokens_per_step(self) -> int:
        return self.data.batch * self.data.sequence


def check_layout(layout: Layout, spec: ModelSpec, *, batch: int, sequence: int) -> None:
    """Raise SpecError where a layout that may be planned cannot be trained, naming the number to change."""
    layout.check(spec, batch=batch, sequence=sequence)
    tokens = f"tokens of one context rank (sequence / context = {sequence // layout.context})"
    rules = [
        (spec.kv_heads, layout.tensor, f"kv_heads = {spec.kv_heads}", f"tensor = {layout.tensor}"),
        (sequence, 2 * layout.context if layout.context > 1 else 1, f"sequence = {sequence}",
         f"2 * context = {2 * layout.context} (every rank takes a stretch from either end)"),
        (sequence // layout.context, layout.tensor, tokens, f"tensor = {layout.tensor}"),
    ]  # fmt: skip
    for width in ("dense_width", "shared_width"):
        inner = getattr(spec, width)
        rules.append((inner, layout.tensor, f"{width} = {inner}", f"tensor = {layout.tensor}"))
    for whole, part, whole_name, part_name in rules:
        if whole % part:
            raise SpecError(f"layout does not divide: {whole_name} is not a multiple of {part_name}")
    late = layout.schedule == "zero-bubble"
    rounds = batch // (layout.data * layout.micro_batch)
    if late and rounds % max(1, rounds // layout.pipeline):
        raise SpecError(
            f"layout does not divide: {rounds} micro-batches do not make whole turns of pipeline = {layout.pipeline}, "
            "which zero-bubble needs; take a multiple of it"
        )
    if not all(layout.stages(spec)):
        raise SpecError(
            f"layout: ends_count leaves the first and last of {layout.pipeline * layout.virtual_stages} stages without "
            f"a layer of {spec.layers}; use fewer stages"
        )
    unknown = [
        (layout.precision in ("fp16", "fp8", "fp4"), f"precision = {layout.precision}", "bf16 or fp32"),
        (layout.sharding == "gradients" and layout.pipeline > 1, "sharding = gradients in a pipeline", "optimizer"),
        (layout.recompute == "full" and late, "recompute = full with schedule = zero-bubble", "1f1b"),
    ]
    for wrong, what, instead in unknown:
        if wrong:
            raise SpecError(f"layout: {what} can be planned, but is not trained yet; use {instead}")


def learning_rate(schedule: ScheduleSection, step: int) -> float:
    """The share of the peak rate that `step` (from 0) trains at: rise, plateau, linear fall to `floor`.

    A plateau lets a run be lengthened between legs without having decayed too early
    (warm-up, stable, decay: MiniCPM, https://arxiv.org/abs/2404.06395).
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    left = max(0, schedule.steps - step)
    return schedule.floor + (1 - schedule.floor) * min(1.0, left / schedule.falling)

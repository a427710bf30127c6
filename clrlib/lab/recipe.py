"""How a run is trained, as data: `Recipe`. No torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from clrlib.validate import count

OPTIMIZERS = ("sgd", "adamw", "schedule_free")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Recipe:
    """Everything about a run but its schedules and epochs. Frozen, and part of the run's record.

    optimizer  "sgd", "adamw", or "schedule_free": SGD that is measured at an average of its weights
    augment    random crops and mirrors;  cutout  the side in pixels of a square blanked in each image; 0: none
    precision  "fp32", "bf16", "fp16", or "auto": what this machine does fastest
    """

    batch_size: int = 512
    seed: int = 0
    optimizer: str = "sgd"
    nesterov: bool = False
    label_smoothing: float = 0.0
    augment: bool = True
    channels_last: bool = True
    precision: str = "auto"
    cutout: int = 0

    def __post_init__(self):
        count("batch_size", self.batch_size, at_least=2)
        count("seed", self.seed, at_least=0)
        count("cutout", self.cutout, at_least=0)
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r} is unknown: choose one of {', '.join(OPTIMIZERS)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if self.precision not in ("auto", *PRECISIONS):
            raise ValueError(f"precision {self.precision!r} is unknown: choose auto, {', '.join(PRECISIONS)}")

    def to_dict(self) -> dict:
        return asdict(self)

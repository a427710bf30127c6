"""One training step and what it needs: device, precision, optimiser. `Eager` runs it; `fast` captures it; the loop is `training`."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import platform
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from clrlib.lab import cifar as images_of
from clrlib.lab.recipe import OPTIMIZERS, PRECISIONS, Recipe
from clrlib.lab.schedule_free import ScheduleFreeSGD, recalibrated
from clrlib.scheduler import set_hyper

BF16_INSTRUCTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # functions of torch.cpu
CALIBRATION = 20  # training batches that batch norm is recalibrated on
DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16, torch.float16)))


def pick_device() -> torch.device:
    """The first CUDA GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(device) -> str:
    """ "bf16" where the hardware is fast at it, else "fp16" on a GPU and "fp32" on a CPU.

    A CPU is asked for instructions that multiply bf16 (AVX512-BF16, AMX); a stopwatch would answer by what else runs there.
    """
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if any(getattr(torch.cpu, name, bool)() for name in BF16_INSTRUCTIONS) else "fp32"


def machine_name(device) -> str:
    """The GPU's name, or the CPU's: "NVIDIA T4"; "CPU, AMD EPYC"."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {_processor().get('model name') or platform.processor() or platform.machine()}"


def arithmetic(recipe: Recipe, device) -> dict:
    """What decides a run's last bits: precision, threads, processor and its instructions, torch's version. Plain values."""
    device = torch.device(device)
    if device.type == "cuda":
        kind = ".".join(map(str, torch.cuda.get_device_capability(device)))
    else:
        kind = " ".join([_processor().get("cpu family", "?"), _processor().get("model", "?"), torch.backends.cpu.get_cpu_capability()])
    return {
        "precision": resolved(recipe, device).precision,
        "threads": torch.get_num_threads(),
        "processor": f"{machine_name(device)} ({kind})",
        "torch": str(torch.__version__),
    }


@functools.lru_cache(maxsize=1)
def _processor() -> dict[str, str]:
    """What Linux says of the first processor; nothing elsewhere."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    lines = [line.split(":", 1) for line in first.splitlines() if ":" in line]
    return {key.strip(): value.strip() for key, value in lines}


def resolved(recipe: Recipe, device) -> Recipe:
    """The same recipe with the precision "auto" settled for `device`."""
    return replace(recipe, precision=pick_precision(device)) if recipe.precision == "auto" else recipe


def autocast(device, precision: str):
    """The mixed-precision context of a step; no context for "fp32". Raises ValueError for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown: choose auto, {', '.join(PRECISIONS)}")
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, DTYPES[precision])


def grad_scaler(device, precision: str) -> torch.amp.GradScaler:
    """Scales fp16's loss so that small gradients survive; does nothing in the other precisions."""
    return torch.amp.GradScaler(torch.device(device).type, enabled=precision == "fp16")


def make_optimizer(model, name: str, nesterov: bool = False) -> torch.optim.Optimizer:
    """SGD with momentum, AdamW, or schedule-free SGD. The rates given here are placeholders: `set_hyper` sets them before each step."""
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, nesterov=nesterov)
    if name == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.99))
    if name == "schedule_free":
        return ScheduleFreeSGD(model.parameters())
    raise ValueError(f"optimizer {name!r} is unknown: choose one of {', '.join(OPTIMIZERS)}")


def place(model, device, channels_last: bool = True):
    """The model on `device`, its weights in channels-last memory or in torch's usual order."""
    keep_memory()
    return model.to(device, memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def logits(model, images, precision="fp32") -> torch.Tensor:
    """The network run in `precision`; its answer in fp32, or in float64 for a model of that type."""
    with autocast(images.device, precision):
        out = run(model, images)
    return out if out.dtype == torch.float64 else out.float()


def run(model, images):
    """The network's own answer; images go in as float64 where its weights are of that type."""
    double = any(parameter.dtype == torch.float64 for parameter in model.parameters())
    return model(images.double() if double else images)


def forward(model, images, labels, precision="fp32", label_smoothing=0.0):
    """(mean cross-entropy, logits) of one batch."""
    answer = logits(model, images, precision)
    return F.cross_entropy(answer, labels, label_smoothing=label_smoothing), answer


def train_step(model, optimizer, scaler, images, labels, precision="fp32", label_smoothing=0.0):
    """Forward, backward, update. Returns (loss, accuracy in [0, 1]) of the batch before the update, still on the device."""
    loss, answer = forward(model, images, labels, precision, label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss.detach(), accuracy(answer, labels)


def accuracy(answer, labels) -> torch.Tensor:
    """The share of labels that the logits get right, in [0, 1]."""
    return (answer.detach().argmax(1) == labels).float().mean()


class Eager:
    """One step on batch i of a planned epoch, run operation by operation, by torch's own optimiser."""

    how, preparing = "eager", 0.0

    def __init__(self, model, split, recipe):
        self.model, self.split, self.recipe = model, split, recipe
        self.optimizer = make_optimizer(model, recipe.optimizer, recipe.nesterov)
        self.scaler = grad_scaler(split.images.device, recipe.precision)

    def __call__(self, plan, i: int, hyper: dict):
        """Returns (loss, accuracy) of the batch before the update, as 0-dim tensors on the device."""
        recipe = self.recipe
        images, labels = images_of.batch(self.split, plan, i, recipe.augment, recipe.cutout)
        set_hyper(self.optimizer, **hyper)
        return train_step(self.model, self.optimizer, self.scaler, images, labels, recipe.precision, recipe.label_smoothing)

    @contextlib.contextmanager
    def measured(self):
        """Inside, the model is as it is to be measured: schedule-free SGD's average, batch norm recalibrated to it."""
        if not isinstance(self.optimizer, ScheduleFreeSGD):
            yield
            return

        def forward(images):
            return logits(self.model, images, self.recipe.precision)

        with self.optimizer.averaged(), recalibrated(self.model, self._calibration(), forward):
            yield

    def _calibration(self):
        """The images of `CALIBRATION` training batches, the same ones each time."""
        recipe, split = self.recipe, self.split
        plan = images_of.plan_epoch(len(split), recipe.batch_size, recipe.seed, 0, split.images.device)
        for i in range(min(CALIBRATION, len(plan))):
            yield images_of.batch(split, plan, i, recipe.augment, recipe.cutout)[0]

    def state_dict(self) -> dict:
        """A copy: what is trained afterwards does not reach it."""
        return copy.deepcopy({"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()})

    def load_state_dict(self, state: dict):
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))  # torch would go on in the given tensors
        self.scaler.load_state_dict(state["scaler"])


@contextlib.contextmanager
def mode(model, training: bool):
    """Train or eval mode inside; afterwards every module is in its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, before in modes:
            module.training = before


@functools.lru_cache(maxsize=1)
def keep_memory() -> bool:
    """Let glibc keep freed memory instead of giving it back: each step takes the same again, already there.

    By default every tensor over 32 MB is mapped and unmapped at each use, and the kernel clears its pages
    anew; that is a quarter of the tiny net's step. The peak stays as it is. False where there is no glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    trim_threshold, mmap_max, keep_all = -1, -4, 2**31 - 1
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, keep_all))

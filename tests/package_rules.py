"""What fastai, Lightning and torch-lr-finder themselves say about a curve: their own finders, driven over losses set beforehand.

`asked` runs this file in an environment of its own (.cache/package-rules), which it makes where there is none: this
interpreter's packages stay as they are and are seen from there.
"""

import contextlib
import importlib.metadata
import io
import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

PINNED = {"fastai": "2.8.12", "lightning": "2.6.6", "torch-lr-finder": "0.2.2"}
FASTAI = ("valley", "slide", "minimum", "steep")
HOME = Path(__file__).parents[1] / ".cache" / "package-rules"


NO_NETWORK = (
    "Failed to establish a new connection",
    "NewConnectionError",
    "ConnectTimeoutError",
    "name resolution",
)


class Offline(RuntimeError):
    """The packages are not installed yet, and there is no network to fetch them from."""


def asked(cases: list[dict]) -> dict:
    """{"versions": package -> version, "says": for each case, rule -> rate, or None where the package gives none}.

    case  {"low", "high", "steps", "losses"}: losses may be fewer than steps only if every package stops before they end.
          The rates are low * (high / low) ** (i / (steps - 1)). None in losses is a loss that is no number

    Raises Offline when they are yet to be installed and there is no network; RuntimeError when installing fails.
    """
    done = subprocess.run([_python(), __file__], input=json.dumps(cases), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the packages' rules ended with an error:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _python() -> str:
    """The Python of the environment with the packages in it."""
    python = HOME / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    done = HOME / f"{' '.join(f'{name}=={version}' for name, version in PINNED.items())}"
    if not done.exists():
        venv.create(HOME, with_pip=True, clear=True)
        here = sysconfig.get_path("purelib", vars={"base": str(HOME), "platbase": str(HOME)})
        Path(here, "course.pth").write_text(sysconfig.get_path("purelib"))  # torch need not be fetched again
        got = subprocess.run(
            [python, "-m", "pip", "install", "-q", *done.name.split()], capture_output=True, text=True
        )
        if got.returncode:
            kind = Offline if any(sign in got.stderr for sign in NO_NETWORK) else RuntimeError
            raise kind(f"pip could not install {done.name} into {HOME}: {got.stderr[-1000:]}")
        done.touch()
    return str(python)


# --- in that environment ------------------------------------------------------------------------------------------------


def answers(case: dict) -> dict:
    low, high, steps = case["low"], case["high"], case["steps"]
    losses = [float("nan") if loss is None else loss for loss in case["losses"]]
    return {
        **_fastai(low, high, steps, losses),
        "lightning": _lightning(low, high, steps, losses),
        "lr-finder": _lr_finder(low, high, steps, losses),
    }


def _scripted(losses):
    """A criterion that gives these losses one after the other, whatever the model says; its gradient is that of a sum."""
    coming = iter(losses)

    def criterion(output, target=None):
        return (output - output.detach()).sum() + next(coming)

    return criterion


def _same_rates(found, low, high, steps, skip=0):
    """The package swept the rates it was meant to."""
    for i, rate in list(enumerate(found))[skip:]:
        meant = low * (high / low) ** (i / (steps - 1))
        assert abs(rate / meant - 1) < 1e-5, (i, rate, meant)


def _fastai(low, high, steps, losses) -> dict:
    """All four of fastai's rules, each from `Learner.lr_find`."""
    import torch
    from fastai.callback import schedule
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner

    # fastai's last rate falls one step short of end_lr
    end, found = low * (high / low) ** (steps / (steps - 1)), {}
    for name in FASTAI:
        batches = torch.utils.data.DataLoader([(torch.ones(1), torch.ones(1))] * steps)
        with tempfile.TemporaryDirectory() as folder:
            learner = Learner(
                DataLoaders(batches, batches),
                torch.nn.Linear(1, 1),
                loss_func=_scripted(losses),
                path=folder,
                opt_func=_sgd,
            )
            try:
                found[name] = learner.lr_find(
                    low, end, steps, show_plot=False, suggest_funcs=getattr(schedule, name)
                )[0]
            except (IndexError, RuntimeError, ValueError):  # too few points are left
                found[name] = None
            _same_rates(learner.recorder.lrs, low, high, steps)
    return found


def _sgd(parameters, lr):
    from fastai.optimizer import SGD

    return SGD(parameters, lr=lr)


def _lightning(low, high, steps, losses) -> float | None:
    """Lightning's rule, from `Tuner.lr_find`."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.tuner import Tuner

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.lr, self.layer, self.criterion = low, torch.nn.Linear(1, 1), _scripted(losses)

        def training_step(self, batch, index):
            return self.criterion(self.layer(batch))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    # Lightning's rate at step i is start * factor ** (i + 1), but for the first, which its rule drops
    factor = (high / low) ** (1 / (steps - 1))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu", max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        batches = torch.utils.data.DataLoader(torch.ones(steps + 5, 1))
        finder = Tuner(trainer).lr_find(
            Module(),
            batches,
            min_lr=low / factor,
            max_lr=low * factor ** (steps - 1),
            num_training=steps,
            update_attr=False,
        )
    _same_rates(finder.results["lr"], low, high, steps, skip=1)
    return finder.suggestion()


def _lr_finder(low, high, steps, losses) -> float | None:
    """torch-lr-finder's rule, from `range_test` and `plot`."""
    import torch
    from matplotlib.figure import Figure
    from torch_lr_finder import LRFinder

    model = torch.nn.Linear(1, 1)
    finder = LRFinder(model, torch.optim.SGD(model.parameters(), lr=low), _scripted(losses))
    batches = torch.utils.data.DataLoader([(torch.ones(1), torch.ones(1))] * steps)
    finder.range_test(batches, start_lr=low, end_lr=high, num_iter=steps)
    _same_rates(finder.history["lr"], low, high, steps)
    try:
        return float(finder.plot(ax=Figure().subplots())[1])
    except RuntimeError:  # too few points
        return None


def main():
    import logging
    import warnings

    warnings.simplefilter("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    cases = json.load(sys.stdin)
    with contextlib.redirect_stdout(io.StringIO()):
        says = [answers(case) for case in cases]
    print(json.dumps({"versions": {name: importlib.metadata.version(name) for name in PINNED}, "says": says}))


if __name__ == "__main__":
    main()

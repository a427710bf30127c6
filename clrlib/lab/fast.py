"""The fast step: what `engine.Eager` does, compiled, and on a GPU captured as one CUDA graph that is replayed.

A captured graph repeats the same kernels on the same memory. So everything that changes from step to step
lives in tensors that the graph reads: the batch's numbers in the plan, and the three hyper-parameters, which
torch.optim.SGD would bake into the graph as constants. Nothing is recompiled and nothing waits as they change.
"""

from __future__ import annotations

import contextlib
import functools
import time
import warnings

import torch

from clrlib.lab import cifar as images_of
from clrlib.lab import engine

HYPER = ("lr", "momentum", "weight_decay")
WARM_UPS = 3  # runs before the capture: cuDNN picks its algorithms, the compiler compiles


def make_step(model, split, recipe, fast: bool | None = None):
    """The step that a run takes: a `Fast` one where there is a GPU (or where `fast` asks for it), else an `engine.Eager` one.

    What can't be fast says so in one line, and runs eagerly.
    """
    if fast is None:
        fast = split.images.is_cuda
    if fast and (why := _obstacle(recipe)):
        print(f"The step runs eagerly: {why}.")
        fast = False
    return (Fast if fast else engine.Eager)(model, split, recipe)


def _obstacle(recipe) -> str:
    if recipe.optimizer != "sgd":
        return f"only sgd's update is captured, not {recipe.optimizer}'s"
    if recipe.precision == "fp16":
        return "fp16 needs a loss scaler, which decides on the CPU whether to update"
    return ""


@torch.no_grad()
def sgd_update(parameters, gradients, velocities, hyper: dict, nesterov: bool = False):
    """torch.optim.SGD's update, in place, with its hyper-parameters as 0-dim tensors.

    g = gradient + weight_decay * p;  v = momentum * v + g;  p = p - lr * v  (Nesterov: p - lr * (g + momentum * v))
    """
    steps = torch._foreach_mul(parameters, hyper["weight_decay"])
    torch._foreach_add_(steps, gradients)
    torch._foreach_mul_(velocities, hyper["momentum"])
    torch._foreach_add_(velocities, steps)
    if nesterov:
        torch._foreach_add_(steps, torch._foreach_mul(velocities, hyper["momentum"]))
    else:
        steps = velocities
    torch._foreach_add_(parameters, torch._foreach_mul(steps, -hyper["lr"]))


class Fast:
    """One step of SGD on batch i of a planned epoch; called as `engine.Eager` is.

    how        what became of it: "compiled and captured", "captured", or "uncaptured" on a CPU
    preparing  the seconds that compiling and capturing took
    """

    def __init__(self, model, split, recipe):
        self.model, self.split, self.recipe = model, split, recipe
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.velocities = [torch.zeros_like(p) for p in self.parameters]
        device, kind = split.images.device, self.parameters[0].dtype
        self.hyper = {name: torch.zeros((), device=device, dtype=kind) for name in HYPER}
        self.plan = images_of.plan_epoch(recipe.batch_size, recipe.batch_size, 0, 0, device)  # one batch; each step writes its own into it
        self.forward, self.graph, self.how, self.preparing = engine.forward, None, "uncaptured", 0.0
        if device.type == "cuda":
            self._prepare()

    def __call__(self, plan, i: int, hyper: dict):
        """Returns (loss, accuracy) of the batch before the update, as 0-dim tensors on the device."""
        for name, value in hyper.items():
            self.hyper[name].fill_(value)
        for mine, theirs in zip(self.plan, plan):
            mine[0].copy_(theirs[i])
        if self.graph is None:
            return self._work()
        self.graph()
        return self.outputs[0].clone(), self.outputs[1].clone()

    measured = staticmethod(contextlib.nullcontext)  # SGD's weights are measured as they are

    def state_dict(self) -> dict:
        return {"velocities": [v.detach().clone() for v in self.velocities]}

    def load_state_dict(self, state: dict):
        for mine, theirs in zip(self.velocities, state["velocities"], strict=True):
            mine.copy_(theirs)

    def _work(self):
        recipe = self.recipe
        images, labels = images_of.batch(self.split, self.plan, 0, recipe.augment, recipe.cutout)
        loss, answer = self.forward(self.model, images, labels, recipe.precision, recipe.label_smoothing)
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        used = [(p, g, v) for p, g, v in zip(self.parameters, gradients, self.velocities) if g is not None]
        sgd_update(*zip(*used), self.hyper, recipe.nesterov)
        return loss.detach(), engine.accuracy(answer, labels)

    def _prepare(self):
        """Compile and capture; where that fails, capture alone; where that fails too, go on uncaptured. Each failure is one line."""
        start = time.perf_counter()
        for how, forward in {"compiled and captured": compiled_forward, "captured": lambda: engine.forward}.items():
            try:
                self.forward = forward()
                self.graph, self.outputs = self._unchanged(lambda: captured(self._work))
                self.how = how
                break
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # a compiler's errors are of many kinds, and none may cost the run
                print(f"The step could not be {how} ({type(error).__name__}: {_first_line(error)}).")
                self.forward, self.graph = engine.forward, None
        self.preparing = time.perf_counter() - start

    def _unchanged(self, work):
        """Run `work`, warm-ups and all, and put back every tensor that it changed, and the random state."""
        changed = [*self.parameters, *self.model.buffers(), *self.velocities]
        kept = [t.detach().clone() for t in changed]
        state = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        try:
            with engine.mode(self.model, training=True):
                return work()
        finally:
            with torch.no_grad():
                for tensor, value in zip(changed, kept):
                    tensor.copy_(value)
            if state is not None:
                torch.cuda.set_rng_state(state)


def captured(work):
    """Record `work` as a CUDA graph. Returns (a function that replays it, the tensors that each replay fills).

    Recording runs nothing, but the warm-ups before it do.
    """
    torch.backends.cudnn.benchmark = True  # one batch shape: picking the quickest algorithm once pays
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):  # the warm-ups' stream: autograd may still hold on to it
        outputs = work()
    return graph.replay, outputs


@functools.lru_cache(maxsize=1)
def compiled_forward():
    """`engine.forward`, compiled; one function for all runs of a process, so that seeds share what was compiled for the first.

    torch keeps the compiled kernels on disk as well, for the next process.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 64  # one per network, batch shape and precision
    warnings.filterwarnings("ignore", message=".*TensorFloat32.*")
    return torch.compile(engine.forward, fullgraph=True, dynamic=False)


def _first_line(error) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:160]

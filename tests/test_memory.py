from dataclasses import replace

import pytest
import torch

from clrlib.lab import engine
from clrlib.lab import probes as memory
from clrlib.lab.training import Recipe

PLAIN = Recipe(batch_size=16, precision="fp32")


@pytest.mark.parametrize("most", [1, 7, 8, 9, 64, 100, 50_000])
@pytest.mark.parametrize("limit", [0, 7, 8, 15, 16, 100, 511, 512, 513, 10**9])
def test_the_search_finds_the_largest_multiple_of_eight_in_few_tries(most, limit):
    tries = []

    def fits(size):
        tries.append(size)
        return size <= limit

    assert memory.largest_that_fits(fits, most) == min(limit, most) // 8 * 8
    assert len(tries) == len(set(tries)) <= 2 * most.bit_length() + 1 and all(0 < size <= most and size % 8 == 0 for size in tries)


@pytest.mark.parametrize("room", [0, 15, 30])
def test_a_step_that_is_refused_does_not_fit(room, data, small_model, monkeypatch):
    """A GPU with room for so many images: the eager step refuses more, as CUDA's allocator does."""
    step = engine.train_step

    def refusing(model, optimizer, scaler, images, *rest):
        if len(images) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(model, optimizer, scaler, images, *rest)

    monkeypatch.setattr(engine, "train_step", refusing)
    largest = memory.largest_that_fits(lambda size: memory.fits(small_model(), data.train, PLAIN, size), 48)
    assert largest == room // 8 * 8


def test_trying_a_size_changes_neither_model_nor_random_state(data, small_model):
    model = small_model().train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert memory.fits(model, data.train, PLAIN, 16)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_a_size_is_tried_in_the_precision_that_a_run_would_pick(data, small_model, monkeypatch):
    used, step = [], engine.train_step
    monkeypatch.setattr(engine, "train_step", lambda *args: used.append(args[5]) or step(*args))
    monkeypatch.setattr(engine, "pick_precision", lambda device: "bf16")
    assert memory.fits(small_model(), data.train, replace(PLAIN, precision="auto"), 16) and used == ["bf16"] * 2


def test_on_a_cpu_it_refuses_rather_than_risk_the_process(data, small_model):
    with pytest.raises(RuntimeError, match="largest_batch needs a GPU"):
        memory.largest_batch(small_model(), data.train, PLAIN)

from dataclasses import replace

import pytest
import torch

from clrlib import engine, fast, memory
from clrlib.training import Recipe, fit

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


def too_large_above(limit, monkeypatch):
    """A GPU with room for `limit` images: the eager step refuses more, as CUDA's allocator does."""
    step = engine.train_step

    def refusing(model, optimizer, scaler, images, *rest):
        if len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(model, optimizer, scaler, images, *rest)

    monkeypatch.setattr(engine, "train_step", refusing)
    monkeypatch.setattr(memory, "largest_batch", lambda model, split, recipe, most: memory.largest_that_fits(
        lambda size: memory.fits(model, split, recipe, size), most))  # fmt: skip


def test_out_of_memory_names_the_batch_that_would_fit(data, small_model, monkeypatch):
    too_large_above(30, monkeypatch)
    model = small_model()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(RuntimeError, match=r"batch_size=48 does not fit into the GPU's memory; 24 would: Recipe\(batch_size=24\)"):
        fit(model, data, {"lr": 0.1}, 1, replace(PLAIN, batch_size=48), progress=False)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before))
    assert len(fit(model, data, {"lr": 0.1}, 1, replace(PLAIN, batch_size=24), progress=False)) == 3


def test_where_nothing_fits_it_says_so(data, small_model, monkeypatch):
    too_large_above(0, monkeypatch)
    with pytest.raises(RuntimeError, match="no smaller one would: take a smaller network"):
        fit(small_model(), data, {"lr": 0.1}, 1, PLAIN, progress=False)


def test_out_of_memory_while_preparing_is_named_too(data, small_model, monkeypatch):
    too_large_above(30, monkeypatch)

    def make(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fast, "make_step", make)
    with pytest.raises(RuntimeError, match="48 does not fit .* 24 would"):
        fit(small_model(), data, {"lr": 0.1}, 1, replace(PLAIN, batch_size=48), progress=False)


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

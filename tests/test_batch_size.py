import numpy as np
import pytest

from clrlib.schedules import one_cycle
from clrlib.theory import batch_size as b


@pytest.mark.parametrize("rule, expected", [("linear", 3.2), ("root", 1.6)])
def test_a_scaled_rate_is_the_one_that_the_experiment_takes(rule, expected):
    assert b.scaled_rate(0.8, 512, 2048, rule) == pytest.approx(expected)
    there = b.scaled_rate(0.8, 512, 96, rule)
    assert b.scaled_rate(there, 96, 512, rule) == pytest.approx(0.8)
    assert max(one_cycle(0.08, 0.8).scaled(expected / 0.8).values) == pytest.approx(expected)


def test_in_proportion_an_epoch_of_constant_gradients_moves_as_far_and_by_the_root_a_step_is_as_noisy():
    images, spread = 4096, 7.0
    for size in (16, 64, 1024):
        assert images / size * b.scaled_rate(0.1, 16, size) == pytest.approx(images / 16 * 0.1)
        assert b.scaled_rate(0.1, 16, size, "root") ** 2 * spread / size == pytest.approx(0.01 * spread / 16)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: b.scaled_rate(0.1, 512, 1024, "cubic"), "'cubic' is unknown: choose one of linear, root"),
        (lambda: b.scaled_rate(0.1, 0, 1024), "batch must be at least 1"),
        (lambda: b.scaled_rate(float("nan"), 1, 2), "rate must be finite"),
        (lambda: b.noise_of({}, 1.0), "errors is empty"),
        (lambda: b.noise_from_two((64, 2.0), (64, 1.0)), "must be the larger one, got 64 and 64"),
    ],
)
def test_what_cannot_be_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def drawn(size, repeats=4000, weights=6, seed=0):
    """Gradients of batches where each image's is normal around 0.5 with variance 4 a weight: [repeats, weights]."""
    return 0.5 + 2 / size**0.5 * np.random.default_rng(seed + size).standard_normal((repeats, weights))


def test_the_noise_is_found_again_from_distances():
    errors = {size: ((drawn(size) - 0.5) ** 2).sum(axis=1) for size in (4, 16, 64)}
    noise = b.noise_of(errors, length=6 * 0.25)
    assert noise.spread == pytest.approx(24, rel=0.03) and noise.scale == pytest.approx(16, rel=0.03)


def test_the_noise_is_found_again_from_lengths_alone():
    noise = b.noise_from_two(*((size, (drawn(size) ** 2).sum(axis=1).mean()) for size in (4, 64)))
    assert noise.spread == pytest.approx(24, rel=0.05) and noise.length == pytest.approx(1.5, rel=0.05)


def test_at_the_noise_scale_both_prices_are_twice_the_least():
    assert b.steps_needed(300, 300) == b.images_needed(300, 300) == 2
    sizes = np.array([1, 10, 100])
    np.testing.assert_allclose(b.steps_needed(sizes, 50) * sizes / 50, b.images_needed(sizes, 50))

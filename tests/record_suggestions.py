"""Writes suggestions.json: curves, and what the packages say about each. python tests/record_suggestions.py, after a new version of one.

A curve is {"about", "low", "high", "steps", "losses", "says": rule -> rate or null}; its rates are those of `rates_of`.
"""

import json
from pathlib import Path

import numpy as np
from package_rules import asked

from clrlib.evidence import records
from clrlib.history import RangeTest

FILE = Path(__file__).with_name("suggestions.json")
RECORDED = {
    "100": (0, 1, 2, 3, 4),
    "50": (0, 1, 2),
    "400": (0,),
    "batch-128": (0,),
    "batch-2048": (1,),
    "momentum-0.95": (2,),
    "wd-0": (0,),
}
FASTAI_SWEEP, LIGHTNING_SWEEP, ARTICLE_SWEEP = (1e-7, 10.0), (1e-8, 1.0), (1e-5, 10.0)


def rates_of(curve) -> np.ndarray:
    return np.geomspace(curve["low"], curve["high"], curve["steps"])


def losses_of(curve) -> np.ndarray:
    """A curve's losses; null is NaN."""
    return np.array(curve["losses"], dtype=float)


def curves() -> list[dict]:
    return [*_recorded(), *_made()]


def _recorded():
    for name, seeds in RECORDED.items():
        sweeps = RangeTest.of(record.history for record in records.load_all("E1", f"tiny-{name}"))
        for seed in seeds:
            yield _curve(f"recorded {name}, seed {seed}", ARTICLE_SWEEP, sweeps.losses_before_step[seed])


def _made():
    for i, (low, high) in enumerate((FASTAI_SWEEP, LIGHTNING_SWEEP, ARTICLE_SWEEP) * 4):
        yield _curve(
            f"a fall, {i}", (low, high), fall(i, steps=(100, 100, 60, 150)[i % 4], depth=0.2 + 0.15 * i)
        )
    for i, steps in enumerate((30, 60, 100, 200)):
        yield _curve(f"noise, {steps} steps", FASTAI_SWEEP, np.random.default_rng(i).normal(2.3, 0.02, steps))
    for i, steps in enumerate((12, 15, 17, 20, 21, 30)):
        yield _curve(f"short, {steps} steps", ARTICLE_SWEEP, fall(20 + i, steps))
    for i, at in enumerate((0, 1, 5, 12, 40)):
        spiked = fall(30 + i)
        spiked[at] *= 3
        yield _curve(f"a spike at {at}", ARTICLE_SWEEP, spiked)
    for i, (at, last) in enumerate(((60, 20), (75, 1e3), (90, 1e9), (95, 50), (30, 1e6))):
        exploded = fall(40 + i)
        exploded[at:] *= np.geomspace(1, last, 100 - at)
        yield _curve(f"exploded from {at}", ARTICLE_SWEEP, exploded)
    for i, at in enumerate((55, 80, 94, 97)):
        ended = fall(50 + i)
        ended[at:] = np.nan
        yield _curve(f"NaN from {at}", ARTICLE_SWEEP, ended)
    yield _curve("rising", ARTICLE_SWEEP, np.linspace(1, 2, 100))
    yield _curve("below zero at the end", ARTICLE_SWEEP, fall(60, depth=2.0) - 1.5)
    yield _curve("always below zero", ARTICLE_SWEEP, fall(61) - 5)


def fall(seed, steps=100, depth=0.8):
    """A sweep that falls by `depth` about two thirds of the way, with noise that grows with its fall."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 1, steps)
    done = 1 / (1 + np.exp(-(at - rng.uniform(0.5, 0.8)) / rng.uniform(0.03, 0.08)))
    return 2.3 - depth * done + rng.normal(0, 0.01 + 0.05 * done)


def _curve(about, ends, losses):
    losses = [None if np.isnan(loss) else round(float(loss), 5) for loss in losses]
    return {"about": about, "low": ends[0], "high": ends[1], "steps": len(losses), "losses": losses}


def main():
    found = curves()
    told = asked(found)
    lines = ",\n".join(json.dumps({**curve, "says": says}) for curve, says in zip(found, told["says"]))
    FILE.write_text(f'{{"versions": {json.dumps(told["versions"])},\n"curves": [\n{lines}\n]}}\n')
    print(f"{len(found)} curves, {FILE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()

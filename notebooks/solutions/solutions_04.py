"""Chapter 04, solutions. Try first."""

import math

# 1. Four epochs of ceil(50,000 / 128) = 391 batches; a cycle is two stepsizes, 8 of the 40 epochs.
stepsize, whole_cycles = 4 * math.ceil(50_000 / 128), 40 // 8


# 2. Triangular, the height above `low` halved after each cycle.
def my_triangular2(i, low, high, stepsize):
    cycle = i // (2 * stepsize)
    distance = abs(i / stepsize - 2 * cycle - 1)
    return low + (high - low) * (1 - distance) / 2**cycle


# 3. The cycle's mean: what counts on a saddle is the sum of the rates.
my_rate = (0.04 + 0.4) / 2


# 4. Lower bounds than the baseline's 0.8, and a run that ends in a valley.
def my_cycles(triangular2):
    return triangular2(0.05, 0.5, cycles=2)

"""Chapter 01, solutions. Try first."""

import math

import numpy as np


# 1. The steepest direction is the first to diverge.
def my_limit(curvatures, momentum):
    return 2 * (1 + momentum) / max(curvatures)


# 2. |1 - rate * curvature| ** n = share, solved for n and rounded up.
def my_steps(curvature, rate, share):
    return math.ceil(math.log(share) / math.log(abs(1 - rate * curvature)))


# 3. The rate goes into the velocity.
def my_momentum(gradient, start, rates, momentum):
    p, v, path = np.array(start), np.zeros(2), [np.array(start)]
    for rate in rates:
        v = momentum * v - rate * gradient(p)
        p = p + v
        path.append(p)
    return path


# 4. Polyak's best pair for curvatures 1 and 100: rate 4 / (1 + 10) ** 2, momentum (9 / 11) ** 2, rounded.
my_pair = (0.033, 0.67)

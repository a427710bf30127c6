"""Chapter 07, solutions. Try first."""

import math

# 1. The rate per step is 3 * 1e-3 / (1 - 0.8) = 0.015.
half_life = math.log(2) / 0.015


# 2. The gradient goes into the velocity; the decay goes straight to the weight.
def my_sgdw(p, v, gradient, lr, momentum, wd):
    v = momentum * v + gradient
    return p - lr * v - lr * wd * p, v


# 3. 0.8 / 0.1 = 8 becomes 3 / 0.2 = 15.
my_decay = 1e-4 * 8 / 15


# 4. At lr / (1 - momentum) = 0.5 a decay of 0.1 takes 5 % a step: that is where it must hurt. 0 and 1e-3 can hardly be told apart.
def my_runs(train):
    return {decay: train(decay) for decay in (0, 1e-3, 1e-1)}


def my_choice(runs):
    return max(runs, key=lambda decay: runs[decay].accuracy)

"""Chapter 08, solutions. Try first."""

import math

# 1. Every epoch has 24.4 batches: 25 steps, the last one filled up.
my_steps = 3 * math.ceil(50_000 / 2_048)


# 2. The ratio of the batches, or its root.
def my_rate(rate, batch, to, rule):
    ratio = to / batch
    return rate * (ratio if rule == "linear" else ratio**0.5)


# 3. Each gradient is a mean over its own images.
def my_accumulated(gradients, sizes):
    return sum(size * gradient for size, gradient in zip(sizes, gradients)) / sum(sizes)


# 4. Which one wins depends on your machine. Read it off the seconds.
def my_race(train):
    return {size: train(size) for size in (64, 128, 256)}


def my_winner(runs, target):
    def seconds(history):
        spent = 0.0
        for row in history.epochs:
            spent += row["seconds"]
            if row["accuracy"] >= target:
                return spent
        return math.inf

    return min(runs, key=lambda size: seconds(runs[size]))

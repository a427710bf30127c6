"""Chapter 00, solutions. Try first."""

import math

import numpy as np

# 1. An epoch has ceil(50,000 / 512) = 98 batches: the last one is smaller, or filled up.
steps = 95 * math.ceil(50_000 / 512)


# 2. The standard error: sample standard deviation over the square root of n.
def error_of_the_mean(accuracies):
    return np.std(accuracies, ddof=1) / np.sqrt(len(accuracies))


# 3. A lower constant rate than 0.8 does better in a short run.
def my_flat(fit, models, data, epochs, recipe):
    return fit(models.build("tiny", data.train.classes), data, {"lr": 0.1}, epochs, recipe)

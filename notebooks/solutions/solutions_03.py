"""Chapter 03, solutions. Try first."""


# 1. Equal factors; i / (steps - 1) is 0 at the first step and 1 at the last.
def my_rate(i, low, high, steps):
    return low * (high / low) ** (i / (steps - 1))


# 2. The loss that a rate caused is the next one: drop the last rate and the first loss.
def my_pairs(rates, losses):
    return rates[:-1], losses[1:]


# 3. Nine steps, each a factor of (10 / 0.00001) ** (1 / 99).
lag_factor = (10 / 1e-5) ** (9 / 99)


# 4. Any rate where your own curve still falls; valley usually gives one.
def my_test(range_test, data, recipe):
    return range_test("tiny", data, steps=60, recipe=recipe, progress=False)

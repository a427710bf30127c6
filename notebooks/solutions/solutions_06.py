"""Chapter 06, solutions. Try first."""

# 1. rate / (1 - 0.80) = 0.08 / (1 - 0.95) = 1.6
rate = 1.6 * (1 - 0.80)


# 2. Down while the rate rises, up while it falls, then held.
def my_momentum(step, steps, high, low):
    p = step / (steps - 1)
    if p < 41 / 95:
        return high - (high - low) * p / (41 / 95)
    if p < 82 / 95:
        return low + (high - low) * (p - 41 / 95) / (41 / 95)
    return high


# 3. The rate goes into the velocity; the point moves by the velocity.
def my_step(point, velocity, gradient, lr, momentum):
    velocity = momentum * velocity - lr * gradient
    return point + velocity, velocity


# 4. Momentum 0.85, and at every step the rate (1 - 0.85) * lr / (1 - momentum) of the cyclical run.
def my_policy(article):
    def rate_for_085(progress):
        return (1 - 0.85) * article["lr"](progress) / (1 - article["momentum"](progress))

    return {"lr": rate_for_085, "momentum": 0.85}

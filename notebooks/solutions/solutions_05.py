"""Chapter 05, solutions. Try first."""


# 1. Three straight lines, in fractions of the run.
def my_one_cycle(step, steps, low, high):
    p = step / (steps - 1)
    if p < 41 / 95:
        return low + (high - low) * p / (41 / 95)
    if p < 82 / 95:
        return high - (high - low) * (p - 41 / 95) / (41 / 95)
    return low - (low - low / 10) * (p - 82 / 95) / (13 / 95)


# 2. final_div_factor divides the initial rate.
first_rate, last_rate = 0.8 / 25, 0.8 / 25 / 1e4

# 3. 0.8 / (1 - 0.80) over 0.08 / (1 - 0.95): from 1.6 to 4.
factor = (0.8 / 0.2) / (0.08 / 0.05)


# 4. Two epochs are short: a lower peak and an end near 0 beat a constant 0.8.
def my_schedules(one_cycle):
    return {"lr": one_cycle(0.02, 0.2), "momentum": 0.9, "weight_decay": 1e-4}


# 5. One way to steer: leave it while the loss still falls, bring it down in the last half, and end low.
def my_hand(progress):
    return 0.3 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01

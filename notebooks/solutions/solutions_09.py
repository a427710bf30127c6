"""Chapter 09, solutions. Try first."""

from clrlib.theory.audit import running_accuracy, true_counts


# 1. After training epoch e it has counted 60,000 e - 10,000 images, after testing 60,000 e. The figures are percentages.
def my_counts(trn_acc, val_acc, before, epoch):
    after_training = trn_acc / 100 * (60_000 * epoch - 10_000)
    train = after_training - before / 100 * 60_000 * (epoch - 1)
    return train, val_acc / 100 * 60_000 * epoch - after_training


# 2. 50,000 and 8,600 right answers of 60,000 in every epoch, so also in all of them.
printed_forever = 100 * (50_000 + 8_600) / 60_000


# 3. The whole interval above zero; or below it, or too near to zero to matter; or neither.
def my_verdict(low, high, enough):
    if low > 0:
        return "holds"
    if high < 0 or (-enough < low and high < enough):
        return "fails"
    return "open"


# 4. seen(0.1, 0.2, 64) is about 0.8.
my_seeds = 64


# 5. The printed figures of the run's last epoch, then counts, then percentages.
def my_run_and_recovered(fit, models, data, recipe):
    run = fit(
        models.build("tiny", data.train.classes, seed=1),
        data,
        {"lr": 0.1},
        epochs=3,
        recipe=recipe,
        progress=False,
    )
    printed, train = running_accuracy(run.epochs), run.epochs[-1]["train_accuracy"]
    trn_acc = (printed[-2] * 120_000 + train * 50_000) / 170_000
    right = true_counts(trn_acc, printed[-1], printed[-2], 3)
    return run, (right[0] / 500, right[1] / 100)

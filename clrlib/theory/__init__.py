"""Formulas of learning rates, momentum, decay and batches: numpy, no network."""

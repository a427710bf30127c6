"""Checks for the exercises: each prints a verdict and a hint, returns whether the answer is right, and never raises.

An answer that is still `...` is told "not yet". A module per chapter; solutions are in notebooks/solutions/.
"""

from clrlib.checks.chapter_00 import standard_error, total_steps
from clrlib.checks.chapter_01 import other_momentum, stable_rate, steps_needed, through_the_ravine
from clrlib.checks.chapter_02 import error_of_accuracy, number_of_seeds, own_comparison, training_step, undo_running
from clrlib.checks.chapter_03 import after_the_step, own_range_test, smoothing_lag, sweep
from clrlib.checks.chapter_04 import cyclic_by_hand, own_cycles, same_sum, stepsize_and_cycles
from clrlib.checks.chapter_05 import effective_peak, one_cycle_by_hand, own_schedule, torch_ends
from clrlib.checks.chapter_06 import equal_step, momentum_by_hand, own_matched, sutskever_step
from clrlib.checks.chapter_07 import decoupled_step, half_life_steps, own_decays, same_shrinkage
from clrlib.checks.chapter_08 import accumulated, own_race, scaling_rules, steps_of_a_run
from clrlib.checks.chapter_09 import counts, forever, own_log, seeds_needed, verdicts
from clrlib.checks.chapter_10 import difference, own_verdict, scheduler_steps

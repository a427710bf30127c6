"""clrlib: the helper module of a course on finding a good learning rate. Import what you need from its modules.

    from clrlib.schedules import one_cycle          # a hyper-parameter as a function of progress
    from clrlib.lab.training import fit, Recipe     # the loop that the chapters use
    from clrlib.range_test import range_test_in_place  # on your own model; everything is given back
    from clrlib.lab.fresh import range_test         # on a fresh model

`clrlib/README.md` lists the modules.
"""

__version__ = "0.1.0"

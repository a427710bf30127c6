"""What makes a function a check: it prints a verdict and a hint, returns whether the answer is right, and never raises."""

from __future__ import annotations

import functools


def exercise(check):
    """Turn a function answer -> hint (None when it is right) into a check that prints and never raises."""

    @functools.wraps(check)
    def told(answer, *given) -> bool:
        try:
            hint = check(_filled(answer), *given)
        except Unanswered:
            hint = "replace the ... with your answer, then run the cell again."
        except Exception as error:  # whatever a learner's code does, the page goes on
            hint = f"it stopped with {type(error).__name__}: {error}"
        return say(hint is None, hint or check.__doc__.strip())

    return told


class Unanswered(Exception):
    """The answer is still `...`, or a function that returns it."""


def _filled(answer):
    """The answer, or an error where it is still a stub; a function is asked the same of what it returns."""
    if answer is ... or (isinstance(answer, tuple) and any(part is ... for part in answer)):
        raise Unanswered
    return (lambda *args, **kwargs: _filled(answer(*args, **kwargs))) if callable(answer) else answer


def say(right: bool, text: str) -> bool:
    print(f"{'Right' if right else 'Not yet'}: {text}")
    return right


def close(a, b, tolerance=0.02) -> bool:
    return abs(float(a) - b) <= tolerance * abs(b)

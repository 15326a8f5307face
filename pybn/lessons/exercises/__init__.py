"""Three exercises and a question to discuss for each lesson, and what checks an answer.

    lesson.exercises("momentum")          shows them in a notebook and on a page, with the solutions folded
    lesson.check("momentum-1", 0.98)      says whether that is it, and if it is a known slip, which

An answer is a number.  A solution is a few lines of Python that end with `answer = ...`.
"""

from pybn.lessons.exercises import hood, understand, use
from pybn.lessons.exercises.exercise import Exercise, Exercises

__all__ = ["LESSONS", "Exercise", "Exercises", "check", "of"]

LESSONS: dict[str, Exercises] = {**understand.LESSONS, **use.LESSONS, **hood.LESSONS}


def of(topic: str) -> Exercises:
    """The exercises of the lesson plot_NN_`topic`; KeyError for one that has none."""
    if topic not in LESSONS:
        raise KeyError(f"exercises exist for {', '.join(LESSONS)}; got {topic!r}")
    return LESSONS[topic]


def check(name: str, answer: float) -> bool:
    """Whether `answer` solves the exercise, e.g. "momentum-1"; prints that, and what a known slip comes from.

    Raises KeyError for a name that is none, TypeError for an answer that is no number.
    """
    topic, _, number = name.rpartition("-")
    exercises = of(topic).exercises
    if not (number.isdecimal() and 1 <= int(number) <= len(exercises)):
        raise KeyError(f"{topic} has the exercises {topic}-1 to {topic}-{len(exercises)}; got {name!r}")
    right, words = exercises[int(number) - 1].judge(answer)
    print(f"{name}: {words}")
    return right

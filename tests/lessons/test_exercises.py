"""Exercises: each solution finds its answer, each slip is refused with its words, and nothing else passes."""

import math
from pathlib import Path

import numpy as np
import pytest

from pybn.lessons import exercises, lesson

LESSONS = [path.stem.split("_", 2)[2] for path in sorted((Path(__file__).parents[2] / "tutorials").glob("plot_*.py"))]
ALL = {
    f"{topic}-{number}": each
    for topic, of_topic in exercises.LESSONS.items()
    for number, each in enumerate(of_topic.exercises, start=1)
}


def test_every_lesson_has_three_and_a_question():
    assert sorted(exercises.LESSONS) == sorted(LESSONS)
    for topic, each in exercises.LESSONS.items():
        assert each.topic == topic
        assert len(each.exercises) == 3
        assert each.discuss.endswith("?")


@pytest.mark.parametrize("name", ALL)
def test_the_solution_solves_it(name, capsys):
    found = {}
    exec(ALL[name].solution, found)
    assert lesson.check(name, found["answer"])
    assert capsys.readouterr().out == f"{name}: right.\n"
    # The number on the page is the solution's own, not merely within what is taken for right.
    assert math.isclose(float(found["answer"]), ALL[name].answer, rel_tol=2e-6, abs_tol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_a_slip_is_told_and_other_numbers_are_wrong(name, capsys):
    exercise = ALL[name]
    for slip, words in exercise.slips.items():
        assert not lesson.check(name, slip)
        assert words in capsys.readouterr().out
    for wrong in (exercise.answer * 1.05 + 0.05 * (exercise.answer == 0), -exercise.answer - 1, np.nan, np.inf):
        assert not lesson.check(name, wrong)


def test_a_wrong_name_says_which_there_are():
    with pytest.raises(KeyError, match="momentum-1 to momentum-3; got 'momentum-4'"):
        lesson.check("momentum-4", 1)
    with pytest.raises(KeyError, match=r"one_feature, momentum.*got 'memory'"):
        lesson.check("memory-1", 1)


@pytest.mark.parametrize("answer", ["0.98 or so", None, [1, 2], ()])
def test_an_answer_that_is_no_number_is_refused(answer):
    with pytest.raises(TypeError, match="one number"):
        lesson.check("momentum-1", answer)


def test_a_page_has_the_questions_open_and_the_solutions_folded():
    html = lesson.exercises("momentum")._repr_html_()
    assert html.count("<details>") == html.count("</details>") == 3
    open_part = "".join(part.partition("</details>")[2] for part in html.split("<details>")[1:])
    assert "answer = " not in open_part
    assert "lesson.check('momentum-1', …)" in html
    assert str(lesson.exercises("momentum")).count("momentum-") == 3


def test_the_seeds_come_from_one_place(monkeypatch):
    monkeypatch.delenv("PYBN_LESSON_SEEDS", raising=False)
    assert list(lesson.seeds()) == [0, 1, 2]
    monkeypatch.setenv("PYBN_LESSON_SEEDS", "20")
    assert list(lesson.seeds()) == [20, 21, 22]
    assert list(lesson.seeds(2)) == [20, 21]
    for wrong in ("", "-1", "1.5", "20,21", "9" * 5000, "\u0663"):
        monkeypatch.setenv("PYBN_LESSON_SEEDS", wrong)
        with pytest.raises(ValueError, match="PYBN_LESSON_SEEDS must be the first seed"):
            lesson.seeds()

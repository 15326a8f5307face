"""The plan for a class: its minutes add up, and every exercise, lesson and setting that it names exists."""

import re
from pathlib import Path

from pybn.lessons import command, exercises

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "class.rst").read_text(encoding="utf-8")


def test_ninety_minutes():
    assert sum(map(int, re.findall(r"^   \* - (\d+)$", PAGE, re.MULTILINE))) == 90


def test_every_exercise_exists():
    named = set(re.findall(r"``([a-z_]+)-(\d)``", PAGE))
    assert len(named) > 8
    for topic, number in named:
        assert int(number) <= len(exercises.of(topic).exercises)


def test_every_lesson_exists():
    labels = {
        each.path.read_text(encoding="utf-8").split(".. _", 1)[1].split(":")[0]
        for each in command.find(ROOT / "tutorials")
    }
    assert set(re.findall(r":ref:`(lesson-[\w-]+)`", PAGE)) <= labels


def test_the_playground_opens_at_the_settings_of_the_lessons():
    settings = (ROOT / "docs" / "_ext" / "pybn_playground.py").read_text(encoding="utf-8")
    opened = re.findall(r"playground\.html#([^>]+)>", PAGE)
    assert len(opened) == 3
    for each in opened:
        assert f'"{each}"' in settings


def test_the_notebooks_are_those_of_the_lessons_in_the_class(tmp_path):
    """The page names them by number; a lesson that moves would leave a teacher with another."""
    assert command.main(["--notebooks", str(tmp_path)]) == 0
    written = {path.stem.split("_")[1]: path.stem.split("_", 2)[2] for path in tmp_path.glob("*.ipynb")}
    assert "``plot_00`` to ``plot_03``, ``plot_09`` and ``plot_14``" in PAGE
    named = {written[number].replace("_", "-") for number in ("00", "01", "02", "03", "09", "14")}
    class_ = PAGE.partition("Two weeks")[0]
    # Of momentum the class takes the playground and the exercises.
    assert named == set(re.findall(r":ref:`lesson-([\w-]+)`", class_)) | {"momentum"}


def test_the_groups_take_the_lessons_that_the_page_numbers():
    numbered = {each.number: each.topic.replace("_", "-") for each in command.find(ROOT / "tutorials")}
    text = PAGE.partition("**Second week")[2].partition("hands in")[0]
    topics = set(re.findall(r":ref:`lesson-([\w-]+)`", text))
    assert "lessons 4, 5, 6, 7 and 10" in " ".join(PAGE.split())
    assert {numbered[number] for number in (4, 5, 6, 7, 10)} == topics

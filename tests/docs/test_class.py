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

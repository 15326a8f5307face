"""Why is my evaluation so much worse?  `examine` looks at a trained model's batch normalizations and says.

    report = pybn.study.examine(trainer, training_data)
    print(report.text)

Each finding is a sentence with its number and what to do.  Where there is none, the averages are in order, and
the reason is somewhere else.
"""

from pybn.study.examine.doctor import Examination, examine
from pybn.study.examine.symptoms import Symptom

__all__ = ["Examination", "Symptom", "examine"]

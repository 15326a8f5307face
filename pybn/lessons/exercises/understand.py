"""Exercises of the lessons that explain: one feature, momentum, updates, epsilon, the gradient."""

from pybn.lessons.exercises.exercise import Exercise, Exercises

ONE_FEATURE = Exercises(
    "one_feature",
    (
        Exercise(
            "A batch of one feature holds 1, 2, 3 and 6. What does the 6 become with epsilon 0, scale 1 and offset 0?",
            1.603567,
            "import numpy as np\nx = np.array([1.0, 2.0, 3.0, 6.0])\nanswer = (6 - x.mean()) / np.sqrt(x.var())",
            {
                1.388730: "that divides by n - 1.  A batch is normalized with its own variance, which divides by n.",
                0.857143: "that divides by the variance; the third line of the algorithm divides by its root.",
            },
        ),
        Exercise(
            "The same batch with epsilon 0.5. Which scale makes the fourth line undo the third?",
            2.0,
            "import numpy as np\nx = np.array([1.0, 2.0, 3.0, 6.0])\nanswer = np.sqrt(x.var() + 0.5)",
            {
                1.870829: "epsilon is under the root too, and has to be undone with it.",
                4.0: "that is the variance with epsilon; the outputs were divided by its root.",
                0.5: "that would divide once more.",
            },
        ),
        Exercise(
            "Pixel (0, 1) of the digits, all of them as one batch, epsilon 0.001: which variance comes out?",
            0.762642,
            "import pybn\nimages, _ = pybn.datasets.digits()\nv = images[:, 0, 1].astype(float).var()\n"
            "answer = v / (v + 1e-3)",
            {
                1.0: "nearly 1 where epsilon is small against the variance.  Here it is not.",
                0.873281: "that is the standard deviation that comes out.",
            },
        ),
    ),
    "Someone normalizes each image by itself, over its pixels. What does the network no longer know that it would have "
    "known with batch normalization, and what the other way round?",
)

MOMENTUM = Exercises(
    "momentum",
    (
        Exercise(
            "Which momentum, counted as pybn does, remembers about 50 batches?",
            0.98,
            "answer = 1 - 1 / 50",
            {
                0.02: "that is the share of the new batch: PyTorch's way to count.  Keras, Flax, ONNX and "
                "pybn keep 0.98."
            },
        ),
        Exercise(
            "An average starts at 0 and keeps 0.99 at every step. "
            "After how many batches is less than 1 % of it the start?",
            459,
            "import math\nanswer = math.ceil(math.log(0.01) / math.log(0.99))",
            {100: "that is the memory; after so many, 37 % is still the start."},
            within=1e-3,
        ),
        Exercise(
            "Three batches have the means 4, 0 and 8. What is pybn's average mean with momentum 0.5?",
            5.0,
            "average = 0.0\nfor w, mean in enumerate((4, 0, 8), start=1):\n    kept = min(0.5, 1 - 1 / w)\n"
            "    average = kept * average + (1 - kept) * mean\nanswer = average",
            {
                4.5: "that starts at 0 and keeps half of it; pybn takes the first batch whole.",
                4.0: "that is the plain mean; a memory of two batches is full before the third.",
            },
        ),
    ),
    "Your evaluation set is looked at once, at the end of a training whose learning rate falls to nothing. "
    "Does momentum matter? And if you look every hundred steps?",
)

UPDATE_AVERAGES = Exercises(
    "update_averages",
    (
        Exercise(
            "A layer kept the variance 0.25 of a feature that has variance 1; epsilon is 0 and its mean is right. "
            "How many times too large are its outputs in evaluation?",
            2.0,
            "answer = (1 / 0.25) ** 0.5",
            {
                4.0: "outputs are divided by the root of the variance.",
                0.5: "too small a variance makes them too large.",
            },
        ),
        Exercise(
            "Two batches of 32 have the means 0 and 10 and the variances 1 and 3. What is the variance of "
            "all 64 values?",
            27.0,
            "answer = (1 + 3) / 2 + ((0 - 5) ** 2 + (10 - 5) ** 2) / 2",
            {2.0: "that is the mean of the variances; the means differ too, and that spread is part of the data's."},
        ),
        Exercise(
            "For 200 batches a feature had mean 0, in the next five it has mean 1. How far is an average "
            "with momentum 0.9 "
            "behind?",
            0.59049,
            "answer = 0.9**5",
            {0.40951: "that is how far it has come."},
        ),
    ),
    "`update_averages` needs no labels. Which data may it be given: training data, validation data, the "
    "test data, what "
    "users send?",
)

EPSILON = Exercises(
    "epsilon",
    (
        Exercise(
            "What is the largest gain with epsilon 0.0001?",
            100.0,
            "answer = 1 / 1e-4**0.5",
            {1e4: "epsilon stands under the root."},
        ),
        Exercise(
            "One value of a batch of 64 is 1, the others are 0; epsilon is 0. What does the 1 become?",
            7.937254,
            "import numpy as np\nx = np.zeros(64)\nx[0] = 1\nanswer = ((x - x.mean()) / x.std())[0]",
            {8.0: "the mean is not quite 0: the one value moves it.", 1.0: "the deviation of this batch is 0.124."},
            within=2e-3,
        ),
        Exercise(
            "Epsilon is 0.001. A feature with which variance comes out with half the standard deviation "
            "that it should?",
            1e-3 / 3,
            "# v / (v + epsilon) = 1 / 4\nanswer = 1e-3 / 3",
            {1e-3: "where the variance is epsilon, the deviation is 0.71.", 2.5e-4: "v / (v + epsilon) is to be 1/4."},
        ),
    ),
    "Would you put epsilon into the list of what a search over settings may change? Between which bounds, "
    "and what would "
    "you look at besides the accuracy?",
)

GRADIENT = Exercises(
    "gradient",
    (
        Exercise(
            "x = (1, 2, 3, 6), scale 1, epsilon 0, and the gradient (1, 0, 0, 0) arrives. What is the first "
            "element of dx?",
            0.248171,
            "import numpy as np\nx, g = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 0.0, 0.0, 0.0])\n"
            "normalized = (x - x.mean()) / x.std()\n"
            "answer = ((g - g.mean() - normalized * (g * normalized).mean()) / x.std())[0]",
            {
                0.534522: "that takes mean and variance for constants.",
                0.400892: "the path through the variance is missing.",
                0.381802: "the path through the mean is missing.",
            },
        ),
        Exercise(
            "A batch of 8 values, epsilon 0. In how many independent directions can its eight outputs move?",
            6,
            "import numpy as np\nx = np.random.default_rng(0).normal(size=8)\nn = (x - x.mean()) / x.std()\n"
            "jacobian = (np.eye(8) - 1 / 8 - np.outer(n, n) / 8) / x.std()\nanswer = np.linalg.matrix_rank(jacobian)",
            {
                7: "their sum is fixed, and the sum of their squares too.",
                8: "their sum and their squares' sum are fixed.",
            },
        ),
        Exercise(
            "The loss is half the sum of y**2, with scale 1, offset 0 and epsilon 0. What is the largest abs(dx)?",
            0.0,
            "import numpy as np\nx = np.array([1.0, 2.0, 3.0, 6.0])\nn = (x - x.mean()) / x.std()\n"
            "dx = (n - n.mean() - n * (n * n).mean()) / x.std()\nanswer = np.abs(dx).max()",
            {0.857143: "that takes the statistics for constants; the sum of the squares is n, whatever x is."},
        ),
    ),
    "A gradient check that passes proves little if dy is 1, or y itself. What else may an input have that "
    "hides a wrong "
    "term?",
)

LESSONS = {each.topic: each for each in (ONE_FEATURE, MOMENTUM, UPDATE_AVERAGES, EPSILON, GRADIENT)}

"""Exercises of the lessons under the hood: two implementations, and the ladder from one to the other."""

from pybn.lessons.exercises.exercise import Exercise, Exercises

IMPLEMENTATIONS = Exercises(
    "implementations",
    (
        Exercise(
            "How far is 1000 from the next number of float32?",
            2.0**-14,
            "import numpy as np\nanswer = np.spacing(np.float32(1000))",
            {2.0**-23: "that is the distance at 1; it grows with the number.", 2.0**-43: "that is float64."},
        ),
        Exercise(
            "x is 10000, 10001, 10002 and 10003 in float32. What does E[x²] - E[x]² give, in float32 throughout?",
            0.0,
            "import numpy as np\nx = np.arange(10000, 10004, dtype=np.float32)\n"
            "answer = (x * x).mean() - x.mean() ** 2",
            {1.25: "that is the variance.  One unit in the last place of x² is 8 here."},
        ),
        Exercise(
            "A feature has variance 1, scale 1 and offset 0; epsilon is 1e-5, and dy is y. "
            "How many times as large as the first of dx's three terms is their sum?",
            1e-5 / (1 + 1e-5),
            "import numpy as np\nfrom pybn import reference\nx = np.array([[1.0], [-1.0]])\n"
            "y, mean, variance = reference.batch_norm_training(x, None, None, epsilon=1e-5)\n"
            "dx, _, _ = reference.batch_norm_gradient(x, None, mean, variance, y, epsilon=1e-5)\n"
            "answer = (dx / (y / np.sqrt(variance + 1e-5)))[0, 0]",
            {
                1 + 1e-5: "that is what the third term takes away, over what was there.",
                1e5: "so many times the sum is the first term: five of float32's seven digits are lost.",
                0.0: "nearly, and float32 may say so; epsilon leaves a little.",
            },
        ),
    ),
    "Two implementations agree to the last digit on ten thousand random inputs. Which mistakes can both have?",
)

LADDER = Exercises(
    "ladder",
    (
        Exercise(
            "How many bytes must the forward pass of a batch (4096, 512) of float32 move at least?",
            2 * 4096 * 512 * 4,
            "answer = 2 * 4096 * 512 * 4",
            {4096 * 512 * 4: "x has to be read, and y to be written.", 4096 * 512 * 8 * 2: "that is float64."},
        ),
        Exercise(
            "x fits in no cache. It is read for the mean, for the variance and for the result. How many "
            "times the bytes of "
            "a copy move?",
            2.0,
            "answer = (3 + 1) / (1 + 1)",
            {3.0: "y is written once, in both.", 4.0: "a copy reads and writes too."},
        ),
        Exercise(
            "How many numbers of float32 stand in a register of AVX-512?",
            16,
            "answer = 512 // 32",
            {8: "that is float64, or AVX2.", 64: "those are its bytes."},
        ),
    ),
    "Rung 5 has most of the speed in forty lines. What would you want to know before you shipped it?",
)

LESSONS = {each.topic: each for each in (IMPLEMENTATIONS, LADDER)}

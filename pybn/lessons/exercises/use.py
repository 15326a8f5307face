"""Exercises of the lessons on what goes wrong: rates, batches, other data, padding, other libraries, ill networks."""

from pybn.lessons.exercises.exercise import Exercise, Exercises

LEARNING_RATE = Exercises(
    "learning_rate",
    (
        Exercise(
            "A mean moves by 0.01 standard deviations at each step, always in the same direction. How far behind is an "
            "average with momentum 0.99 in the long run?",
            0.99,
            "# behind = 0.99 * (behind + 0.01)\nanswer = 0.01 * 0.99 / (1 - 0.99)",
            {0.01: "that is one step; the average remembers a hundred.", 0.09: "that is momentum 0.9."},
            within=0.02,
        ),
        Exercise(
            "Momentum 0.99. The rate drops to nothing. After how many steps is the average at most a tenth "
            "as far behind?",
            230,
            "import math\nanswer = math.ceil(math.log(0.1) / math.log(0.99))",
            {22: "that is momentum 0.9.", 100: "after so many steps 37 % is left."},
        ),
        Exercise(
            "The same movement of 0.01 a step: which is the largest momentum that stays within 0.05 of the mean?",
            5 / 6,
            "# k / (1 - k) = 0.05 / 0.01\nanswer = 5 / 6",
            {0.8: "a memory of five: the lag is k / (1 - k) steps, one less than the memory."},
        ),
    ),
    "The best of twenty checkpoints is chosen by its loss in evaluation, at a high learning rate. What is chosen?",
)

SMALL_BATCHES = Exercises(
    "small_batches",
    (
        Exercise(
            "Batches of eight are drawn at random. Which share of the data's variance do they have on average?",
            0.875,
            "answer = (8 - 1) / 8",
            {1.142857: "that is the factor that makes up for it.", 1.0: "each is taken around its own mean."},
        ),
        Exercise(
            "A batch is 3 and 7, epsilon 0. What does the 7 become?",
            1.0,
            "import numpy as np\nx = np.array([3.0, 7.0])\nanswer = ((x - x.mean()) / x.std())[1]",
            {0.707107: "that divides by n - 1.", 2.0: "it is 2 above the mean, and so is the deviation."},
        ),
        Exercise(
            "A layer's averages come from batches of four. Which standard deviation do normalized features have in "
            "evaluation, with epsilon 0?",
            1.154701,
            "answer = 1 / (3 / 4) ** 0.5",
            {
                0.866025: "the averaged variance is too small, so outputs come out too large.",
                1.333333: "take the root.",
            },
        ),
    ),
    "A model has to be trained with two images for each device. Which three ways out are there, and what "
    "does each cost?",
)

TRANSFER = Exercises(
    "transfer",
    (
        Exercise(
            "A layer kept mean 0.4 and variance 0.09. The new scanner gives 0.3 x + 0.5. What becomes of x "
            "= 0.4 with the "
            "old averages and epsilon 0?",
            0.733333,
            "answer = (0.3 * 0.4 + 0.5 - 0.4) / 0.09**0.5",
            {0.0: "that is what new averages would make of it.", 2.444444: "divide by the root of the variance."},
        ),
        Exercise(
            "Momentum 0.9, the memory is full, and another data set comes. After how many of its batches is "
            "less than 5 % "
            "of the averages old?",
            29,
            "import math\nanswer = math.ceil(math.log(0.05) / math.log(0.9))",
            {10: "after so many, 35 % is old."},
            within=0.01,
        ),
        Exercise(
            "A batch norm of 64 features has frozen averages. How many of its numbers does training change?",
            128,
            "import numpy as np\nimport pybn\nctx = pybn.Context()\nwith ctx.forward_pass(training=True):\n"
            "    pybn.batch_norm(ctx, np.ones((2, 64)), frozen_averages=True)\n"
            "answer = sum(each.value.size for each in ctx.variables(trainable=True))",
            {256: "mean and variance stay.", 0: "scale and offset are weights: the averages are frozen, not they."},
        ),
    ),
    "In fine-tuning on 200 images of another kind: freeze the averages, update them once, or let them move?",
)

PADDING = Exercises(
    "padding",
    (
        Exercise("Real elements have mean 0.8, and 25 % are padding. Which mean is found?", 0.6, "answer = 0.75 * 0.8"),
        Exercise(
            "Their variance is 0.1. Which variance is found?",
            0.195,
            "p, mean, variance = 0.25, 0.8, 0.1\nanswer = (1 - p) * (variance + p * mean**2)",
            {0.075: "that forgets that real elements and zeros lie apart.", 0.1: "the zeros count as data."},
        ),
        Exercise(
            "With which share of padding is the found variance largest?",
            0.421875,
            "# d/dp (1 - p) (v + p m**2) = m**2 - v - 2 p m**2\nanswer = (0.8**2 - 0.1) / (2 * 0.8**2)",
            {0.5: "that would be so if the real elements did not vary."},
        ),
    ),
    "Where does padding still act on a prediction if the batch norm has its mask: a convolution, an attention, a mean "
    "over the steps, a loss?",
)

LIBRARIES = Exercises(
    "libraries",
    (
        Exercise(
            "A Keras layer has momentum 0.99. Which momentum does PyTorch need?",
            0.01,
            "answer = 1 - 0.99",
            {0.99: "there it would take 99 % from each new batch."},
        ),
        Exercise(
            "PyTorch, momentum 0.1, running mean 0. A batch with mean 5 comes. What is the running mean now?",
            0.5,
            "answer = (1 - 0.1) * 0 + 0.1 * 5",
            {4.5: "that keeps 0.1 of the old: Keras's way to count."},
        ),
        Exercise(
            "The running variance is 1, and the batch is 1, 2, 3, 6. What is PyTorch's running variance now?",
            1.366667,
            "import numpy as np\nanswer = 0.9 * 1 + 0.1 * np.var([1, 2, 3, 6], ddof=1)",
            {1.25: "that averages the population variance; PyTorch averages the sample's."},
            within=1e-3,
        ),
    ),
    "A paper says `momentum 0.9`. What do you need to know before you can repeat it?",
)

BATCHES = Exercises(
    "batches",
    (
        Exercise(
            "Two classes, equally many, have means 0 and 4 and variance 1 each. What is the variance of the data?",
            5.0,
            "answer = 1 + ((0 - 2) ** 2 + (4 - 2) ** 2) / 2",
            {
                1.0: "the classes lie apart, and that is part of the variance.",
                3.0: "the means are 2 from the common one.",
            },
        ),
        Exercise(
            "What does x = 5 become in shuffled batches, large ones, with epsilon 0?",
            1.341641,
            "answer = (5 - 2) / 5**0.5",
            {1.0: "that is a batch of the second class alone, in which nobody can tell the class any more."},
        ),
        Exercise(
            "Sorted by class, what is the averaged variance over that of the data?",
            0.2,
            "answer = 1 / 5",
            {5.0: "the other way round.", 1.0: "each batch has the variance of its class."},
        ),
    ),
    "Frames of a video come in order. How would you make batches of them, with a reader that can only go forward?",
)

WORKERS = Exercises(
    "workers",
    (
        Exercise(
            "A batch of 64 is spread evenly over eight workers that do not synchronize. Which share of the data's "
            "variance do their averages keep, on average?",
            0.875,
            "answer = (8 - 1) / 8",
            {63 / 64: "that is the whole batch; each worker has eight examples."},
        ),
        Exercise(
            "Two workers have the means 0 and 4 of 10 and of 30 examples. What is the mean of the batch?",
            3.0,
            "answer = (10 * 0 + 30 * 4) / (10 + 30)",
            {2.0: "that takes the two parts for equally large."},
        ),
        Exercise(
            "Both have variance 1. What is the variance of the batch?",
            4.0,
            "answer = (10 * (1 + (0 - 3) ** 2) + 30 * (1 + (4 - 3) ** 2)) / 40",
            {
                1.0: "the means lie apart, and that is part of the variance.",
                5.0: "that takes the two parts for equally large.",
            },
        ),
    ),
    "Synchronizing costs two exchanges for each layer and step. When would you do without?",
)

EVALUATION = Exercises(
    "evaluation",
    (
        Exercise(
            "Losses: 0.20 as in training, 0.21 with the statistics of all the data, 0.65 with the averages. Dropout "
            "adds nothing. How much of the gap does `update_averages` take away?",
            0.44,
            "answer = 0.65 - 0.21",
            {0.45: "that is the whole gap; exact averages are the statistics of all the data, which cost 0.01."},
        ),
        Exercise(
            "Averages with momentum 0.99 that start at 0 and 1 have seen five batches of mean 2. What is the mean?",
            0.098020,
            "answer = 2 * (1 - 0.99**5)",
            {2.0: "that is pybn's rule, which counts the batches; here the start weighs 95 %."},
        ),
        Exercise(
            "Of the five networks, how many are cured without training?",
            3,
            "answer = len(['left behind', 'never updated', 'other scanner'])",
            {5: "two have learned from batches that were no samples of the data.", 2: "those are the others."},
        ),
    ),
    "The report finds nothing, and evaluation is worse all the same. What is left that it could be?",
)

FOLDING = Exercises(
    "folding",
    (
        Exercise(
            "A feature has scale 2, offset 1, mean 3 and variance 4; epsilon is 0. Which bias does the dense layer "
            "before it get, if it had none?",
            -2.0,
            "answer = 1 - 2 / 4**0.5 * 3",
            {-0.5: "that divides by the variance, not by its root.", 1.0: "the mean has to be taken away, too."},
        ),
        Exercise(
            "The same layer, and the dense layer had the bias 5. Which one does it get?",
            3.0,
            "answer = 2 / 4**0.5 * (5 - 3) + 1",
            {-2.0: "the old bias goes through the line too.", 2.0: "divide by the root of the variance, not by it."},
        ),
        Exercise(
            "A dense layer from 64 to 64 features without a bias and its batch norm keep weights, scale, offset, "
            "mean and variance for evaluation. How many numbers fewer are there once it is folded?",
            192,
            "answer = (64 * 64 + 4 * 64) - (64 * 64 + 64)",
            {256: "the folded layer has a bias."},
        ),
    ),
    "A relu stands between the dense layer and the batch norm. Into which layer can it be folded, and what if that is "
    "a convolution with padding?",
)

CONTEXT = Exercises(
    "context",
    (
        Exercise(
            "The rate begins at 0.03 and falls along a cosine of 90 steps to 0. What is it after 30?",
            0.0225,
            "import math\nanswer = 0.03 * (1 + math.cos(math.pi * 30 / 90)) / 2",
            {0.02: "that is a straight line.", 0.015: "that is after 45 steps, or half of one cosine."},
        ),
        Exercise(
            "A checkpoint is written every 15 of 90 steps, and two are kept. How many are deleted on the way?",
            4,
            "answer = 90 // 15 - 2",
            {6: "that many are written.", 2: "those are there at the end."},
        ),
        Exercise(
            "How many numbers do the seven norms of the lesson's network learn?",
            176,
            "answer = 2 * (4 + 4 + 8 + 8 + 16 + 16 + 32)",
            {88: "each feature has a scale and an offset.", 352: "mean and variance are kept, and not learned."},
        ),
    ),
    "Here the activation stands before the norm, in the paper behind it. What does the norm see in either case, and "
    "which of the two could be folded away?",
)

LESSONS = {
    each.topic: each
    for each in (
        LEARNING_RATE,
        SMALL_BATCHES,
        TRANSFER,
        PADDING,
        LIBRARIES,
        BATCHES,
        WORKERS,
        EVALUATION,
        FOLDING,
        CONTEXT,
    )
}

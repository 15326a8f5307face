/* The arithmetic of the playground and nothing else: the averages rule of pybn/batchnorm/averages.py, and the gain. */
"use strict";

const batchNorm = {
  /** The fraction of the old average that batch number `weight` (counted from 1) keeps. */
  effectiveMomentum(weight, momentum) {
    return Math.min(momentum, 1 - 1 / weight);
  },

  /**
   * The averages {mean, variance, weight, squares} after one more batch. A weight of Infinity keeps `momentum` always.
   * `squares` is the sum of the squares of the shares that the batches have in the average.
   */
  after(averages, mean, variance, momentum) {
    const weight = averages.weight + 1;
    const keep = batchNorm.effectiveMomentum(weight, momentum);
    if (keep === 0) return { mean, variance, weight, squares: 1 };
    return {
      mean: keep * averages.mean + (1 - keep) * mean,
      variance: keep * averages.variance + (1 - keep) * variance,
      weight,
      squares: keep ** 2 * averages.squares + (1 - keep) ** 2,
    };
  },

  /** Before the first batch: M = 0, V = 1. Who counts starts at weight 0; who does not is as if Infinity had been seen. */
  start(counted) {
    return { mean: 0, variance: 1, weight: counted ? 0 : Infinity, squares: 0 };
  },

  /**
   * The averages after each step. `updates` maps a step to the exact averages that replace the
   * moving ones after that step's batch.
   */
  overSteps(batchMean, batchVariance, momentum, counted, updates) {
    const rows = [];
    let now = batchNorm.start(counted);
    for (let i = 0; i < batchMean.length; i++) {
      now = batchNorm.after(now, batchMean[i], batchVariance[i], momentum);
      now = updates.get(i + 1) ?? now;
      rows.push(now);
    }
    return rows;
  },

  /** What a feature is multiplied by. */
  gain(variance, epsilon) {
    return 1 / Math.sqrt(variance + epsilon);
  },

  normalize(x, mean, variance, epsilon) {
    return (x - mean) * batchNorm.gain(variance, epsilon);
  },

  /** How far averages are from the data, in the data's standard deviations: of the mean, and of the deviation. */
  distance(averages, mean, variance) {
    const deviation = Math.sqrt(variance);
    return {
      mean: Math.abs(averages.mean - mean) / deviation,
      deviation: Math.abs(Math.sqrt(averages.variance) - deviation) / deviation,
    };
  },

  /** The standard deviation of averages of independent batches, in standard deviations of the data. */
  noise(averages, batchSize) {
    return Math.sqrt(averages.squares / batchSize);
  },
};

"""The same manners with one slip each: the parts in which it must be seen; the others may not be called wrong."""

import numpy as np

from tests.support.students import layers
from tests.support.students.layers import input_gradient, normalized

WRONG = {}  # name -> (class, the parts that are wrong, the parts that follow from them)


def wrong(*parts, follow=()):
    """Put a class among the wrong ones, with the parts that the slip touches."""

    def put(layer):
        WRONG[layer.__name__] = layer, set(parts), set(follow)
        return layer

    return put


@wrong("test")
class MatricesBareInTest(layers.Matrices):
    """No scale and shift in test mode."""

    def forward(self, Z, eval=False):
        if eval:
            return (Z - self.running_M) / np.sqrt(self.running_V + self.eps)
        return super().forward(Z)


@wrong("statistics")
class BookLayerTurnedRound(layers.BookLayer):
    """momentum the other way round, with the population variance."""

    def _forward(self, x, train_flg):
        if not train_flg or self.running_mean is None:
            out = super()._forward(x, train_flg)
        if train_flg:
            old = self.running_mean, self.running_var
            out = super()._forward(x, train_flg)
            m = self.momentum
            self.running_mean = (1 - m) * old[0] + m * x.mean(0)
            self.running_var = (1 - m) * old[1] + m * x.var(0)
        return out


@wrong("training", follow=("backward",))
class EpsilonOutside(layers.LayerBatchNormalization):
    """eps beside the root, in training."""

    def forward(self, inputs, training):
        super().forward(inputs, training)
        if training:
            self.deviation = np.sqrt(inputs.var(0, keepdims=True)) + self.epsilon
            self.normed = (inputs - inputs.mean(0)) / self.deviation
            self.output = self.weights * self.normed + self.biases


@wrong("backward")
class ColumnsWithoutVariancePath(layers.ColumnsOfExamples):
    """dx lacks the path through the variance."""

    def backward(self, dZ_tilde):
        super().backward(dZ_tilde)
        return self.parameters["gamma"] / self.root * (dZ_tilde - dZ_tilde.mean(1, keepdims=True))


@wrong("statistics")
class CallNeverUpdates(layers.BuildAndCall):
    """The averages stay where they start."""

    def call(self, inputs, training=None):
        if not training:
            return super().call(inputs, training)
        gain = self.gamma / np.sqrt(inputs.var(0) + self.epsilon)
        return (inputs - inputs.mean(0)) * gain + self.beta


@wrong("backward")
class GradientOfX(layers.WithParameterObjects):
    """dgamma is summed over x and not over x-hat."""

    def forward(self, x):
        self.x = x
        return super().forward(x)

    def backward(self, dy):
        self.gamma.grad += (dy * self.x).sum(0)
        self.beta.grad += dy.sum(0)
        return input_gradient(dy, self.hat, self.gamma.value / self.deviation)


@wrong("backward")
class ListsAveraged(layers.ListsOfParameters):
    """Both gradients of the parameters are means."""

    def backward(self, dout):
        dx = super().backward(dout)
        self.grads[0][...] /= len(dout)
        self.grads[1][...] /= len(dout)
        return dx


@wrong("backward")
class LearnsWithoutScale(layers.LearnsInBackward):
    """gamma is forgotten in dx."""

    def backward(self, grad, learning_rate):
        return super().backward(grad, learning_rate) / (self.gamma + learning_rate * (grad * self.hat).sum(0))


@wrong("test")
class GlobalButBatch(layers.AsksAGlobal):
    """Test mode, asked for by the module's variable, takes the batch's own statistics."""

    def forward(self, x):
        kept = self.mean_avg, self.var_avg
        if layers.TRAINING:
            return super().forward(x)
        self.mean_avg, self.var_avg = x.mean(0), x.var(0)
        out = super().forward(x)
        self.mean_avg, self.var_avg = kept
        return out


@wrong("backward")
class SwappedDictionary(layers.PhasesByName):
    """The two gradients under each other's name."""

    def backward(self, upstream):
        dx, grads = super().backward(upstream)
        return dx, {"scale": grads["shift"], "shift": grads["scale"]}


@wrong("statistics")
class KeepsDeviations(layers.CalledLayer):
    """The averaged variance is made of deviations; test mode takes it for a variance."""

    def __call__(self, x, is_train=True):
        old = self.stats["var"]
        out = super().__call__(x, is_train)
        if is_train:
            self.stats["var"] = self.momentum * old + (1 - self.momentum) * x.std(0)
        return out


@wrong("test")
class ObjectWithoutRoot(layers.KeepsAnObject):
    """Test mode divides by the variance."""

    def forward(self, x):
        if self.mode == "train":
            return super().forward(x)
        return self.gamma * (x - self.average.mean) / (self.average.var + self.eps) + self.beta


@wrong("training")
class LettersUncentred(layers.LettersOnly):
    """The mean of the squares for the variance, in the output."""

    def forward(self, x, train=True):
        out = super().forward(x, train)
        if train:
            self.z, self.s = normalized(x, x.mean(0), (x**2).mean(0), self.eps)
            out = self.a * self.z + self.c
        return out


@wrong("training", follow=("backward",))
class GewichtetMitAltem(layers.Gewichtet):
    """Training normalizes with the averages."""

    def forward(self, x, training=True):
        out = super().vorwaerts(x, training)
        if training:
            self.dach, self.wurzel = normalized(x, self.mittel, self.streuung, self.epsilon)
            out = self.gewicht * self.dach + self.versatz
        return out


@wrong("test")
class MovesInTest(layers.InPlaceEverywhere):
    """The averages go on moving in test mode."""

    def forward(self, x):
        out = super().forward(x)
        if not self.training:
            self.running_mean = self.running_mean * self.momentum + (1 - self.momentum) * x.mean(0)
            self.running_var = self.running_var * self.momentum + (1 - self.momentum) * x.var(0)
        return out


@wrong("training", "statistics", follow=("backward",))
class UnderscoredSum(layers.Underscores):
    """The sum of the squares, not divided by n."""

    def forward(self, x):
        if not self._training:
            return super().forward(x)
        mean, var = x.mean(0), ((x - x.mean(0)) ** 2).sum(0)
        self._running_mean += (1 - self._momentum) * (mean - self._running_mean)
        self._running_var += (1 - self._momentum) * (var - self._running_var)
        self._hat, self._deviation = normalized(x, mean, var, self._eps)
        return self._gamma * self._hat + self._beta


@wrong("test")
class PredictAddsEpsilonTwice(layers.ForwardAndPredict):
    """eps twice in the other method."""

    def predict(self, x):
        return self.gamma * normalized(x, self.population_mean, self.population_var, 2 * self.eps)[0] + self.beta


@wrong("backward")
class DictionaryConstantStatistics(layers.TakesADictionary):
    """dx takes the statistics for constants."""

    def backward(self, dout):
        super().backward(dout)
        return dout * self.gamma / self.cache[1]


@wrong("spatial")
class SpatialMixed(layers.SpatialRows):
    """Reshaped without moving the channels: 4-D alone can show it."""

    def forward(self, x, training=True):
        n, c, h, w = x.shape
        return super().forward(x.reshape(n, h, w, c).transpose(0, 3, 1, 2), training)


@wrong("training", "test")
class NegatedWithoutShift(layers.NegatesTesting):
    """The shift is left out everywhere."""

    def forward(self, X, is_test=False):
        return super().forward(X, is_test) - self.B

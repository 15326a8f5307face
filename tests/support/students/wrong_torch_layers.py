"""Layers on PyTorch with one slip each: the parts in which it must be seen; the others may not be called wrong."""

import torch

from tests.support.students import torch_layers as layers

WRONG = {}  # name -> (class, the parts that are wrong, the parts that follow from them)


def wrong(*parts, follow=()):
    """Put a class among the wrong ones, with the parts that the slip touches."""

    def put(layer):
        WRONG[layer.__name__] = layer, set(parts), set(follow)
        return layer

    return put


@wrong("test")
class TensorsOfTheBatch(layers.PlainTensors):
    """Test mode takes the batch's mean and variance."""

    def __call__(self, x):
        if self.training:
            return super().__call__(x)
        return self.gamma * (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + self.eps) + self.beta


@wrong("training")
class LerpedSample(layers.LerpedBatchNorm):
    """The sample variance normalizes."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        super().forward(x)
        m, v = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
        return (x - m) / (v + self.eps).sqrt() * self.mults + self.adds


@wrong("test")
class RowsWithoutEpsilon(layers.RowShapedModule):
    """Test mode without eps."""

    def forward(self, x):
        if self.training:
            return super().forward(x)
        return self.weight * (x - self.running_mean) / torch.sqrt(self.running_var) + self.bias


@wrong("training", "test", follow=("backward",))
class FlaggedBare(layers.FlaggedModule):
    """The bias is there and not added."""

    def forward(self, x, is_training=True):
        return super().forward(x, is_training) - self.beta


@wrong("backward")
class TensorsWithoutMeanPath(layers.TensorsByHand):
    """dx lacks the path through the mean."""

    def backward(self, dout):
        super().backward(dout)
        return self.gamma / self.deviation * (dout - self.hat * (dout * self.hat).mean(0))


@wrong("statistics")
class LazyOverwrites(layers.LazyModule):
    """The averages are the last batch's."""

    def forward(self, x):
        out = super().forward(x)
        if self.training:
            with torch.no_grad():
                self.running_mean.copy_(x.mean(0))
                self.running_var.copy_(x.var(0, unbiased=False))
        return out

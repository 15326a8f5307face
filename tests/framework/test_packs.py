"""Small variables that an optimizer changes end to end: the bits of each alone, and nobody sees that it is a piece."""

import copy

import numpy as np
import pytest

from pybn import Context, optimizers
from pybn.framework import packs
from pybn.framework.train import NonFiniteUpdateError, next_values

OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "Adam": lambda: optimizers.Adam(0.01),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
}
SHAPES = [(2, 0), (3,), (), (2, 3), (5,), (packs.MOST - 15,), (7,), (packs.MOST + 1,), (1, 4), (packs.MOST,)]
TYPES = [np.float32] * 8 + [np.float64, np.float16]


def some(shapes=SHAPES, types=TYPES):
    """A context and its variables."""
    ctx, rng = Context(0), np.random.default_rng(1)
    wanted = enumerate(zip(shapes, types, strict=True))
    variables = [ctx.in_scope(f"v{i}").variable("w", shape, dtype) for i, (shape, dtype) in wanted]
    ctx.assign({each: rng.normal(size=each.shape) for each in variables})
    return ctx, variables


def gradients_of(variables, seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=each.shape).astype(each.dtype) for each in variables]


def bits(ctx):
    return {each.path: (each.value.dtype, each.shape, each.value.tobytes()) for each in ctx.variables()}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("types", [TYPES, [np.float32] * 10, [np.float16, np.float64] * 5], ids=["some", "one", "two"])
def test_the_bits_are_those_of_each_variable_alone(monkeypatch, make, types):
    """Also where variables have taken different numbers of steps, and where an assignment came between."""
    results = []
    for most in (packs.MOST, -1):
        monkeypatch.setattr(packs, "MOST", most)
        ctx, variables = some(types=types)
        optimizer = make()
        for step, used in enumerate((variables, variables[::2], variables[::-1], variables, variables)):
            ctx.apply(optimizer.new_values(ctx, used, gradients_of(used, step)))
            if step == 2:
                variables[1].value = np.ones(3)
        results.append(bits(ctx))
    assert results[0] == results[1]


def test_large_variables_are_alone_and_small_ones_are_not():
    ctx, variables = some(types=[np.float32] * 10)
    found = packs.packs(ctx, variables, gradients_of(variables, 0))
    members = [[variables.index(each) for each in pack.variables] for pack, _ in found]
    assert [sum(variables[i].value.size for i in each) for each in members] == [15, packs.MOST + 1 - 0] or members
    for pack, gradient in found:
        assert pack.value.size == gradient.size == sum(each.value.size for each in pack.variables)


def test_a_wider_gradient_does_not_widen_the_others():
    ctx, variables = some([(3,), (3,)], [np.float32] * 2)
    gradients = [np.full(3, 1e-9), np.full(3, 1e-9, np.float32)]
    expected = [np.float32(each.value - 0.1 * gradient) for each, gradient in zip(variables, gradients, strict=True)]
    new = optimizers.SGD(0.1).new_values(ctx, variables, gradients)
    assert [new[each].tolist() for each in variables] == [each.tolist() for each in expected]


def test_what_a_variable_holds_cannot_be_written_to():
    ctx, variables = some()
    new = optimizers.SGD(0.1).new_values(ctx, variables, gradients_of(variables, 0))
    for variable in variables:
        with pytest.raises(ValueError, match="read-only"):
            new[variable][...] = 0
    ctx.apply(new)
    for variable in variables:
        with pytest.raises(ValueError, match="read-only"):
            variable.value[...] = 0


def test_what_is_put_in_the_place_of_a_new_value_is_checked():
    """A wrapper of an optimizer edits what it gave: a value of another shape is refused, one of another type cast."""
    ctx, variables = some([(2,), (2,)], [np.float32] * 2)

    def new():
        return optimizers.SGD(0.1).new_values(ctx, variables, gradients_of(variables, 0))

    mine = np.array([1.0, 2.0])
    for put in (
        lambda given: given.__setitem__(variables[0], mine),
        lambda given: given.update({variables[0]: mine}),
        lambda given: given.__ior__({variables[0]: mine}),
    ):
        given = new()
        put(given)
        assert given[variables[0]].dtype == np.float32
        assert not np.shares_memory(given[variables[0]], mine)
        with pytest.raises(ValueError, match="must keep its shape"):
            given[variables[0]] = np.zeros(3)
    assert new().setdefault(variables[0], mine) is not mine


def test_infinity_that_was_replaced_is_not_held_against_the_step():
    ctx, variables = some([(2,), (2,)], [np.float32] * 2)
    gradients = gradients_of(variables, 0)

    class Clipping(optimizers.SGD):
        def new_values(self, ctx, variables, gradients):
            new = super().new_values(ctx, variables, [np.full(2, np.inf, np.float32), gradients[1]])
            new[variables[0]] = np.clip(new[variables[0]], -1, 1)
            return new

    new = next_values(Clipping(0.1), ctx, variables, gradients)
    assert new[variables[0]].tolist() == [-1, -1]

    class Overflowing(optimizers.SGD):
        def new_values(self, ctx, variables, gradients):
            new = super().new_values(ctx, variables, gradients)
            new[variables[1]] = [np.inf, 0]
            return new

    with pytest.raises(NonFiniteUpdateError, match="/v1/w"):
        next_values(Overflowing(0.1), ctx, variables, gradients)


def test_what_an_optimizer_keeps_goes_with_its_variable():
    """After a variable was deleted, or a block that made the state was taken back, it begins anew."""
    ctx, variables = some([(2,), (3,)], [np.float32] * 2)
    adam = optimizers.Adam(0.01)
    before = bits(ctx)

    def step():
        ctx.apply(adam.new_values(ctx, variables, gradients_of(variables, 0)))

    def interrupted():
        with ctx.restored_on_error():
            step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert bits(ctx) == before
    step()
    once = bits(ctx)
    step()
    assert ctx.get_variable("/optimizer/v0/w/steps").value == 2
    ctx.in_absolute_path("/optimizer").delete_variables()
    ctx.assign({each: np.frombuffer(before[each.path][2], each.dtype).reshape(each.shape) for each in variables})
    step()
    assert bits(ctx) == once


def test_a_copy_goes_on_by_itself():
    ctx, variables = some([(2,), (3,)], [np.float32] * 2)
    adam = optimizers.Adam(0.01)
    ctx.apply(adam.new_values(ctx, variables, gradients_of(variables, 0)))
    other = copy.deepcopy(ctx)
    theirs = [other.get_variable(each.path) for each in variables]
    before = bits(ctx)
    other.apply(adam.new_values(other, theirs, gradients_of(theirs, 1)))
    assert bits(ctx) == before
    ctx.apply(adam.new_values(ctx, variables, gradients_of(variables, 1)))
    assert bits(ctx) == bits(other)


def test_many_ways_to_divide_are_not_all_remembered():
    ctx, variables = some([(2,)] * 6, [np.float32] * 6)
    sgd = optimizers.SGD(0.1)
    for which in range(1, 64):
        used = [each for i, each in enumerate(variables) if which >> i & 1]
        ctx.apply(sgd.new_values(ctx, used, gradients_of(used, 0)))
    assert len(ctx.packs) <= packs.REMEMBERED

"""Context: a tree of scopes over one store of variables, parameters and the mode of the run.

A layer is a function of (ctx, x); what it keeps between calls are variables in ctx's scope.  What
it wants done after a training step (moving an average) it leaves with the run, and all of that
happens together or not at all.

A run belongs to the thread or task that began it.  Any number of them may predict at once, beside one
that trains; two that change the context at once are an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from pybn.framework import blocks, initializers
from pybn.framework.graph import Node
from pybn.framework.parameters import Misspelt
from pybn.framework.runs import Run
from pybn.framework.store import Store
from pybn.framework.variables import ROOT, Held, NewValues, Variable, as_they_are, check_numbers

# Where optimizers keep what they remember of a variable: under this and its path.
OPTIMIZER_SCOPE = "/optimizer"
_RUN = "the run under way"


class Context:
    """A scope in a store of variables; scopes made from it share the store.

    `copy.deepcopy` and `pickle` give one of its own: values, parameters and random numbers as they are, and no run.

    Parameters
    ----------
    rng : numpy.random.Generator or seed; the source of first values and of dropout

    >>> ctx = Context(rng=0)
    >>> ctx.in_scope("layer_0").variable("weights", shape=(2, 3)).path
    '/layer_0/weights'
    """

    def __init__(self, rng: np.random.Generator | int = 0) -> None:
        self._store = Store(np.random.default_rng(rng))
        self._prefix = ""  # the scope's path, before the "/" and the name of what is in it
        self._reuse = False
        self._checked = True
        self._initializer: initializers.Initializer = initializers.default
        self._initializers: dict[str, initializers.Initializer] = {}  # by the variable's name
        self._inner: dict[str, Context] = {}  # scopes made from this one, by name or path: each step asks again

    # --- where: scopes ----------------------------------------------------------------------

    @property
    def scope(self) -> str:
        """The path of this scope, "/" at the root."""
        return self._prefix or ROOT

    def in_scope(self, name: str) -> Context:
        """The scope `name` under this one."""
        scope = self._inner.get(name)
        if scope is None:
            scope = self._inner[name] = self._with(_prefix=self._path("a scope", name))
        return scope

    def in_absolute_path(self, path: str) -> Context:
        """The scope at `path`, from the root."""
        if not path.startswith(ROOT) or "//" in path:
            raise ValueError(f"an absolute path must be '/' or names with one '/' before each, got {path!r}")
        scope = self._inner.get(path)
        if scope is None:
            scope = self._inner[path] = self._with(_prefix=path.removesuffix("/"))
        return scope

    def reuse(self) -> Context:
        """The scope, whose variables must exist and may be used again in one run (shared weights)."""
        return self._with(_reuse=True)

    def unique(self) -> Context:
        """The scope, whose variables may be used once in a run: the default."""
        return self._with(_reuse=False, _checked=True)

    def checked(self, check: bool = True) -> Context:
        """The scope with, or without, the check that a run uses each variable once."""
        return self._with(_checked=check)

    def with_initializer(self, initializer: initializers.Initializer, name: str | None = None) -> Context:
        """The scope, where new variables start as `initializer` says (default: He for matrices, else 0).

        Without `name`, those that have no first value of their own: the weights of dense and conv2d, and what
        is asked for with `variable` and no initializer.  Biases, scales, offsets and statistics have one.
        With `name`, every new variable of that name, whatever its layer would start it with:

        >>> from pybn import batch_norm
        >>> ctx = Context(0)
        >>> y = batch_norm(ctx.with_initializer(initializers.zeros, "scale"), np.ones((4, 2)))
        >>> ctx.get_variable("/batch_normalization/scale").value
        array([0., 0.])
        """
        if name is None:
            return self._with(_initializer=initializer)
        return self._with(_initializers=self._initializers | {name: initializer})

    @property
    def reuses(self) -> bool:
        """Whether a variable may be asked for more than once in a run."""
        return self._reuse or not self._checked

    # --- what: variables --------------------------------------------------------------------

    def variable(
        self,
        name: str,
        shape: Sequence[int] = (),
        dtype: Any = np.float32,
        initializer: initializers.Initializer | None = None,
        trainable: bool = True,
        role: str = "",
    ) -> Variable:
        """The variable `name` of this scope, made where it does not exist yet.

        One that exists keeps its dtype, its role and whether it is trainable.  Raises ValueError
        where it was asked for in this run already (unless the scope reuses), where reuse finds
        none, or for another shape.
        """
        path = self._path("a variable", name)
        run = self.run
        if path in run.claimed and not self.reuses:
            raise ValueError(
                f"{path} is used twice in one run: give each layer a scope of its own with ctx.in_scope(...), "
                "or share the weights with ctx.reuse(); a new run starts with ctx.forward_pass()"
            )
        variable = self._store.variables.get(path)
        if variable is None:
            if self._reuse:
                raise ValueError(f"reuse() needs a variable that exists, but there is no {path}")
            with self._store.lock:  # two threads may ask at once: the second one gets what the first one made
                variable = self._store.variables.get(path)
                if variable is None:
                    initializer = self._initializers.get(name, initializer or self._initializer)
                    value = self._first_value(path, tuple(shape), np.dtype(dtype), initializer)
                    variable = self._store.variables[path] = Variable(path, value, trainable, role)
        if variable.shape != tuple(shape):
            raise ValueError(f"{path} exists with shape {variable.shape}, but {tuple(shape)} was asked for")
        run.claimed[path] = variable
        return variable

    def get_variable(self, path: str) -> Variable:
        """The variable at `path`, absolute or relative to this scope; KeyError where there is none."""
        variable = self.find_variable(path)
        if variable is None:
            known = ", ".join(list(self._store.variables)) or "none yet"
            raise KeyError(f"there is no variable {self._absolute(path)}; there are: {known}")
        return variable

    def find_variable(self, path: str) -> Variable | None:
        """As `get_variable`, but None where there is none."""
        return self._store.variables.get(self._absolute(path))

    def variables(self, *, trainable: bool | None = None, role: str | None = None) -> list[Variable]:
        """The variables in and under this scope, in the order they were made, of one kind or all."""
        return [
            variable
            for variable in list(self._store.variables.values())  # in one go: another thread may add some
            if self._holds(variable.path) and trainable in (None, variable.trainable) and role in (None, variable.role)
        ]

    def values(self) -> dict[Variable, np.ndarray]:
        """The values in and under this scope, all of one moment: none of a step that is half applied."""
        with self._store.lock:
            return {variable: variable.value for variable in self.variables()}

    def standing_still(self) -> AbstractContextManager[Any]:
        """A block in which no step is applied by another thread: what is read within is of one moment."""
        return self._store.lock

    def add_variable(self, variable: Variable) -> None:
        """Put a variable where its path says; a checkpoint's way in."""
        if variable.path in self._store.variables:
            raise ValueError(f"there is a variable {variable.path} already")
        self._store.variables[variable.path] = variable

    def delete_variables(self) -> int:
        """Forget the variables in and under this scope, and what optimizers keep for them; returns how many."""
        doomed = {variable.path for scope in (self, self._optimizer_s) for variable in scope.variables()}
        for path in doomed:
            del self._store.variables[path]
        self._store.packs.clear()
        return len(doomed)

    @property
    def _optimizer_s(self) -> Context:
        """The scope of the optimizer's state for the variables of this one."""
        return self._with(_prefix=OPTIMIZER_SCOPE + self._prefix)

    @property
    def num_parameters(self) -> int:
        """How many numbers an optimizer may change in and under this scope."""
        return sum(variable.value.size for variable in self.variables(trainable=True))

    @property
    def global_step(self) -> int:
        """How many training steps the values are the result of; a checkpoint keeps it."""
        return self._store.global_step

    @global_step.setter
    def global_step(self, step: int) -> None:
        if step < 0:
            raise ValueError(f"global_step must be a number of steps, 0 or more, got {step!r}")
        self._store.global_step = step

    @property
    def packs(self) -> dict[Any, Any]:
        """How optimizers have divided variables, for `pybn.framework.packs`; empty again where a variable goes."""
        return self._store.packs

    @property
    def rng(self) -> np.random.Generator:
        """The source of first values and of dropout; a checkpoint keeps its state."""
        return self._store.rng

    # --- how: parameters --------------------------------------------------------------------

    def get_param(self, key: str, default: Any = None) -> Any:
        """The parameter `key` of this scope or of the nearest one above that sets it."""
        return self._store.parameters.get(key, self._prefix, default)

    def set_param(self, key: str, value: Any) -> None:
        """Set a parameter for this scope and those under it."""
        self._store.parameters.set(key, self._prefix, value)

    def set_params(self, values: Mapping[str, Any]) -> None:
        """Set several parameters for this scope and those under it."""
        for key, value in values.items():
            self.set_param(key, value)

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Every parameter that is set, by scope; a copy."""
        return self._store.parameters.by_scope()

    def misspelt_params(self) -> list[Misspelt]:
        """The parameters that are set and were never read, where one with nearly the same key was, and is not set.

        >>> ctx = Context()
        >>> ctx.set_param("droput_rate", 0.5)
        >>> ctx.get_param("dropout_rate", 0.0)
        0.0
        >>> ctx.misspelt_params()
        [Misspelt(scope='/', key='droput_rate', meant='dropout_rate')]
        """
        return self._store.parameters.misspelt()

    def service(self, key: str, default: Any = None) -> Any:
        """What the innermost `offering` of `key` around this line offers, to this thread or task alone."""
        return self._store.blocks.get(key, default)

    def offering(self, key: str, service: Any) -> AbstractContextManager[None]:
        """Offer `service` to layers for the length of a block; what was offered before is back afterwards."""
        return self._store.blocks.setting(key, service)

    # --- when: runs -------------------------------------------------------------------------

    @property
    def is_training(self) -> bool:
        """Whether layers behave as in training; set it, or use `forward_pass`."""
        return self.run.training

    @is_training.setter
    def is_training(self, training: bool) -> None:
        self.run.training = bool(training)

    @property
    def run(self) -> Run:
        """The run that is under way in this thread or task."""
        store = self._store
        for block in blocks.around():  # as `Blocks.get`; asked 22 times in a training step
            if block.key is _RUN and block.owner is store.blocks and block.is_open:
                run: Run = block.value
                return run
        return store.outside.run

    def forward_pass(self, *, training: bool = False) -> AbstractContextManager[Run]:
        """A run of the model; what its layers left is dropped at the end unless `apply` took it.

        Scopes may be used afresh, and the mode before is back afterwards, also after an error.  The
        run is this thread's or task's own, and sees the variables as they were when it began.
        """
        store = self._store

        def begin() -> tuple[Run, dict[Variable, Node]]:
            with store.lock:
                return Run(training, store.steps), as_they_are(store.variables.values())

        return store.blocks.beginning(_RUN, begin)

    def apply(self, new_values: NewValues | None = None) -> None:
        """End a training step: `new_values` and what the layers left, all together or none.

        Every value is prepared and checked before the first is assigned.  Raises
        ConcurrentTrainingError, and changes nothing, where another step was applied since this run
        began: it was computed from values that are no more.
        """
        run = self.run
        self._store.apply_step(run, Held.of(run.prepared()) | Held.of(new_values or {}))
        run.after_step.clear()

    def assign(self, new_values: NewValues) -> None:
        """Give variables new values, all together or none: no run that begins elsewhere sees a part of them.

        Every value is checked before the first is assigned.
        """
        self._store.assign(Held.of(new_values))

    def changing(self, what: str) -> AbstractContextManager[None]:
        """Be the only one that changes this store's variables, for the length of a block.

        Raises ConcurrentTrainingError at once where another thread, another task or the code around
        does so already: it would see what this one is about to change.
        """
        return self._store.changing(what)

    def aside(self, variables: Iterable[Variable]) -> AbstractContextManager[dict[Variable, Node]]:
        """Keep what this block assigns to `variables` to itself: no other thread sees it, and it ends with the block.

        Yields what they are for the code within, by variable; a new value is a new Node.
        """
        store = self._store

        def begin() -> tuple[dict[Variable, Node], dict[Variable, Node]]:
            with store.lock:
                view = as_they_are(variables)
            return view, view

        return store.blocks.aside("aside", begin)

    def restored_on_error(self) -> AbstractContextManager[None]:
        """Put variables, those that there are too, and parameters back if the block raises or is interrupted."""
        return self._store.restored_on_error()

    def add_loss(self, loss: Node) -> None:
        """Add a scalar to the loss of this run (a regularizer)."""
        self.run.losses.append(loss)

    def first_time(self, what: str) -> bool:
        """Whether `what` is said for the first time in this scope."""
        key = (self.scope, what)
        first = key not in self._store.notified
        self._store.notified.add(key)
        return first

    # ----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Context({self.scope}, {len(self.variables())} variables)"

    def _with(self, **changes: Any) -> Context:
        other = object.__new__(Context)
        other.__dict__ = self.__dict__ | changes
        other._inner = {}
        return other

    def _path(self, what: str, name: str) -> str:
        if not name or "/" in name:
            raise ValueError(f"{what}'s name must be one part of a path, without '/', got {name!r}")
        return f"{self._prefix}/{name}"

    def _absolute(self, path: str) -> str:
        return path if path.startswith(ROOT) else f"{self._prefix}/{path}"

    def _holds(self, path: str) -> bool:
        return not self._prefix or path.startswith(self._prefix + "/")

    def _first_value(
        self, path: str, shape: tuple[int, ...], dtype: np.dtype, initializer: initializers.Initializer
    ) -> np.ndarray:
        first = initializer(self.rng, shape, dtype)
        check_numbers(path, first, dtype)
        value = np.asarray(first, dtype)
        if value.shape != shape:
            raise ValueError(f"the initializer of {path} must give an array of shape {shape}, got {value.shape}")
        return value

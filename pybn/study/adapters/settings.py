"""Getting acquainted with a class's settings: what could not be set or read, and is told so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pybn.study.adapters.blaming import AROUND
from pybn.study.adapters.debiased import MANY, STEPS, Debiased, after_steps, corrected_pairs, counts_of
from pybn.study.adapters.meeting import Met
from pybn.study.adapters.modes import codes_of
from pybn.study.adapters.names import NAMES
from pybn.study.adapters.places import NotSet, Place, arrays_of, as_array, get, parsed, put, shown, switches_of
from pybn.study.adapters.roles import (
    ARRAYS,
    COUNT,
    FEATURES,
    NUMBERS,
    UNABLE,
    batch,
    described,
    kept_part,
    kind_of_average,
    role_in_test,
)
from pybn.study.adapters.running import names_of

AVERAGES = ("running_mean", "running_var")
SETTINGS = {"gamma": "parameters", "beta": "parameters", "eps": "epsilon", "momentum": "momentum"}


def _small(const: Any) -> bool:
    """Whether a number in the code may be an eps."""
    return isinstance(const, float) and 0 < const < 0.005


class MetWithSettings(Met):
    """A class that was met, with what could not be set in it."""

    def _checks(self) -> list[Callable[[], None]]:
        return [
            *super()._checks(),
            self._check_debiased,
            self._check_settings,
            self._check_mode,
            self._check_what_stays,
            self._check_sums,
        ]

    def _holds(self, role: str, text: str) -> bool:
        """Whether what a teacher named is there, be it after the first forward."""
        held = get(self._trial({}, True)[1], parsed(text))
        return as_array(held) is not None if role in ARRAYS else isinstance(held, int | float)

    def _check_debiased(self) -> None:
        """Averages that are corrected for their start at zero, which a new layer cannot be asked for as they stand."""
        named = any(role in self.names for role in AVERAGES)
        try:
            layers = [self._after(steps) for steps in range(STEPS)]
        except UNABLE:  # what does not run is told when it is judged
            return
        counts = counts_of(layers)
        pairs = corrected_pairs(after_steps(layers[1:], FEATURES))
        roles = {
            role: kept
            for kept, read in pairs.items()
            if (role := role_in_test(self._trial, read) or kind_of_average(self._trial, kept))
        }
        if set(roles) == set(AVERAGES) and not named:
            self.roles.places |= roles
            self.debiased = Debiased({kept: pairs[kept] for kept in roles.values()}, counts)
        elif counts and not self.roles.missing(*AVERAGES) and self._needs_steps(counts):
            self.debiased = Debiased(counts=counts)

    def _after(self, steps: int) -> Any:
        assert self.runner is not None
        layer = self._fresh()
        for seed in range(steps):
            self.runner.forward(layer, self._shaped(batch(seed + 5)), True)
        return layer

    def _needs_steps(self, counts: list[Place]) -> bool:
        """Whether test mode divides by nothing until a step was made, and not after many."""
        averages = {self.roles.places[role]: np.linspace(1.0, 2.0, FEATURES) for role in AVERAGES}
        first, after = (self._trial({**averages, **dict.fromkeys(places, MANY)}, False)[0] for places in ((), counts))
        return bool(not np.isfinite(first).all() and np.isfinite(after).all())

    def _check_settings(self) -> None:
        assert self.runner is not None
        _, layer = self._trial({}, True)
        named = {role: text for role, text in self.names.items() if role in ARRAYS + NUMBERS}
        unheld = {role for role, text in named.items() if not self._holds(role, text)} - set(self.runner.arguments)
        for role in sorted(unheld):
            self.roles.places.pop(role, None)
            reason = f"names= says {role} is {self.names[role]!r}; the class has {', '.join(described(layer))}"
            self._record(SETTINGS.get(role, "averages"), reason, "names={...} anew")
        for role in NUMBERS:  # what the first forward makes cannot be set before it
            if role in self.roles.places and get(self._fresh(), self.roles.places[role]) is None:
                del self.roles.places[role]
        self._read_back(layer)
        for setting, roles in (("parameters", ("gamma", "beta")), ("averages", ("running_mean", "running_var"))):
            told = unheld | {role for role in roles for _, reason, _ in self.records if reason.startswith(f"{role}: ")}
            missing = [role for role in self.roles.missing(*roles) if role not in told]
            if missing:
                self._record(setting, *self._looked_for(missing, layer))
        for role in NUMBERS:
            taken = role in self.roles.places or role in self.maker.takes or role in self.runner.arguments
            if not taken and role not in unheld:
                self.own[role] = self._fixed_epsilon() if role == "eps" else self._fixed_momentum()
                self._record("epsilon" if role == "eps" else role, *self._fixed(role))

    def _read_back(self, layer: Any) -> None:
        """Write to every place once: what does not keep it is not set in a judged call either."""
        for role, place in list(self.roles.places.items()):
            held = as_array(get(layer, place)) if role in ARRAYS else None
            if role in AVERAGES and held is not None and held.dtype.kind in "iu":
                self.seen.append(("averages-of-integers", "statistics", role))
            try:
                put(layer, place, 0.25 if held is None else held + 0.25)
            except NotSet as reason:
                del self.roles.places[role]
                self._record(SETTINGS.get(role, "averages"), f"{role}: {reason}", f"names={{{role!r}: '...'}}")

    def _looked_for(self, missing: list[str], layer: Any) -> tuple[str, str]:
        wanted = "; ".join(f"{role}: {', '.join(NAMES[role][:4])}, ..." for role in missing)
        reason = f"{' and '.join(missing)} not found. Looked for {wanted}; the class has {', '.join(described(layer))}"
        return reason, "names={" + ", ".join(f"{role!r}: '...'" for role in missing) + "}"

    def _fixed(self, role: str) -> tuple[str, str]:
        word = {"eps": "eps", "momentum": "momentum"}[role]
        value = self.own[role]
        shown_value = f" at {value:.3g}" if value is not None else ""
        return f"{word} is fixed{shown_value} in the class, and judged as it is", f"names={{{role!r}: '...'}}"

    def _fixed_epsilon(self) -> float | None:
        """The eps written into the class: what features with small variances show, or the one small number there."""
        written = {const for code in codes_of(self.kind) for const in code.co_consts if _small(const)}
        return self._measured_epsilon() or (written.pop() if len(written) == 1 else None)

    def _measured_epsilon(self) -> float | None:
        if "gamma" not in self.roles.places:
            return None
        assert self.runner is not None
        x = (batch() - batch().mean(0)) * 10.0 ** -np.arange(FEATURES)
        layer = self.maker.make(FEATURES, {"gamma": np.ones(FEATURES), "beta": np.zeros(FEATURES)})
        out = self._rows(self.runner.forward(layer, self._shaped(x), True).out)
        gain = as_array(get(layer, self.roles.places["gamma"]))
        variance, spread = x.var(0), (out / (1.0 if gain is None else gain.ravel() + self.roles.base)).var(0)
        found = variance / spread - variance
        usable = found[(variance < found) & np.isfinite(found)]
        if usable.size < 2 or np.ptp(usable) > 0.05 * usable.max():
            return None
        return float(f"{np.median(usable):.6g}")

    def _fixed_momentum(self) -> float | None:
        """The part of the old that both averages keep alike."""
        places = [self.roles.places.get(role) for role in AVERAGES]
        kept = [float("nan") if place is None else kept_part(self._trial, place)[0] for place in places]
        return float(f"{kept[0]:.6g}") if np.isclose(kept[0], kept[1], atol=1e-4) and 0 < kept[0] < 1 else None

    def _check_mode(self) -> None:
        assert self.runner is not None
        mode = self.runner.mode
        if unswitched := mode.unswitched(self._fresh()):
            self.seen.append(("mode-not-switched", "test", unswitched))
        if (mode.ways and not mode.to_be_tried) or self._modes_differ():
            return
        name, layer = self.runner.forward_name or "forward", self._trial({}, True)[1]
        takes = ", ".join(names_of(self._call(layer)))
        has = f"{name} takes {takes}; switches of the layer: {switches_of(layer)}"
        reason = f"no way found to ask for test mode: {has}"
        setting = "phase" if self._uses_averages() or not self.rows_meet() else "mode"
        self._record(setting, reason, "mode='a parameter, attribute or method', or mode=a function (layer, training)")

    def _check_what_stays(self) -> None:
        """Parameters and averages that a call makes anew; and test mode that a layer's last batch decides."""
        written = {role: np.linspace(1.0, 2.0, FEATURES) + at for at, role in enumerate(ARRAYS)}
        places = {role: self.roles.places[role] for role in ARRAYS if role in self.roles.places}
        for parts, roles, training in (
            (("training", "test"), ("gamma", "beta"), True),
            (("statistics", "test"), AVERAGES, False),
        ):
            asked = {places[role]: written[role] for role in roles if role in places}
            try:
                _, layer = self._trial(asked, training)
            except UNABLE:  # an untrained layer in test mode, perhaps
                continue
            anew = [role for role in roles if role in places and self._at_start(layer, places[role], written[role])]
            self.seen += [("made-anew", part, role) for part in parts for role in anew]
        told = any(setting in ("mode", "phase", "call") for setting, _, _ in self.records)
        if len(places) == len(ARRAYS) and not told and not self.seen and not self.debiased.read:
            with contextlib.suppress(*UNABLE):  # what does not run is told when it is judged
                self._check_last_batch({places[role]: written[role] for role in ARRAYS})

    def _check_sums(self) -> None:
        """Sums over the batches, which test mode divides by their number, are no averages, and nothing is wrong."""
        assert self.runner is not None
        layer, batches = self._fresh(), [batch(seed) for seed in (5, 6)]
        mean = np.mean([rows.mean(0) for rows in batches], axis=0)  # before a forward changes its x in place
        with contextlib.suppress(*UNABLE):  # what does not run is told when it is judged
            for each in batches:
                self.runner.forward(layer, self._shaped(each.copy()), True)
            held = as_array(get(layer, self.roles.places.get("running_mean", ("",))))
            rows = np.tile(mean, (COUNT, 1))
            rows[1:] += 1.0  # a batch with another mean than its first row
            out = self._rows(self.runner.forward(layer, self._shaped(rows), False).out)
            if (
                held is not None
                and np.allclose(held.ravel(), 2 * mean, rtol=1e-3)
                and np.allclose(out[0], 0, atol=1e-3)
            ):
                reason = "what is kept are sums over the batches, which test mode divides by their number"
                self._record("averages", reason, AROUND)

    def _at_start(self, layer: Any, place: Place, value: np.ndarray) -> bool:
        """Whether a place holds one number for all features again, where a number a feature was written."""
        held = as_array(get(layer, place))
        return held is not None and held.size == value.size and np.ptp(held) == 0

    def _check_last_batch(self, settings: Mapping[Place, np.ndarray]) -> None:
        """Whether test mode takes something from training, of a layer whose parameters and averages are set."""
        assert self.runner is not None
        runner = self.runner

        def trained(*seeds: int) -> Any:
            layer = self._fresh()
            for seed in seeds:
                runner.forward(layer, self._shaped(batch(seed)), True)
            return layer

        def tested(seed: int, moved: Place | None = None) -> np.ndarray:
            layer = trained(seed)
            for place, value in settings.items():
                put(layer, place, value)
            if moved is not None:
                put(layer, moved, np.linspace(2.0, 3.0, FEATURES))
            return self._rows(runner.forward(layer, self._shaped(batch(7)), False).out)

        before = tested(5)
        if not np.isfinite(before).all() or np.allclose(before, tested(6), rtol=1e-3):
            return
        once, twice = (arrays_of(trained(*seeds), FEATURES) for seeds in ((6,), (5, 6)))
        read = [
            place for place in once if place not in settings and not np.allclose(before, tested(5, place), rtol=1e-3)
        ]
        last = [place for place in read if np.allclose(once[place], twice[place])]
        if last:
            self.seen += [("last-batch-in-test", "test", shown(place)) for place in last]
        else:
            what = " and ".join(map(shown, read)) or "more than what was set"
            self._record("averages", f"test mode reads {what}, beside the averages that were found",
                         "names={'running_mean': '...', 'running_var': '...'}")  # fmt: skip

    def _modes_differ(self) -> bool:
        """Whether torch.no_grad() makes a difference to the output."""
        places = [self.roles.places[role] for role in ("running_mean", "running_var") if role in self.roles.places]
        if len(places) < 2:
            return False
        settings = {place: np.linspace(1.0, 2.0, FEATURES) for place in places}
        trained, tested = (self._trial(settings, training)[0] for training in (True, False))
        return not np.allclose(trained, tested, rtol=1e-3)

    def rows_meet(self) -> bool:
        """Whether a row's result depends on the others, as in training; else it may be in test mode all the time."""
        assert self.runner is not None
        try:
            return self._outputs(self.runner.mode, True)[1]
        except Exception:  # whatever of theirs: nothing says that they do not
            return True

    def raises_in_test(self) -> bool:
        """Whether test mode does not run on the trial's batch."""
        try:
            self._trial({}, False)
        except Exception:  # whatever of theirs
            return True
        return False

    def _uses_averages(self) -> bool:
        """Whether a layer that is told nothing normalizes with its averages, as if in test mode."""
        place = self.roles.places.get("running_mean")
        if place is None:
            return False
        first, second = (self._trial({place: np.full(FEATURES, value)}, True)[0] for value in (0.0, 1.0))
        return not np.allclose(first, second, rtol=1e-3)

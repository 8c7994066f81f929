"""Parameter expressions as arrays: sets of parameter values to gate angles, and gradients the way back."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, ParameterExpression

_CLOSE = 1e-15


class Angles:
    """The angles of a circuit's gates as functions of its parameters.

    Args:
        expressions: (angle,) each with at least one free parameter.
        parameters: in the order of the columns of parameter values.
    """

    def __init__(self, expressions: Sequence[ParameterExpression], parameters: Sequence[Parameter]) -> None:
        self._parameters = list(parameters)
        column = {parameter: place for place, parameter in enumerate(parameters)}
        self._slope = np.zeros((len(expressions), len(parameters)))
        self._offset = np.zeros(len(expressions))
        self._curved: list[tuple[int, ParameterExpression, list[tuple[int, Any]]]] = []
        for place, expression in enumerate(expressions):
            slopes = [(column[own], expression.gradient(own)) for own in expression.parameters]
            if all(isinstance(slope, numbers.Real) for _, slope in slopes):
                for own, slope in slopes:
                    self._slope[place, own] = float(slope)
                at_zero = expression.bind(dict.fromkeys(expression.parameters, 0.0))
                self._offset[place] = float(at_zero)
            else:
                self._curved.append((place, expression, slopes))

    def of(self, values: np.ndarray) -> np.ndarray:
        """(set, angle) float64 from (set, parameter)."""
        # A product for each set: whatever else is asked for, the same to the last bit.
        angles = np.matmul(values[:, None, :], self._slope.T)[:, 0] + self._offset
        for place, expression, _ in self._curved:
            for number, own in enumerate(values):
                angles[number, place] = float(expression.bind(self._bindings(expression, own)))
        return angles

    def pull_back(self, gradient: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Derivatives by the angles, (..., set, angle), as derivatives by the parameters, (..., set, parameter)."""
        found = gradient @ self._slope
        for place, _, slopes in self._curved:
            for column, slope in slopes:
                for number, own in enumerate(values):
                    if isinstance(slope, ParameterExpression) and slope.parameters:
                        factor = float(slope.bind(self._bindings(slope, own)))
                    else:
                        factor = float(slope)
                    found[..., number, column] += factor * gradient[..., number, place]
        return found

    def tied(self, numbers: Sequence[int]) -> list[tuple[int, float]]:
        """For each of some angles the place of the first that it is a multiple of for all parameters, and how many."""
        curved = {place for place, _, _ in self._curved}
        found: list[tuple[int, float]] = []
        firsts: list[tuple[int, np.ndarray]] = []
        for place, number in enumerate(numbers):
            own = np.append(self._slope[number], self._offset[number])
            for first, other in firsts if number not in curved else ():
                most = np.argmax(np.abs(other))
                ratio = own[most] / other[most]
                if np.abs(own - ratio * other).max() <= _CLOSE * np.abs(own).max():
                    found.append((first, float(ratio)))
                    break
            else:
                found.append((place, 1.0))
                if number not in curved and own.any():
                    firsts.append((place, own))
        return found

    def jacobian(self, values: np.ndarray) -> np.ndarray:
        """(angle, parameter) float64 for one set of values (parameter,)."""
        unit = np.eye(len(self._offset))[:, None, :]
        return self.pull_back(unit, values[None])[:, 0]

    def _bindings(self, expression: ParameterExpression, values: np.ndarray) -> dict[Parameter, float]:
        return {parameter: float(values[self._parameters.index(parameter)]) for parameter in expression.parameters}

"""Least squares that forget: what a few kinds of work cost, from the times of their mixtures."""

from __future__ import annotations

from collections.abc import Sequence

_KEPT = 0.95  # of the older observations' weight, at each new one
_RIDGE = 1e-2  # pulls what the observations do not tell apart towards equal shares


class Fit:
    """Coefficients >= 0 with `y ≈ sum(coefficient * x)`. `scales` are usual sizes of the x."""

    def __init__(self, scales: Sequence[float]) -> None:
        self._scales = tuple(scales)
        size = len(self._scales)
        self._squares = [[0.0] * size for _ in range(size)]
        self._products = [0.0] * size

    def add(self, xs: Sequence[float], y: float) -> None:
        """One observation."""
        scaled = [x / scale for x, scale in zip(xs, self._scales, strict=True)]
        for row, x in zip(self._squares, scaled, strict=True):
            for j, other in enumerate(scaled):
                row[j] = row[j] * _KEPT + x * other
        for i, x in enumerate(scaled):
            self._products[i] = self._products[i] * _KEPT + x * y

    def solve(self) -> list[float]:
        """The coefficients; 0 for kinds of work that never were."""
        active = [i for i in range(len(self._scales)) if self._squares[i][i] > 0]
        found: dict[int, float] = {}
        while active:
            found = dict(zip(active, self._solve(active), strict=True))
            worst = min(active, key=lambda i: found[i])
            if found[worst] >= 0:
                break
            active.remove(worst)
            found = {}
        return [found.get(i, 0.0) / scale for i, scale in enumerate(self._scales)]

    def _solve(self, active: list[int]) -> list[float]:
        """Gauss's elimination of the regularised normal equations."""
        ridge = _RIDGE * max(self._squares[i][i] for i in active)
        rows = [
            [self._squares[i][j] + (ridge if i == j else 0.0) for j in active] + [self._products[i]]
            for i in active
        ]
        size = len(active)
        for k in range(size):  # the matrix is positive definite: no pivoting
            for row in rows[k + 1 :]:
                factor = row[k] / rows[k][k]
                for j in range(k, size + 1):
                    row[j] -= factor * rows[k][j]
        solution = [0.0] * size
        for k in reversed(range(size)):
            known = sum(rows[k][j] * solution[j] for j in range(k + 1, size))
            solution[k] = (rows[k][size] - known) / rows[k][k]
        return solution

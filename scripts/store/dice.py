"""Chance that every Python version throws alike: the shops are drawn from a seed and must not change."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

MASK = (1 << 64) - 1


class Dice:
    """A splitmix64 generator: a fresh one for every thing that is drawn, so that each can be drawn alone."""

    __slots__ = ("state",)

    def __init__(self, seed: int, *things: int) -> None:
        for thing in things:
            seed = (seed ^ (thing + 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9 & MASK
        self.state = seed & MASK

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit`` - 1."""
        self.state = state = (self.state + 0x9E3779B97F4A7C15) & MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & MASK
        return (state >> 11) % limit

    def fraction(self) -> float:
        return self.below(1 << 53) / (1 << 53)

    def chance(self, permille: int) -> bool:
        return self.below(1000) < permille

    def between(self, low: int, high: int) -> int:
        """Both ends included."""
        return low + self.below(high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

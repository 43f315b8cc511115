"""Every operator with random attributes in a small model: the subjects of the property tests."""

from tests.support.families import moves, places, points, products, reductions, rows, windows
from tests.support.families.base import FAMILIES, Small, recipes

__all__ = ["FAMILIES", "Small", "moves", "places", "points", "products", "recipes", "reductions"]
__all__ += ["rows", "windows"]

"""Recipes: what is asked of a run, in YAML, as flags or in Python, with the same names everywhere.

    recipe = read_recipe({"method": "dpo", "model": "path", "data": "prefs.jsonl"})
    recipe.objective_knobs["beta"], recipe.settled("lora").rate

Each method that can be trained on data has a file beside this one, a recipe but for the model and the data.
"""

from concord.recipes.methods import offline_methods, recipe_file
from concord.recipes.reading import informed, read_recipe
from concord.recipes.schema import Rates, Recipe, RunRef, Settings
from concord.recipes.trl import from_trl

__all__ = [
    "Rates",
    "Recipe",
    "RunRef",
    "Settings",
    "from_trl",
    "informed",
    "offline_methods",
    "read_recipe",
    "recipe_file",
]

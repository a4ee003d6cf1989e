"""What Harbour keeps room for: kinds of tasks that have their name and place, and no requests yet."""

from collections.abc import Mapping

__all__ = ["CORPUS", "PERSONS", "PICTURES", "ROOMS", "SHOP", "SOCIETY", "STUDENT", "TOOLS"]

PICTURES = "pictures"
"""Pictures of shapes, colours and counts with captions: for what sees, and for what draws."""

TOOLS = "tools"
"""Tools with conditions that are not told (open before take): an agent acts, and its world answers."""

SHOP = "shop"
"""A shop with goods and prices, and somebody who buys for another: whose interest does the agent serve?"""

PERSONS = "persons"
"""Persons with traits, who answer a questionnaire on a scale, with reversed items and gaps."""

SOCIETY = "society"
"""Several agents of the town who talk to each other, and whose norms come of it."""

STUDENT = "student"
"""Dialogues with a simulated student who asks, mistakes and learns: a helper should teach, not tell."""

CORPUS = "corpus"
"""The town's records, to be searched for what a base was never told."""

ROOMS: Mapping[str, str] = {
    PICTURES: "pictures of shapes, colours and counts, with captions",
    TOOLS: "a room of tools with conditions that are not told",
    SHOP: "a shop with goods and prices, and somebody who buys for another",
    PERSONS: "persons with traits, who answer a questionnaire on a scale",
    SOCIETY: "several agents who talk to each other",
    STUDENT: "dialogues with a simulated student",
    CORPUS: "the town's records, to be searched",
}
"""The rooms by name, each with a line on what it will hold."""

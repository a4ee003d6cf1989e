"""Cells belong to splits before there is any text, and no prompt stands in two of them."""

from itertools import combinations

import pytest

from concord.worlds.harbour import FAMILIES, SPLITS, Harbour, corpus
from concord.worlds.harbour.cells import SHARES, cells, split_of
from concord.worlds.harbour.requests import LISTABLE, SHORT
from concord.worlds.harbour.templates import TEMPLATES
from concord.worlds.harbour.town import LAST_TOLD
from concord.worlds.harbour.words import NEWCOMERS

WORLD = Harbour()
BY_SPLIT = {split: {(template.name, entity) for template, entity in cells(0)[split]} for split in SPLITS}


def test_no_cell_is_in_two_splits() -> None:
    for one, other in combinations(SPLITS, 2):
        assert BY_SPLIT[one].isdisjoint(BY_SPLIT[other])


def test_no_prompt_is_in_two_splits() -> None:
    prompts = [asked.prompt.text for split in SPLITS for asked in WORLD.requests(split)]
    assert len(prompts) == len({*prompts})


def test_pretraining_has_no_cell_and_no_prompt_of_any_other_split() -> None:
    others = [asked for split in SPLITS[1:] for asked in WORLD.requests(split)]
    held = {asked.cell for asked in others}, {asked.prompt.text for asked in others}
    for item in corpus(WORLD, 5, 3000):
        assert item.meta.get("cell") not in held[0]
        assert item.prompt.messages[-1:] == () or item.prompt.messages[-1].text not in held[1]


def test_everyday_cells_are_shared_out_as_announced() -> None:
    everyday = {split: sum(one.room == "" for one, _ in cells(0)[split]) for split in SHARES}
    for split, share in SHARES.items():
        assert abs(everyday[split] / sum(everyday.values()) - share) < 0.03


@pytest.mark.parametrize("split", ["pretrain", "train", "validation", "test"])
def test_every_family_is_in_every_everyday_split(split: str) -> None:
    assert {asked.family for asked in WORLD.requests(split)} == {*FAMILIES}


def test_what_is_new_is_out_of_distribution() -> None:
    for split in SHARES:
        for asked in WORLD.requests(split):
            assert NEWCOMERS.isdisjoint(asked.entities)
            assert TEMPLATES[asked.template].room in ("", *(["pretrain"] if split == "pretrain" else []))
            if asked.family in ("copy", "reverse", "sort", "count", "sums"):
                assert SHORT[0] <= asked.level <= SHORT[1]
            if asked.family == "norms":
                assert asked.level <= LAST_TOLD
    longest = max(asked.level for asked in WORLD.requests("ood", families=["sums"]))
    assert longest > SHORT[1]


def test_lessons_are_pretrainings_alone_and_of_all_words_but_new_ones() -> None:
    lessons = [(split, *cell) for split in SPLITS for cell in cells(0)[split] if cell[0].room == "pretrain"]
    assert {split for split, _, _ in lessons} == {"pretrain"}
    assert {entity for _, one, entity in lessons if one.family == "count"} == {*LISTABLE} - NEWCOMERS
    for family in ("summary", "norms", "sources", "format", "dialogue", "aims"):
        told = {(one.kind, entity) for _, one, entity in lessons if one.family == family}
        asked = {(one.kind, entity) for one, entity in cells(0)["test"] if one.family == family}
        assert told > {(kind, entity) for kind, entity in asked if kind not in ("both", "next")}


def test_adversarial_requests_are_those_made_to_lead_astray() -> None:
    families = {asked.family for asked in WORLD.requests("adversarial")}
    assert families == {"sources", "dialogue", "forbidden", "lookalikes", "unknowable"}


def test_the_split_of_a_cell_hangs_on_nothing_else() -> None:
    template = TEMPLATES["home/0"]
    assert split_of(0, template, "mara") == split_of(0, template, "mara")
    assert {split_of(seed, template, "mara") for seed in range(200)} == {*SHARES}

"""Harbour as plain files, for tools that know nothing of Concord: JSON lines, a folder for a seed.

    write_world(world, folder)   requests, talk, facts, pools with what each reply is worth, and the words
    read_requests(path)          the requests of a file again

Rows have TRL's columns (`prompt`, `completion`, `text`); what is needed to judge replies stands beside them,
in the columns that `Asked.meta` names. Pools are rated rows: replies, their scores and the parts of these.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path

from concord.durable import disk_message, write_bytes
from concord.errors import InputError, RunError, explain
from concord.messages import is_count
from concord.types import RATED_BY, Item, Ratings, as_turns
from concord.worlds.harbour.cells import SPLITS, Split
from concord.worlds.harbour.gold import PARTS, TOWN, Gold, Tastes, worth
from concord.worlds.harbour.requests import Asked
from concord.worlds.harbour.talk import corpus
from concord.worlds.harbour.world import Harbour, pool, vocabulary

__all__ = ["rated", "read_requests", "write_world"]

_POOLED = ("validation", "test")


def rated(asked: Asked, world: Harbour, k: int = 8, seed: int = 0, *, tastes: Tastes = TOWN) -> Item:
    """The pool of a request with what every reply is worth, and its parts; gold is named as who says so."""
    replies = pool(asked, world, k, seed)
    gold = Gold(asked.seed, tastes, world.known)
    worths = [worth(asked, reply, tastes, known=world.known) for reply in replies]
    aspects = {part: tuple(each.parts[part] for each in worths) for part in PARTS}
    scores = Ratings(tuple(each.value for each in worths), aspects)
    return Item(asked.prompt, tuple(map(as_turns, replies)), scores, meta={**asked.meta(), RATED_BY: gold.id})


def write_world(
    world: Harbour,
    folder: str | Path,
    *,
    splits: Collection[Split] = SPLITS,
    talk: int = 20_000,
    seed: int = 0,
) -> list[Path]:
    """Write the world into a folder, and return the files; `talk` is the size of the talk to pretrain on."""
    from concord.formats import write_items  # counts with numpy, which the world itself does without

    if not is_count(talk):
        wrong, do = "the size of the talk is not a count", "give the number of items"
        raise InputError(explain(wrong, found=talk, accepted="0 or more", do=do))
    root = Path(folder)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(disk_message(error, doing=f"making {root}", kept="nothing was written")) from error
    written: list[Path] = []

    def items(name: str, rows: Iterator[Item]) -> None:
        written.append(root / name)
        write_items(rows, written[-1])

    for split in splits:
        asked = world.requests(split)
        items(f"requests.{split}.jsonl", (one.item() for one in asked))
        if split in _POOLED:
            items(f"pool.{split}.jsonl", (rated(one, world, seed=seed) for one in asked))
    for plain, name in ((True, "statements"), (False, "dialogues")):
        items(f"{name}.jsonl", (item for item in corpus(world, seed, talk) if item.prompt.plain == plain))
    told = world.town.told
    facts = [asdict(fact) | {"told": told[name]} for name, fact in world.facts.items()]
    lines = "".join(json.dumps(fact) + "\n" for fact in facts)
    for name, text in (("facts.jsonl", lines), ("words.txt", "\n".join(vocabulary()) + "\n")):
        written.append(root / name)
        write_bytes(written[-1], text.encode())
    return written


def read_requests(path: str | Path) -> list[Asked]:
    """The requests of a file that `write_world` wrote, or of any rows that kept its columns."""
    from concord.formats import open_items

    return [Asked.of(item) for item in open_items(path)]

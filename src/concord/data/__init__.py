"""What is done with items before a model sees them: audits, order, mixing, splits, token shards.

audit      what is in the data, and what is wrong with it
permuted   a keyed order of n rows, without a table; `mix` an order over several sources
split      which split a prompt belongs to; `take`, `where`, `sample`, `capped` select
prepare    items rendered into shards of tokens, which `Shards` reads at random
"""

from concord.data.auditing import Audit, AuditSettings, Finding, audit
from concord.data.mixing import Mix, mix
from concord.data.order import permuted, row_at, walked
from concord.data.prepare import Limit, Preparation, prepare
from concord.data.select import capped, prompt_key, sample, split, take, where
from concord.data.shards import Prepared, Shards

__all__ = [
    "Audit",
    "AuditSettings",
    "Finding",
    "Limit",
    "Mix",
    "Preparation",
    "Prepared",
    "Shards",
    "audit",
    "capped",
    "mix",
    "permuted",
    "prepare",
    "prompt_key",
    "row_at",
    "sample",
    "split",
    "take",
    "walked",
    "where",
]

"""What is in a data set: one pass that keeps numbers and hashes, and what follows from these.

audit        the pass, and all that is measured (`audit.py` lists the results by name)
observe      what is kept of a row; `columns` the numbers, `minhash` and `exact` the likeness of texts
facts        counts, lengths, labels; `bias`, `duplicates`, `leaks`, `consistency`, `utility` what they show
findings     which of it is worth saying, from which threshold on, and what to do then
records      what an audit holds
"""

from concord.data.auditing.audit import audit
from concord.data.auditing.records import (
    Audit,
    AuditSettings,
    Finding,
    LengthCounts,
    Sample,
    SampleText,
    Table,
)

__all__ = [
    "Audit",
    "AuditSettings",
    "Finding",
    "LengthCounts",
    "Sample",
    "SampleText",
    "Table",
    "audit",
]

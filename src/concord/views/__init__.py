"""The kinds of item that people speak of, as typed views, and the conversions between them.

    Task               a prompt alone
    Candidates         replies of which nothing is known yet
    Demonstration      one reply of one turn, shown to be imitated
    Dialogue           one reply of several turns, shown to be imitated
    Comparison         two replies and how likely the first is the better one; 0.5 is a tie
    SegmentComparison  the same for two stretches of behaviour, whose own steps are the actions
    Ranking            replies and their ranks, 1 the best, equal ranks for ties
    Judgement          one reply, desirable or not
    Rating             replies and their scores, higher is better
    Steps              one reply whose parts are its steps, each labelled
    Trajectory         one reply whose turns earn rewards

`Kind.of(...)` makes a view from what people write and refuses what contradicts itself; `.item()` stores
it; `view(item)` sees any item as the one kind it is. The two are exact inverses: `view(v.item()) == v`.

A conversion keeps meta and origin, and says in plain words all that it leaves out (`Converted.ignored`);
`convert` takes a whole data set, of any length, as it is gone through.
"""

from concord.views.conversions import (
    CONVERSIONS,
    Conversion,
    Converted,
    convert,
    to_candidates,
    to_comparisons,
    to_demonstrations,
    to_judgements,
    to_rankings,
    to_ratings,
    to_tasks,
)
from concord.views.kinds import (
    Candidates,
    Comparison,
    Demonstration,
    Dialogue,
    Judgement,
    Kind,
    Ranking,
    Rating,
    SegmentComparison,
    Steps,
    Task,
    Trajectory,
    View,
    split_shared_prefix,
    view,
)

__all__ = [
    "CONVERSIONS",
    "Candidates",
    "Comparison",
    "Conversion",
    "Converted",
    "Demonstration",
    "Dialogue",
    "Judgement",
    "Kind",
    "Ranking",
    "Rating",
    "SegmentComparison",
    "Steps",
    "Task",
    "Trajectory",
    "View",
    "convert",
    "split_shared_prefix",
    "to_candidates",
    "to_comparisons",
    "to_demonstrations",
    "to_judgements",
    "to_rankings",
    "to_ratings",
    "to_tasks",
    "view",
]

"""How a training run went, in findings: what its curves say, and what the model says before and after.

    read_curves(rows, settings=...)    of the metrics that were logged
    read_replies(first, last)          of the most likely replies to a few prompts

Findings are those of an audit (`concord.findings`): what, how grave, and what to do.
"""

"""Whether a model orders replies as people do: the alignment itself, which is what is to be gained.

misalignment      Eq. 1 over numbers: L in its forms, order violations, concordance
utility           the same of a policy, whose U_A is read from its behaviour
winrate           how often a judge prefers its replies; `length_control` as if all were as long
reward            what a feedback finds them worth
logic             what a preference loss asks of the order of replies
"""

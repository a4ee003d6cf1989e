"""How likely a policy finds replies, as a feedback: what training on preferences has made it value.

    Likelihood(load_policy("runs/simpo"))                                        log pi(y|x) / |y|
    Likelihood(dpo, reference=base, per="reply", scale=0.1)      beta log pi(y|x) / pi_ref(y|x)

A policy that was trained on preferences is a reward model of its own (Rafailov et al. 2023, arXiv
2305.18290): the first form is the reward that SimPO trains, but for its beta, the second that of DPO. It
knows what the policy knows: who can copy finds a wrong copy unlikely, which a head on the last state would
have to learn anew.
"""

from collections.abc import Sequence
from math import fsum, isfinite
from typing import Literal

from concord.errors import CapabilityError, InputError, Said, explain
from concord.messages import is_number
from concord.store import key
from concord.types import Ask, Capability, Policy, Rate, Reply, Score, Unanswered, Unscored, Usage

__all__ = ["Likelihood"]


class Likelihood:
    """A feedback that scores a reply by its log-probability, or by how far it has risen above a reference's.

    per: token divides by the number of tokens; of a reply as a whole, longer ones are less likely
    scale: what the number is multiplied by, the beta of the training
    """

    def __init__(
        self,
        policy: Policy,
        reference: Policy | None = None,
        *,
        per: Literal["token", "reply"] = "token",
        scale: float = 1.0,
    ) -> None:
        for one in (policy, reference):
            if one is not None and Capability.SCORE not in one.capabilities:
                wrong = "the policy does not say how likely given replies are"
                accepted, do = "a policy with SCORE", "take local weights, or an endpoint that echoes"
                raise CapabilityError(explain(wrong, found=Said(one.id), accepted=accepted, do=do))
        if per not in ("token", "reply"):
            wrong, do = "a likelihood is of each token, or of the reply", "name one of these"
            raise InputError(explain(wrong, found=per, accepted="token, reply", do=do))
        if not is_number(scale) or scale <= 0:
            wrong, do = "a likelihood cannot be scaled so", "give the beta of the training, or leave it out"
            raise InputError(explain(wrong, found=scale, accepted="a finite number above 0", do=do))
        self.policy, self.reference, self.per, self.scale = policy, reference, per, scale

    @property
    def id(self) -> str:
        """The hash of both policies, and of how their likelihoods are taken."""
        below = None if self.reference is None else self.reference.id
        return f"likelihood-{key('likelihood', self.policy.id, below, self.per, self.scale)[:32]}"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Ask for all likelihoods in one call to each policy."""
        asks = [Ask(rate.prompt, given=rate.replies) for rate in rates]
        ours = self.policy.answer(asks) if asks else ()
        if self.reference is None:
            return [tuple(self._score(one) for one in row) for row in ours]
        theirs = self.reference.answer(asks) if asks else ()
        both = zip(ours, theirs, strict=True)
        return [tuple(self._score(*pair) for pair in zip(*rows, strict=True)) for rows in both]

    def _score(self, one: Reply | Unanswered, below: Reply | Unanswered | None = None) -> Score | Unscored:
        """The score of one reply, by the policy and, where there is one, by the reference."""
        usage = one.usage + (Usage() if below is None else below.usage)
        sums: list[float] = []
        for answer in (one, below):
            if isinstance(answer, Unanswered):
                return Unscored(answer.reason, usage=usage)
            if answer is not None:
                if not answer.logps:
                    return Unscored("the policy gave no log-probabilities of the reply", usage=usage)
                each = len(answer.logps) if self.per == "token" else 1
                sums.append(fsum(answer.logps) / each)
        value = self.scale * (sums[0] - sum(sums[1:]))
        if not isfinite(value):
            return Unscored("the log-probability of the reply is not a finite number", usage=usage)
        return Score(value, usage=usage)

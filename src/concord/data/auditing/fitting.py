"""Which rows fit how many tokens, and the flags with which training reads the same rows the same way."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from concord.data.auditing.columns import Columns
from concord.data.auditing.records import AuditSettings, Evidence, Readable, Renders
from concord.estimates import percentile
from concord.formats import Reading
from concord.render.fit import measure
from concord.render.records import Rendered, RenderSettings, Unrendered
from concord.results import Result
from concord.types import JSON, Item, Origin

__all__ = ["Fitting", "training_flags"]

_ROUND_TO = 64
_REASONS = 200  # different reasons why rows cannot be rendered that are told apart


@dataclass(slots=True)
class Fitting:
    """Lengths in tokens, and rows that do not fit or cannot be rendered."""

    settings: AuditSettings
    positions: int | None
    columns: Columns
    longest: Counter[int] = field(default_factory=Counter[int])
    reasons: Counter[str] = field(default_factory=Counter[str])
    unrendered: list[Origin] = field(default_factory=list[Origin])
    long: list[Origin] = field(default_factory=list[Origin])
    long_prompts: int = 0
    long_rows: int = 0

    @property
    def limit(self) -> int | None:
        """The most tokens that a row may have: what was laid down, within what the model has."""
        given = [limit for limit in (self.settings.max_length, self.positions) if limit is not None]
        return min(given) if given else None

    def add(self, item: Item, rendered: Rendered | Unrendered) -> Mapping[str, list[int]]:
        """Take in one row; the lengths of its prompt, its replies and itself come back."""
        if isinstance(rendered, Unrendered):
            reason = str(rendered.error).partition("; found")[0].rpartition(": ")[2]
            if reason in self.reasons or len(self.reasons) < _REASONS:
                self.reasons[reason] += 1
            else:
                self.reasons["other reasons"] += 1
            _keep(self.unrendered, item.origin, self.settings.examples)
            self.columns.tokens.extend([0] * len(item.replies))
            return {}
        prompt, whole = measure(rendered)
        replies = [
            sum(int((leaf.spans[:, 1] - leaf.spans[:, 0]).sum()) for leaf in leaves)
            for leaves in rendered.replies
        ]
        self.columns.tokens.extend(replies)
        self.longest[whole] += 1
        if self.limit is not None and whole > self.limit:
            self.long_rows += 1
            # A reply needs one token at least.
            self.long_prompts += prompt >= self.limit
            _keep(self.long, item.origin, self.settings.examples)
        return {"prompt": [prompt], "reply": replies, "row": [whole]}

    def results(self) -> list[Evidence]:
        """What does not fit, what cannot be rendered, and lengths that would cover all rows or nearly all."""
        rendered, failed = sum(self.longest.values()), sum(self.reasons.values())
        said = "; ".join(f"{count:,}: {reason}" for reason, count in self.reasons.most_common(5))
        how = f"rows that cannot be turned into tokens{': ' + said if said else ''}"
        n = rendered + failed
        made = [
            Evidence(
                Result(name="unrendered", value=failed, n=n, unit="rows", how=how), tuple(self.unrendered)
            )
        ]
        if not rendered:
            return made
        if self.limit is not None:
            parts = {
                "the prompt alone fills it": self.long_prompts,
                "the replies exceed it": self.long_rows - self.long_prompts,
            }
            why = ", ".join(f"in {count:,} {what}" for what, count in parts.items() if count)
            how = f"{self.long_rows:,} of {rendered:,} rows{': ' + why if why else ''}"
            share = self.long_rows / rendered
            at = {"limit": self.limit}
            made.append(
                Evidence(
                    Result(name="too_long", value=share, n=rendered, unit="rows", how=how, at=at),
                    tuple(self.long),
                )
            )
        for share in (0.99, 0.995, 0.999, 1.0):
            value = percentile(self.longest, share)
            how = "the smallest --max-length that so large a share of the rows fits"
            at = {"share": share}
            made.append(
                Evidence(
                    Result(name="covering_length", value=value, n=rendered, unit="tokens", how=how, at=at)
                )
            )
        return made

    def flags(self) -> list[str]:
        """--max-length, and --on-long where some row exceeds it.

        All rows where these do not make it twice as long as 99.5% of them; the model's positions at most.
        """
        if not self.longest:
            return []
        most, nearly = percentile(self.longest, 1.0), percentile(self.longest, 0.995)
        length = self.settings.max_length or _rounded(most if most <= 2 * nearly else nearly)
        if self.positions is not None:
            length = min(length, self.positions)
        flags = ["--max-length", str(length)]
        return [*flags, "--on-long", "drop"] if most > length else flags


def training_flags(
    readings: Mapping[str, Readable], renderer: Renders | None, fitting: Fitting | None
) -> tuple[str, ...]:
    """What training must be told to read these rows as the audit did."""
    flags: list[str] = []
    read = [one for one in readings.values() if isinstance(one, Reading)]
    lines = {one.plan.line: None for one in read}
    # Splits that are read differently need a mapping each, which one flag cannot say.
    if len(lines) == 1:
        flags += ["--map", next(iter(lines))]
    if any(one.skipped for one in read):
        flags += ["--on-bad-row", "skip"]
    if fitting is not None:
        flags += fitting.flags()
    settings: object = getattr(renderer, "settings", None)
    if renderer is not None:
        for token in renderer.facts.stop:
            flags += ["--stop-token", token.text]
    if isinstance(settings, RenderSettings):
        for name, value in settings.template_args.items():
            flags += ["--template-arg", f"{name}={_argument(value)}"]
        if settings.plain:
            flags.append("--plain")
        if settings.train_added:
            flags.append("--train-added")
    return tuple(flags)


def _argument(value: JSON) -> str:
    """A template argument as it is typed: text by itself, unless it would be read as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)


def _rounded(length: int) -> int:
    return -(-length // _ROUND_TO) * _ROUND_TO


def _keep(rows: list[Origin], origin: Origin | None, most: int) -> None:
    if origin is not None and len(rows) < most:
        rows.append(origin)

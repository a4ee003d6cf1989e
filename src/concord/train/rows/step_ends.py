"""The places of the judged steps of a row, also where its limit cuts it."""

from concord.data import Limit
from concord.errors import ConversionError, Said, explain
from concord.render.fit import fit
from concord.render.records import Rendered
from concord.render.renderer import Renderer
from concord.render.step_ends import step_ends
from concord.types import Item, StepLabels, Text

__all__ = ["STEP_ENDS", "with_step_ends"]

STEP_ENDS = "step_ends"
"""The key of `meta` that holds the place of the last token of each judged step, in the leaf of its reply."""


def with_step_ends(item: Item, rendered: Rendered, renderer: Renderer, limit: Limit | None) -> Item | None:
    """The item with the places of its judged steps in `meta`.

    Steps that the limit cuts off lose their labels; None where no judged step is left. An item that the limit
    will leave out altogether comes back as it is.
    """
    assert isinstance(item.utilities, StepLabels)
    (reply,), (leaves,) = item.replies, rendered.replies
    if len(reply) != 1 or len(leaves) != 1:
        wrong, found = "the steps of a reply stand in several turns", Said(f"{len(reply)} turns")
        do = "give each turn a row of its own"
        raise ConversionError(explain(wrong, found=found, accepted="steps of one turn", do=do))
    kept, shift = leaves[0], 0
    if limit is not None and limit.on_long in ("prompt-left", "reply-right"):
        fitted = fit(rendered, limit.max_length, limit.on_long, keep=renderer.prefix)
        if fitted.rendered is None:
            return item
        kept, shift = fitted.rendered.replies[0][0], fitted.prompt_cut
    start = int(leaves[0].spans[0, 0])
    texts = [part.text for part in reply[0].parts if isinstance(part, Text)]
    ends = [start + end - shift for end in step_ends(texts, leaves[0].ids[start:].tolist(), renderer.decode)]
    pairs = zip(item.utilities.labels, ends, strict=True)
    labels = tuple(label if end < len(kept.ids) else None for label, end in pairs)
    places = [end for label, end in zip(labels, ends, strict=True) if label is not None]
    if not places:
        return None
    meta = {**item.meta, STEP_ENDS: places}
    return Item(item.prompt, item.replies, StepLabels(labels), meta=meta, origin=item.origin)

"""The roles that a column may have: what it becomes in an item, and other names that people have for it."""

from collections.abc import Mapping

__all__ = ["FRAME", "ROLES", "ROLE_ALIASES"]

FRAME = ("system", "tools", "template_args", "images", "videos", "audios")
"""Roles that belong to the prompt of any shape."""

ROLES: Mapping[str, str] = {
    "text": "the text, learned from as it stands",
    "messages": "the conversation: prompt and reply",
    "prompt": "the prompt",
    "input": "what the prompt is applied to, under it",
    "history": "earlier turns, before the prompt",
    "reply": "the reply",
    "outputs": "the replies of several examples",
    "inputs": "what the prompt is applied to in each example",
    "label": "whether the reply is desirable",
    "score": "the score of the reply",
    "chosen": "the better reply",
    "rejected": "the worse reply",
    "first": "the first reply",
    "second": "the second reply",
    "choice": "which of the two replies is better",
    "preference": "how probably the first reply is better",
    "votes": "one choice for each annotator",
    "strength": "by how much the better reply is better",
    "score_chosen": "the score of the better reply",
    "score_rejected": "the score of the worse reply",
    "replies": "the replies",
    "ranked": "the replies, best first",
    "ranks": "the rank of each reply, the lowest for the best",
    "scores": "the score of each reply",
    "steps": "the steps of the reply",
    "labels": "a label for each step",
    "rewards": "a reward for each turn",
    "system": "the system message",
    "tools": "the tools on offer",
    "template_args": "arguments of the chat template",
    "images": "the pictures",
    "videos": "the films",
    "audios": "the sounds",
}
"""What a column may become, in words. Besides, `aspect.NAME` is a score or a choice in one respect."""

ROLE_ALIASES: Mapping[str, str] = {
    "input_key": "prompt",
    "prompt_key": "prompt",
    "question": "prompt",
    "instruction": "prompt",
    "query": "prompt",
    "output_key": "reply",
    "completion": "reply",
    "response": "reply",
    "answer": "reply",
    "output": "reply",
    "chosen_key": "chosen",
    "rejected_key": "rejected",
    "label_key": "label",
    "kto_tag": "label",
    "conversations": "messages",
    "completions": "replies",
    "responses": "replies",
    "winner": "choice",
    "reward": "score",
    "margin": "strength",
    "image": "images",
    "chat_template_kwargs": "template_args",
}
"""Other names for roles, which people have in their fingers."""

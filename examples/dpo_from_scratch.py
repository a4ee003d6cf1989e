"""Direct preference optimisation, written out: torch, transformers, and from Concord the equation alone.

    python examples/dpo_from_scratch.py --model MODEL --data pairs.jsonl --output tuned

Rows have a `prompt` x and two replies, `chosen` y_w and `rejected` y_l. With pi_ref the model as it came and
rho(y) = log pi(y | x) - log pi_ref(y | x),

    loss = -log sigmoid(beta (rho(y_w) - rho(y_l)))

(Rafailov et al. 2023, arXiv 2305.18290, Eq. 7). `concord train dpo` does the same, faster; a test holds both
to the same numbers.
"""

import argparse
import copy
import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from concord.objectives import dpo, row_mean
from concord.tensors import ReferencedPairs, ReferencedReplies

T = TypeVar("T")


# --- rows: text to tokens, and where the reply begins -----------------------------------------------------


class Reply(NamedTuple):
    """The tokens of a prompt and of the reply behind it, which begins at `start`."""

    ids: list[int]
    start: int


class Pair(NamedTuple):
    """Two replies to the same prompt."""

    chosen: Reply
    rejected: Reply


def tokenised(tokenizer: Any, prompt: str, reply: str) -> Reply:
    """A prompt as it is given to be answered, then the reply with the stop token, which is learned too."""
    template = tokenizer.chat_template is not None
    opened, whole = prompt, prompt + reply + tokenizer.eos_token
    if template:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        opened = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
    said, stop, _ = whole.removeprefix(opened).partition(tokenizer.eos_token)
    if not (whole.startswith(opened) and said.strip() == reply.strip() and stop):
        raise ValueError("behind the prompt does not stand the reply, then the stop token")
    # A template writes the token that opens a text by itself.
    before = tokenizer(opened, add_special_tokens=not template)["input_ids"]
    ids = tokenizer(opened + said + stop, add_special_tokens=not template)["input_ids"]
    if not before or ids[: len(before)] != before:
        raise ValueError("the reply's first token is not behind those of the prompt, or there is no prompt")
    return Reply(ids, len(before))


def read(args: argparse.Namespace, tokenizer: Any) -> list[Pair]:
    """The rows of a file; one that cannot be learned from whole is named and ends the program."""
    rows: list[Pair] = []
    with args.data.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                texts = [row["prompt"], row["chosen"], row["rejected"]]
                if not all(isinstance(text, str) for text in texts):
                    raise TypeError("a column holds something else than text")
                rows.append(Pair(*(tokenised(tokenizer, texts[0], reply) for reply in texts[1:])))
                longest = max(len(reply.ids) for reply in rows[-1])
                if longest > min(args.max_length, tokenizer.model_max_length):
                    raise ValueError(f"{longest} tokens, more than --max-length or the tokenizer allows")
            except (KeyError, TypeError, ValueError) as error:
                sys.exit(f"{args.data}:{number}: {error}; a line has the texts prompt, chosen and rejected")
    return rows or sys.exit(f"{args.data}: there are no rows in it")


def batches(rows: Sequence[T], args: argparse.Namespace) -> list[list[T]]:
    """The rows of each step. Every epoch goes through all rows, in an order of its own."""
    chance, size = random.Random(args.seed), args.batch_size
    order = [row for _ in range(args.num_train_epochs) for row in chance.sample(rows, len(rows))]
    return [order[first : first + size] for first in range(0, len(order), size)]


# --- log-probabilities ------------------------------------------------------------------------------------


def log_probabilities(model: Any, rows: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    """log pi(y | x) of each reply, the sum over its tokens, and how many these are.

    Rows are padded on the right, where nothing real sees what they are padded with. A token is the reply's by
    its position: which id it has, that of padding or of the stop token, is not asked.
    """
    ids = pad_sequence([torch.tensor(row.ids) for row in rows], batch_first=True).to(model.device)
    start = torch.tensor([[row.start] for row in rows], device=ids.device)
    stop = torch.tensor([[len(row.ids)] for row in rows], device=ids.device)
    position = torch.arange(ids.shape[1], device=ids.device)
    learned = (start <= position) & (position < stop)
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=ids.device.type == "cuda"):
        logits = model(input_ids=ids, attention_mask=(position < stop).long(), use_cache=False).logits
    # The logits at each token are about the one behind it.
    logp = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return logp.where(learned[:, 1:], 0.0).sum(-1), learned.sum(-1)


def compared(policy: Any, reference: Any, rows: Sequence[Reply]) -> ReferencedReplies:
    """What policy and reference say of the same replies: its `ratio` is rho(y)."""
    logp, length = log_probabilities(policy, rows)
    with torch.no_grad():
        ref, _ = log_probabilities(reference, rows)
    return ReferencedReplies(logp, length, ref=ref)


# --- the loop ---------------------------------------------------------------------------------------------


def rate(step: int, steps: int, args: argparse.Namespace) -> float:
    """The learning rate: up from 0 in a straight line, then down to 0 by half a wave."""
    warmup = math.ceil(args.warmup_ratio * steps)
    if step < warmup:
        return args.learning_rate * step / warmup
    done = (step - warmup) / (steps - warmup)
    return args.learning_rate * (1 + math.cos(math.pi * done)) / 2


def train(policy: Any, reference: Any, rows: Sequence[Pair], args: argparse.Namespace) -> list[float]:
    """Move the policy, and return the loss of each step."""
    weights = list(policy.parameters())
    groups = [
        {"params": [one for one in weights if one.ndim > 1], "weight_decay": args.weight_decay},
        {"params": [one for one in weights if one.ndim <= 1], "weight_decay": 0.0},  # biases and norms
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    losses: list[float] = []
    steps = batches(rows, args)
    for step, batch in enumerate(steps):
        loss = margin = 0.0
        for first in range(0, len(batch), args.micro_batch):
            part = batch[first : first + args.micro_batch]
            chosen = compared(policy, reference, [row.chosen for row in part])
            rejected = compared(policy, reference, [row.rejected for row in part])
            pairs = ReferencedPairs(chosen, rejected)
            # Divided by the pairs of the whole step, so that the size of its parts changes nothing.
            share = row_mean(dpo(pairs, beta=args.beta), total=len(batch))
            share.backward()
            loss += share.item()
            margin += pairs.margin.sum().item() / len(batch)
        norm = float(clip_grad_norm_(weights, args.max_grad_norm or math.inf))
        if not math.isfinite(norm):
            sys.exit(f"step {step + 1}: the norm of the gradient is {norm}; try a lower --learning-rate")
        for group in optimizer.param_groups:
            group["lr"] = rate(step, len(steps), args)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss)
        print(f"step {step + 1}/{len(steps)}  loss {loss:.4f}  margin {margin:.3f}  gradient {norm:.3g}")
    return losses


# --- from a folder to a folder ----------------------------------------------------------------------------


def flags(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for. Names and defaults are those of `concord train dpo`."""
    parser = argparse.ArgumentParser(description="Direct preference optimisation, written out.")
    parser.add_argument("--model", required=True, help="a folder or a hub id")
    parser.add_argument("--data", required=True, type=Path, help="JSONL with prompt, chosen and rejected")
    parser.add_argument("--output", required=True, type=Path, help="the folder that is made")
    parser.add_argument("--learning-rate", type=float, default=5e-7)
    parser.add_argument("--beta", type=float, default=0.1, help="lower lets the policy move further")
    parser.add_argument("--num-train-epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64, help="rows of a step")
    parser.add_argument("--micro-batch", type=int, default=8, help="rows that go through the model at once")
    parser.add_argument("--warmup-ratio", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    parser.add_argument("--max-length", type=int, default=1024, help="tokens of the longest row")
    parser.add_argument("--seed", type=int, default=0, help="decides the order of the rows")
    args = parser.parse_args(given)
    if not args.data.is_file():
        parser.error(f"--data: {args.data} is not a file")
    if args.output.exists():
        parser.error(f"--output: {args.output} is there already")
    if min(args.num_train_epochs, args.batch_size, args.micro_batch) < 1:
        parser.error("--num-train-epochs, --batch-size and --micro-batch are counts of 1 or more")
    return args


def main(args: argparse.Namespace) -> list[float]:
    """Load, train, save."""
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(args.model)
    except (OSError, ValueError) as error:
        sys.exit(f"--model: {error}")
    if tokenizer.eos_token is None:
        sys.exit(f"{args.model}: its tokenizer has no stop token (eos_token)")
    rows = read(args, tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy: Any = AutoModelForCausalLM.from_pretrained(args.model)
    came = policy.dtype
    # Weights and what AdamW remembers are float32: in bfloat16 most steps are rounded away. Without dropout
    # (`eval`) policy and reference are one at the first step, and its loss is log 2.
    policy = policy.float().to(device).eval()
    reference = copy.deepcopy(policy).requires_grad_(False)
    losses = train(policy, reference, rows, args)
    policy.to(came).save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)
    return losses


if __name__ == "__main__":
    main(flags())

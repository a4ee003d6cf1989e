"""Two gloo processes that train the same rows as one process, under everything a model may be wrapped in.

`python -m tests.engine.ranks` starts them and writes what they found into the tables of docs/engine.md.
Starting processes costs seconds and a combination a tenth of one, so all go through the same two.
"""

import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from concord.engine.heads import ValueHead
from concord.engine.logprobs import LogProbs
from concord.engine.statistics import entropy
from concord.engine.targets import Line
from concord.errors import CapabilityError
from tests.engine.models import apart, build, family_tree, llama, long_rope

WORLD = 2
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "engine.md"

ALONE, DDP, RESHARDED, KEPT = "one process", "DDP", "FSDP2", "FSDP2, not resharded"
WRAPPERS = (ALONE, DDP, RESHARDED, KEPT)
SHARDED = (RESHARDED, KEPT)
LAYOUTS = ("forest", "rows")

AUTOCAST = "autocast to bf16"
CHECKPOINTING = "gradient checkpointing"
LORA, HEAD_LORA = "LoRA", "LoRA, the head too"
TIED = "tied embeddings"
ENTROPY = "entropy in the loss"
PAIRED = (AUTOCAST, CHECKPOINTING, LORA, HEAD_LORA, TIED, ENTROPY)
"""What is tried in pairs."""
EACH = "gradients reduced after each micro-batch"
FROZEN = "LoRA on bf16 weights"
EXPERTS = "a mixture of experts"
VALUES = "a value head"
POLICY = "FSDP2's own bf16"
SINGLE = (EACH, FROZEN, EXPERTS, VALUES, POLICY)

TIGHT, OWN, LOW = 1e-5, 1e-4, 5e-2
"""How far gradients may be off: from one process; from the model's own logits; where one side is bfloat16."""


@dataclass(frozen=True)
class Combination:
    """What is asked of a model, what it is wrapped in, and how its rows lie."""

    options: tuple[str, ...]
    wrapper: str
    layout: str

    @property
    def name(self) -> str:
        return "; ".join((named(self.options), self.wrapper, self.layout))

    @property
    def allowed(self) -> float:
        """How far its gradients may be from those it is compared with."""
        if POLICY in self.options or (self.wrapper == ALONE and {AUTOCAST, FROZEN} & set(self.options)):
            return LOW
        return OWN if self.wrapper == ALONE else TIGHT


def named(options: Sequence[str]) -> str:
    return " + ".join(options) or "nothing else"


def option_sets() -> Iterator[tuple[str, ...]]:
    """Each option by itself, pairs, and all that go together."""
    yield ()
    yield from ((option,) for option in (*PAIRED, *SINGLE))
    yield from (pair for pair in combinations(PAIRED, 2) if pair != (LORA, HEAD_LORA))
    yield (AUTOCAST, CHECKPOINTING, HEAD_LORA, TIED, ENTROPY, EACH)


def applies(options: Sequence[str], wrapper: str) -> bool:
    """Whether there is such a thing at all."""
    if POLICY in options:
        return wrapper in SHARDED
    return wrapper != ALONE or EACH not in options


def all_combinations() -> list[Combination]:
    return [
        Combination(options, wrapper, layout)
        for options in option_sets()
        for wrapper in WRAPPERS
        for layout in LAYOUTS
        if applies(options, wrapper)
    ]


# --- what is trained --------------------------------------------------------------------------------------


def micro_batches() -> list[list[list[Line]]]:
    """For each rank its micro-batches: of different sizes, and one of them empty."""
    lines = family_tree()
    return [[lines[:4], lines[4:5]], [[], lines[5:]]]


def model_for(options: Sequence[str]) -> Any:
    """The model, the same on every rank."""
    if EXPERTS in options:
        model = build(
            "Qwen3Moe",
            num_hidden_layers=2,
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
        )
    else:
        model = llama(tie_word_embeddings=TIED in options)
    if {LORA, HEAD_LORA, FROZEN} & set(options):
        from peft import LoraConfig, get_peft_model

        targets = ["q_proj", "v_proj", *(["lm_head"] if HEAD_LORA in options else [])]
        model = model.bfloat16() if FROZEN in options else model
        torch.manual_seed(2)
        model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    if CHECKPOINTING in options:
        model.activation_checkpointing_enable()
    return model


def engine_for(options: Sequence[str], layout: Any) -> LogProbs:
    """The engine, with a value head where that is asked."""
    heads = {"value": ValueHead(32)} if VALUES in options else None
    if heads is not None:
        nn.init.constant_(heads["value"].score.weight, 0.1)
    return LogProbs(model_for(options), layout=layout, heads=heads)


def count(line: Line) -> int:
    """How many tokens of a line are predicted."""
    start, stop = line.spans[0].tolist()
    return stop - start


def weight_of(reply: Any) -> Any:
    """Each reply weighs differently, some of them down."""
    return 1 - 0.4 * reply


def loss_of(outer: nn.Module, engine: LogProbs, lines: Sequence[Line], options: Sequence[str] = ()) -> Tensor:
    """What a micro-batch adds to the loss of a step, whose denominator is that of all ranks."""
    functions = {"entropy": entropy} if ENTROPY in options else {}
    with torch.autocast("cpu", torch.bfloat16) if AUTOCAST in options else nullcontext():
        found = outer(layout=engine.lay(lines), functions=functions)
    weights = weight_of(found.owner)
    total = (found.logps * weights).sum()
    if ENTROPY in options:
        total = total + (found.functions["entropy"] * weights.abs()).sum()
    if VALUES in options:
        total = total + (found.heads["value"] * weights).sum()
    return total / sum(map(count, family_tree()))


def shard(engine: LogProbs, **how: Any) -> None:
    """FSDP2 as it is meant: each layer, then the engine."""
    for layer in layers(engine):
        fully_shard(layer, **how)
    fully_shard(engine, **how)


def layers(engine: LogProbs) -> list[nn.Module]:
    return [module for module in engine.modules() if type(module).__name__.endswith("DecoderLayer")]


def wrapped(engine: LogProbs, wrapper: str, options: Sequence[str]) -> nn.Module:
    """The engine as a user would wrap it."""
    if wrapper == DDP:
        return DistributedDataParallel(engine)
    policy = (
        MixedPrecisionPolicy(torch.bfloat16, torch.float32) if POLICY in options else MixedPrecisionPolicy()
    )
    shard(engine, reshard_after_forward=wrapper == RESHARDED, mp_policy=policy)
    return engine


def step(outer: nn.Module, engine: LogProbs, options: Sequence[str] = ()) -> None:
    """The gradients of one step on this rank: reduced at the last micro-batch, or at each."""
    mine = micro_batches()[dist.get_rank()]
    for number, lines in enumerate(mine):
        last = number == len(mine) - 1 or EACH in options
        if isinstance(outer, FSDPModule):
            outer.set_requires_gradient_sync(last)
        quiet = outer.no_sync() if isinstance(outer, DistributedDataParallel) and not last else nullcontext()
        with quiet:
            # Wrappers take the mean over ranks, and the loss is a sum over them.
            (loss_of(outer, engine, lines, options) * WORLD).backward()


def gradients_of(engine: nn.Module) -> Tensor:
    """The gradients of all trained weights, whole and end to end."""
    parts: list[Tensor] = []
    for weight in engine.parameters():
        if weight.requires_grad:
            grad: Any = torch.zeros_like(weight) if weight.grad is None else weight.grad
            parts.append((grad.full_tensor() if hasattr(grad, "full_tensor") else grad).flatten())
    return torch.cat(parts)


@cache
def by_one(options: tuple[str, ...] = (), layout: str = "forest") -> Tensor:
    """The gradients of one process that has the micro-batches of all ranks."""
    engine = engine_for(options, layout)
    for mine in micro_batches():
        for lines in mine:
            loss_of(engine, engine, lines, options).backward()
    return gradients_of(engine)


@cache
def by_the_model(options: tuple[str, ...]) -> Tensor:
    """The gradients of the model's own logits, line by line, without autocast and checkpointing."""
    engine = engine_for([option for option in options if option != CHECKPOINTING], "rows")
    for line in family_tree():
        ids, (start, stop) = torch.from_numpy(line.ids), line.spans[0].tolist()
        given = engine.model(input_ids=ids[None], use_cache=False, output_hidden_states=VALUES in options)
        scores = given.logits[0, start - 1 : stop - 1].float().log_softmax(-1)
        weight = weight_of(line.reply)
        total = scores.gather(1, ids[start:stop, None]).sum() * weight
        if ENTROPY in options:
            total = total - (scores.exp() * scores).sum() * abs(weight)
        if VALUES in options:
            total = (
                total + engine.heads["value"](given.hidden_states[-1][0, start - 1 : stop - 1]).sum() * weight
            )
        (total / sum(map(count, family_tree()))).backward()
    return gradients_of(engine)


def off(combination: Combination) -> float:
    """How far the gradients of a combination are from what they should be."""
    options, wrapper, layout = combination.options, combination.wrapper, combination.layout
    if wrapper == ALONE:
        return apart(by_one(options, layout), by_the_model(options))
    engine = engine_for(options, layout)
    step(wrapped(engine, wrapper, options), engine, options)
    return apart(gradients_of(engine), by_one(() if POLICY in options else options, layout))


# --- ways to go wrong, and others that are right ----------------------------------------------------------


def part_by_itself(pick: Callable[[LogProbs], nn.Module]) -> float:
    """FSDP2 with a part of the engine sharded as one, between the layers and the whole."""
    engine = engine_for((), "forest")
    for module in (*layers(engine), pick(engine), engine):
        fully_shard(module)
    step(engine, engine)
    return apart(gradients_of(engine), by_one())


def layers_alone() -> float:
    engine = engine_for((), "forest")
    for layer in layers(engine):
        fully_shard(layer)
    step(engine, engine)
    return apart(gradients_of(engine), by_one())


def first_version() -> float:
    engine = engine_for((), "forest")
    step(FullyShardedDataParallel(engine, device_id=torch.device("cpu")), engine)
    return apart(gradients_of(engine), by_one())


def several_passes() -> float:
    engine = LogProbs(long_rope(), layout="rows")
    shard(engine)
    engine(layout=engine.lay(family_tree()))
    return 0.0


def static_graph() -> float:
    engine = engine_for((), "forest")
    step(DistributedDataParallel(engine, static_graph=True), engine, (EACH,))
    return apart(gradients_of(engine), by_one())


def past_the_wrapper() -> float:
    engine = engine_for((), "forest")
    DistributedDataParallel(engine)
    step(engine, engine)
    return apart(gradients_of(engine), by_one())


def accelerated(precision: str) -> float:
    """`Accelerator.prepare`, which is DDP here, and autocast where that is asked."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    engine = engine_for((), "forest")
    step(accelerator.prepare(engine), engine)
    return apart(gradients_of(engine), by_one((AUTOCAST,) if precision == "bf16" else ()))


def three_steps() -> float:
    """Log-probabilities after three steps of an optimizer over shards, and over whole weights."""
    whole, parts = engine_for((), "forest"), engine_for((), "forest")
    shard(parts)
    optimizers = [torch.optim.SGD(engine.parameters(), lr=0.1) for engine in (whole, parts)]
    lines = family_tree()
    with torch.no_grad():
        begun = whole(layout=whole.lay(lines)).logps
    for _ in range(3):
        for mine in micro_batches():
            for some in mine:
                loss_of(whole, whole, some).backward()
        step(parts, parts)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        first, second = (engine(layout=engine.lay(lines)).logps for engine in (whole, parts))
    assert apart(first, begun) > 1e-2, "the steps are too small to tell"
    return apart(second, first)


def copied() -> float:
    """What DataParallel does with a module, which takes more than one GPU to be done by it."""
    engine: Any = engine_for((), "forest")
    engine._replicate_for_data_parallel()(layout=engine.lay(family_tree()))
    return 0.0


def made_of(wrapper: Callable[[nn.Module], Any]) -> float:
    """An engine made of a model that is wrapped already."""
    LogProbs(wrapper(llama()))
    return 0.0


def prepared(model: nn.Module) -> nn.Module:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    # One process of those there are, so that nothing but autocast is put around the model.
    return Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model, evaluation_mode=True)


def inner(engine: LogProbs) -> Any:
    return engine.model


REFUSED: Mapping[str, Callable[[], float]] = {
    "DDP around the model, in the engine": lambda: made_of(DistributedDataParallel),
    "`torch.compile` of the model, in the engine": lambda: made_of(torch.compile),
    "`Accelerator.prepare` of the model, in the engine": lambda: made_of(prepared),
    "`DataParallel` around the engine": copied,
    "`FullyShardedDataParallel` around the engine": first_version,
    "FSDP2 on the layers, and not on the engine": layers_alone,
    "FSDP2 on the head by itself": lambda: part_by_itself(lambda engine: inner(engine).lm_head),
    "FSDP2 on the body by itself": lambda: part_by_itself(lambda engine: inner(engine).model),
    "FSDP2 on the model, in the engine": lambda: part_by_itself(inner),
    "FSDP2 and rows on both sides of a long-RoPE threshold": several_passes,
}
RIGHT: Mapping[str, Callable[[], float]] = {
    "static_graph of DDP": static_graph,
    "accelerate": lambda: accelerated("no"),
    "accelerate with bf16": lambda: accelerated("bf16"),
    "three steps over shards": three_steps,
}
CONTROL = "past the wrapper"
"""What goes wrong without a sign, and cannot be seen from inside: it shows that these tests would see it."""


# --- the processes ----------------------------------------------------------------------------------------


def outcome(work: Callable[[], float]) -> dict[str, Any]:
    """How far something was off; or that it was refused, and why; or that it broke."""
    try:
        return {"apart": work()}
    except CapabilityError as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"broke": f"{type(error).__name__}: {error}"}


def work(rank: int, folder: Path, port: str) -> None:
    """What one process does."""
    warnings.simplefilter("error")
    # Of torch, whose compiler uses what it warns of; of peft, which asks transformers by an old name, and
    # warns of merging where heads are tied.
    warnings.filterwarnings("ignore", "`torch.jit")
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing|Model has `tie_word_embeddings")
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    tried = {one.name: outcome(lambda one=one: off(one)) for one in all_combinations()}
    tried |= {name: outcome(do) for name, do in {**RIGHT, **REFUSED, CONTROL: past_the_wrapper}.items()}
    (folder / f"{rank}.json").write_text(json.dumps(tried, indent=1))
    dist.barrier()
    # Threads of gloo can abort a process that ends in the usual way.
    os._exit(0)


Found = Mapping[str, Mapping[str, Any]]


def run(folder: Path) -> list[Found]:
    """Start the processes, wait for them, and read what each found."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = os.environ | {"GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "tests.engine.ranks"]
    started: list[subprocess.Popen[str]] = []
    try:
        for rank in range(WORLD):
            arguments = [*command, str(rank), str(folder), port]
            started.append(
                subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
            )
        said = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert not any(process.returncode for process in started), "\n".join(said)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


# --- the table --------------------------------------------------------------------------------------------

BEGIN, END = "<!-- made by `python -m tests.engine.ranks` -->", "<!-- end -->"


def works(combination: Combination, found: Sequence[Found]) -> bool:
    """Whether gradients are right on all ranks."""
    return all(one[combination.name].get("apart", 1.0) <= combination.allowed for one in found)


def cell(options: tuple[str, ...], wrapper: str, found: Sequence[Found]) -> str:
    if not applies(options, wrapper):
        return ""
    kept = [layout for layout in LAYOUTS if works(Combination(options, wrapper, layout), found)]
    return "yes" if len(kept) == len(LAYOUTS) else f"{kept[0]} only" if kept else "no"


def tables(found: Sequence[Found]) -> str:
    """What works, and what is refused, as the docs have it."""
    lines = [f"| beside it | {' | '.join(WRAPPERS)} |", f"|---|{'---|' * len(WRAPPERS)}"]
    for options in option_sets():
        cells = [cell(options, wrapper, found) for wrapper in WRAPPERS]
        lines.append(f"| {named(options)} | {' | '.join(cells)} |")
    lines += ["", "| refused | what the engine says of it |", "|---|---|"]
    for name in REFUSED:
        sentence = found[0][name].get("refused", "")
        lines.append(f"| {name} | {sentence.partition('; accepted:')[0]} |")
    return "\n".join(lines)


def kept_tables() -> str:
    """The tables that the docs have."""
    return PAGE.read_text().partition(f"{BEGIN}\n\n")[2].partition(f"\n\n{END}")[0]


def write() -> None:
    """Write the tables into the docs."""
    with TemporaryDirectory() as folder:
        made = tables(run(Path(folder)))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        write()
    else:
        work(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

"""Chat formats as they are published, in templates of our own, with small real tokenizers of their kind."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

__all__ = ["FAMILIES", "Family", "needed", "tokenizer"]

CORPUS = [
    "The quick brown fox jumps over the lazy dog. What is the capital of France? It is Paris.",
    "Hello, how are you today?\n\nI am well, thank you.\n",
    "system user assistant model tool You are a helpful assistant.",
    "  indented\n\n\nlines, 12345 numbers and (brackets) don't hurt: caf\u00e9 \u4f60\u597d \U0001f600",
]

LLAMA3 = """
{{- bos_token -}}
{%- for message in messages -%}
    {{- "<|start_header_id|>" ~ message.role ~ "<|end_header_id|>\\n\\n" -}}
    {{- message.content | trim ~ "<|eot_id|>" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" -}}
{%- endif -%}
"""

LLAMA31 = """
{{- bos_token -}}
{%- set today = date_string if date_string is defined else strftime_now("%d %b %Y") -%}
{%- set system = messages[0].content | trim if messages and messages[0].role == "system" else "" -%}
{%- set rest = messages[1:] if messages and messages[0].role == "system" else messages -%}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: " -}}
{{- today ~ "\\n\\n" ~ system ~ "<|eot_id|>" -}}
{%- for message in rest -%}
    {{- "<|start_header_id|>" ~ message.role ~ "<|end_header_id|>\\n\\n" -}}
    {{- message.content | trim ~ "<|eot_id|>" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" -}}
{%- endif -%}
"""

CHATML = """
{%- for message in messages -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|im_start|>assistant\\n" -}}{%- endif -%}
"""

MARKED = """
{%- for message in messages -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" -}}
    {%- if message.role == "assistant" -%}
        {%- generation -%}{{- message.content ~ "<|im_end|>" -}}{%- endgeneration -%}
    {%- else -%}{{- message.content ~ "<|im_end|>" -}}
    {%- endif -%}
    {{- "\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|im_start|>assistant\\n" -}}{%- endif -%}
"""

QWEN25 = """
{%- macro turn(role, content) -%}
    {{- "<|im_start|>" ~ role ~ "\\n" ~ content ~ "<|im_end|>\\n" -}}
{%- endmacro -%}
{%- set told = messages and messages[0].role == "system" -%}
{%- set system = messages[0].content if told else
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant." -%}
{%- if tools -%}{%- set system = system ~ "\\n\\n# Tools\\n" ~ (tools | tojson) -%}{%- endif -%}
{{- turn("system", system) -}}
{%- for message in (messages[1:] if told else messages) -%}
    {%- if message.role == "tool" -%}
        {{- turn("user", "<tool_response>\\n" ~ message.content ~ "\\n</tool_response>") -}}
    {%- elif message.tool_calls -%}
        {%- set said = namespace(text=message.content) -%}
        {%- for call in message.tool_calls -%}
            {%- if said.text -%}{%- set said.text = said.text ~ "\\n" -%}{%- endif -%}
            {%- set said.text = said.text ~ '<tool_call>\\n{"name": "' ~ call.function.name -%}
            {%- set said.text = said.text ~ '", "arguments": '
                ~ (call.function.arguments | tojson) ~ "}\\n</tool_call>" -%}
        {%- endfor -%}
        {{- turn("assistant", said.text) -}}
    {%- else -%}{{- turn(message.role, message.content) -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|im_start|>assistant\\n" -}}{%- endif -%}
"""

QWEN3 = """
{%- set asked = namespace(last=-1) -%}
{%- for message in messages -%}
    {%- if message.role == "user" -%}{%- set asked.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" -}}
    {%- if message.role == "assistant" and loop.index0 > asked.last -%}
        {%- if loop.last or message.reasoning_content -%}
            {{- "<think>\\n" ~ (message.reasoning_content or "").strip("\\n") ~ "\\n</think>\\n\\n" -}}
        {%- endif -%}
        {{- message.content.lstrip("\\n") -}}
    {%- else -%}{{- message.content -}}
    {%- endif -%}
    {{- "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- "<think>\\n\\n</think>\\n\\n" -}}
    {%- endif -%}
{%- endif -%}
"""

MISTRAL = """
{{- bos_token -}}
{%- set told = messages and messages[0].role == "system" -%}
{%- for message in (messages[1:] if told else messages) -%}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) -%}
        {{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") -}}
    {%- endif -%}
    {%- if message.role == "user" -%}
        {{- "[INST] " ~ (messages[0].content ~ "\\n\\n" if told and loop.first else "") -}}
        {{- message.content ~ "[/INST]" -}}
    {%- else -%}{{- " " ~ message.content | trim ~ eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""

# As some published ones do: the system message stands in the last turn only if that is the user's.
VANISHING = """
{{- bos_token -}}
{%- set told = messages and messages[0].role == "system" -%}
{%- for message in (messages[1:] if told else messages) -%}
    {%- if message.role == "user" -%}
        {{- "[INST] " ~ (messages[0].content ~ "\\n\\n" if told and loop.last else "") -}}
        {{- message.content ~ "[/INST]" -}}
    {%- else -%}{{- " " ~ message.content ~ eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""

GEMMA = """
{{- bos_token -}}
{%- if messages and messages[0].role == "system" -%}
    {{- raise_exception("System role not supported") -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if (message.role == "user") != (loop.index0 % 2 == 0) -%}
        {{- raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") -}}
    {%- endif -%}
    {{- "<start_of_turn>" ~ ("model" if message.role == "assistant" else message.role) ~ "\\n" -}}
    {{- message.content | trim ~ "<end_of_turn>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<start_of_turn>model\\n" -}}{%- endif -%}
"""

PHI3 = """
{%- for message in messages -%}
    {{- "<|" ~ message.role ~ "|>\\n" ~ message.content ~ "<|end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|assistant|>\\n" -}}{%- else -%}{{- eos_token -}}{%- endif -%}
"""

ZEPHYR = """
{%- for message in messages -%}
    {{- "<|" ~ message.role ~ "|>\\n" ~ message.content ~ eos_token ~ "\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|assistant|>\\n" -}}{%- endif -%}
"""

VICUNA = """
{%- set told = messages and messages[0].role == "system" -%}
{{- messages[0].content if told else "A chat between a user and an assistant." -}}
{{- " " -}}
{%- for message in (messages[1:] if told else messages) -%}
    {%- if message.role == "user" -%}{{- "USER: " ~ message.content ~ " " -}}
    {%- else -%}{{- "ASSISTANT: " ~ message.content ~ eos_token -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "ASSISTANT:" -}}{%- endif -%}
"""

STOPLESS = """
{%- for message in messages -%}
    {{- "### " ~ message.role ~ ": " ~ message.content ~ "\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "### assistant:" -}}{%- endif -%}
"""

HEADERLESS = """
{%- for message in messages -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" -}}
{%- endfor -%}
"""


@dataclass(frozen=True)
class Family:
    """A chat format: its template, and the special tokens of its tokenizer."""

    template: str | None
    bos: str | None = None
    eos: str | None = None
    special: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()  # tokens that swallow the blanks behind them
    added: tuple[str, ...] = ()  # added, but not special
    lines: bool = False  # line ends are never split from each other, as in Llama 3's
    pieces: bool = False  # as SentencePiece: a blank before what seems a beginning
    adds_bos: bool = False
    system: bool = True
    args: dict[str, Any] = field(default_factory=dict[str, Any])


LLAMA_TOKENS = ("<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")

FAMILIES: dict[str, Family] = {
    "llama3": Family(LLAMA3, "<|begin_of_text|>", "<|eot_id|>", LLAMA_TOKENS, lines=True, adds_bos=True),
    "llama31": Family(LLAMA31, "<|begin_of_text|>", "<|eot_id|>", LLAMA_TOKENS, lines=True, adds_bos=True),
    "chatml": Family(CHATML, None, "<|im_end|>", CHATML_TOKENS),
    "marked": Family(MARKED, None, "<|im_end|>", CHATML_TOKENS),
    "qwen25": Family(
        QWEN25, None, "<|im_end|>", (*CHATML_TOKENS, "<|endoftext|>"), added=("<tool_call>", "</tool_call>")
    ),
    "qwen3": Family(QWEN3, None, "<|im_end|>", CHATML_TOKENS, added=("<think>", "</think>")),
    "qwen3 not thinking": Family(
        QWEN3,
        None,
        "<|im_end|>",
        CHATML_TOKENS,
        added=("<think>", "</think>"),
        args={"enable_thinking": False},
    ),
    "mistral": Family(MISTRAL, "<s>", "</s>", ("[INST]", "[/INST]"), pieces=True, adds_bos=True),
    "gemma": Family(
        GEMMA, "<bos>", "<eos>", ("<start_of_turn>", "<end_of_turn>"), adds_bos=True, system=False
    ),
    "phi3": Family(
        PHI3,
        "<s>",
        "<|endoftext|>",
        loose=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        pieces=True,
        adds_bos=True,
    ),
    "zephyr": Family(ZEPHYR, "<s>", "</s>", pieces=True, adds_bos=True),
    "vicuna": Family(VICUNA, "<s>", "</s>", pieces=True, adds_bos=True),
    "base": Family(None, "<|begin|>", "<|end|>", adds_bos=True),
    "base in pieces": Family(None, "<s>", "</s>", pieces=True, adds_bos=True),
    "base without bos": Family(None, None, "<|endoftext|>"),
}


def needed(module: str = "transformers") -> Any:
    """A module of the extra `data`; the test is skipped where it is not installed."""
    return pytest.importorskip(module, reason="rendering needs the extra `data`")


@cache
def tokenizer(name: str, template: str | None = None, *, first: bool = False) -> Any:
    """The tokenizer of a family, with its template or another; `first` for the newer SentencePiece manner."""
    transformers = needed()
    family = FAMILIES[name]
    backend = _backend(family, first=first)
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=family.bos,
        eos_token=family.eos,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = family.template if template is None else template
    return made


def _backend(family: Family, *, first: bool) -> Any:
    """A byte-level BPE, or one of pieces, trained on a few sentences."""
    import tokenizers
    from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = [text for text in (family.bos, family.eos, *family.special) if text]
    if family.pieces:
        backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        bytes_of = [f"<0x{number:02X}>" for number in range(256)]
        initial: Any = trainers.BpeTrainer(
            vocab_size=600, special_tokens=["<unk>", *bytes_of], show_progress=False
        )
        scheme: Any = "first" if first else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
        backend.train_from_iterator(CORPUS, initial)
        model = backend.model
        backend = tokenizers.Tokenizer(model)
        if first:
            backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        else:
            steps = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
            backend.normalizer = normalizers.Sequence(steps)  # pyright: ignore[reportAttributeAccessIssue]
        undo: list[Any] = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*undo, decoders.Strip(" ", 1, 0)])  # pyright: ignore
    else:
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
        if family.lines:
            parts = tokenizers.Regex(r"\s*[\r\n]+|\s+(?!\S)| ?\S+|\s+")
            split = pre_tokenizers.Split(parts, "isolated")
            as_bytes: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            backend.pre_tokenizer = pre_tokenizers.Sequence([split, as_bytes])  # pyright: ignore
        backend.decoder = decoders.ByteLevel()  # pyright: ignore
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
        backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    backend.add_special_tokens(
        [AddedToken(t, special=True, normalized=False, rstrip=True) for t in family.loose]
    )
    backend.add_tokens([AddedToken(text, special=False, normalized=False) for text in family.added])
    if family.adds_bos:
        assert family.bos is not None
        opening: Any = processors.TemplateProcessing(
            single=f"{family.bos} $A",
            pair=f"{family.bos} $A {family.bos} $B",
            special_tokens=[(family.bos, backend.token_to_id(family.bos))],
        )
        backend.post_processor = opening
    return backend

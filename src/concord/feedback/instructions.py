"""Instructions whose following can be checked, as data: each row names them and gives their settings.

    Instructions(column="instruction_id_list", settings="kwargs")

Names and meaning are those of IFEval (Zhou et al. 2023, arXiv 2311.07911); `CHECKS` holds one function for
each, from a reply and its settings to whether it was followed. Where the benchmark has a toolkit for language
this is a rule that can be read: words are runs of letters and digits, sentences end as in
`verifiers.sentences`, and a language is told by its script. What a script cannot tell (French from English,
say) is not guessed: the reply is `Unscored`.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, cast

from concord.feedback.schemas import read_json
from concord.feedback.verifiers import Verifier, sentences
from concord.types import Rate, Score, Unscored

__all__ = ["CHECKS", "Check", "Instructions"]

Check: TypeAlias = Callable[..., bool | None]
"""From a reply, and settings by name, to whether it was followed; None where that cannot be told."""


def _as_told(count: int, relation: str, number: int) -> bool:
    """Whether a count is as many as was asked for; the benchmark knows two relations."""
    match relation:
        case "at least":
            return count >= number
        case "less than":
            return count < number
        case _:
            raise ValueError(f"the relation {relation!r} is neither 'at least' nor 'less than'")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _parts(text: str, divider: str) -> list[str]:
    """What stands between dividers, without blank ends."""
    parts = [part.strip() for part in re.split(divider, text)]
    return parts[not parts[0] : len(parts) - (len(parts) > 1 and not parts[-1])]


# --- keywords ---------------------------------------------------------------------------------------------


def _existence(text: str, *, keywords: Sequence[str]) -> bool:
    return all(keyword.casefold() in text.casefold() for keyword in keywords)


def _frequency(text: str, *, keyword: str, frequency: int, relation: str) -> bool:
    return _as_told(text.casefold().count(keyword.casefold()), relation, frequency)


def _forbidden(text: str, *, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def _letters(text: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _as_told(text.lower().count(letter.lower()), let_relation, let_frequency)


# --- length -----------------------------------------------------------------------------------------------


def _number_words(text: str, *, num_words: int, relation: str) -> bool:
    return _as_told(len(_words(text)), relation, num_words)


def _number_sentences(text: str, *, num_sentences: int, relation: str) -> bool:
    return _as_told(len(sentences(text)), relation, num_sentences)


def _number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    parts = _parts(text, r"\*\*\*")
    return all(parts) and len(parts) == num_paragraphs


def _nth_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = [part for part in re.split(r"\n\n", text) if part.strip()]
    if len(parts) != num_paragraphs or not 1 <= nth_paragraph <= len(parts):
        return False
    return parts[nth_paragraph - 1].split()[0].strip("'\"").rstrip(".,?!'\"").lower() == first_word.lower()


# --- form -------------------------------------------------------------------------------------------------


def _placeholders(text: str, *, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\[\]\n]*\]", text)) >= num_placeholders


def _postscript(text: str, *, postscript_marker: str) -> bool:
    pattern = re.escape(postscript_marker).replace(r"\.", r"\.\s?")  # P. S. is meant too
    return re.search(pattern, text, re.IGNORECASE) is not None


def _bullets(text: str, *, num_bullets: int) -> bool:
    return len(re.findall(r"^[^\S\n]*(?:\*[^*\n]|-).*$", text, re.MULTILINE)) == num_bullets


def _highlights(text: str, *, num_highlights: int) -> bool:
    single = re.findall(r"(?<!\*)\*([^\n*]+)\*(?!\*)", text)
    double = re.findall(r"\*\*([^\n*]+)\*\*", text)
    return sum(bool(one.strip()) for one in single + double) >= num_highlights


def _sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def _title(text: str) -> bool:
    return any(one.strip("<> ") for one in re.findall(r"<<[^\n]+>>", text))


def _constrained(text: str) -> bool:
    return any(f"My answer is {said}." in text for said in ("yes", "no", "maybe"))


def _json(text: str) -> bool:
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def _two_replies(text: str) -> bool:
    parts = _parts(text, r"\*{6}")
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def _repeated(text: str, *, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _ends(text: str, *, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quoted(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


def _no_comma(text: str) -> bool:
    return "," not in text


# --- case and language ------------------------------------------------------------------------------------


def _capitals(text: str, *, capital_frequency: int, capital_relation: str) -> bool:
    words = re.findall(r"\w+(?:[-']\w+)*", text)
    return _as_told(sum(word.isupper() for word in words), capital_relation, capital_frequency)


def _all_capital(text: str) -> bool:
    return text.isupper() and _latin(text)


def _all_lower(text: str) -> bool:
    return text.islower() and _latin(text)


_SCRIPTS: Mapping[str, str] = {
    "ARABIC": "ar fa ur",
    "BENGALI": "bn",
    "CYRILLIC": "bg ru uk",
    "DEVANAGARI": "hi mr ne",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "KANNADA": "kn",
    "LATIN": "de en es fi fr it pt sw vi",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}
"""Scripts, by the first word of the names of their letters, and the languages that are written in them."""


def _share(text: str, script: str) -> float:
    """The share of the letters of a text that are of a script."""
    letters = [one for one in text if one.isalpha()]
    held = sum(unicodedata.name(one, "").startswith(f"{script} ") for one in letters)
    return held / len(letters) if letters else 0.0


def _latin(text: str) -> bool:
    return _share(text, "LATIN") > 0.5


def _language(text: str, *, language: str) -> bool | None:
    """False in another script, True in a script that only this language has here, else unknown."""
    script = next((one for one, written in _SCRIPTS.items() if language in written.split()), None)
    if script is None:
        return None
    if _share(text, script) <= 0.5:
        return False
    return True if _SCRIPTS[script] == language else None


CHECKS: Mapping[str, Check] = {
    "change_case:capital_word_frequency": _capitals,
    "change_case:english_capital": _all_capital,
    "change_case:english_lowercase": _all_lower,
    "combination:repeat_prompt": _repeated,
    "combination:two_responses": _two_replies,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": _existence,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:nth_paragraph_first_word": _nth_first_word,
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:number_sentences": _number_sentences,
    "length_constraints:number_words": _number_words,
    "punctuation:no_comma": _no_comma,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
}
"""How each instruction is checked, by its name in the benchmark."""


@dataclass(frozen=True, kw_only=True)
class Instructions(Verifier):
    """Whether a reply follows all instructions that its row names; `parts` has each, and the share of them.

    `loosely` also accepts a reply that follows an instruction once its first line, its last line, or its
    stars are taken away (IFEval's loose accuracy), which forgives an opening such as "Sure, here it is:".
    """

    column: str = "instruction_id_list"
    settings: str = "kwargs"
    loosely: bool = False
    kind: ClassVar[str] = "instructions"

    def score(self, said: str, rate: Rate) -> Score | Unscored:
        """1 where all are followed, else 0; no score where one cannot be told."""
        named, given = rate.meta.get(self.column), rate.meta.get(self.settings)
        if not isinstance(named, list | tuple) or not named:
            return Unscored(f"the row names no instructions in {self.column!r}")
        if not isinstance(given, list | tuple) or len(given) != len(named):
            return Unscored(f"the row has no settings in {self.settings!r} for each of its instructions")
        parts: dict[str, float] = {}
        for at, (name, settings) in enumerate(zip(named, given, strict=True)):
            followed = self._followed(str(name), settings, said)
            if isinstance(followed, Unscored):
                return followed
            parts[f"{name}" if name not in parts else f"{name} ({at + 1})"] = float(followed)
        share = sum(parts.values()) / len(parts)
        missed = [name for name, followed in parts.items() if not followed]
        why = f"does not follow {', '.join(missed)}" if missed else ""
        return Score(float(not missed), parts={"share": share, **parts}, why=why)

    def _followed(self, name: str, settings: object, said: str) -> bool | Unscored:
        """Whether one instruction was followed."""
        if name not in CHECKS:
            return Unscored(f"there is no check of {name!r}")
        given: Mapping[str, Any] = cast("Any", settings) if isinstance(settings, Mapping) else {}
        # Tables of one type for all rows fill in the settings of other instructions with nothing.
        known = {key: value for key, value in given.items() if value is not None}
        found: list[bool | None] = []
        try:
            for text in _variants(said) if self.loosely else (said,):
                found.append(bool(text.strip()) and CHECKS[name](text, **known))
        except (TypeError, ValueError, AttributeError) as error:
            return Unscored(
                f"the settings {json.dumps(known, default=str)} of {name!r} cannot be used: {error}"
            )
        if True in found:
            return True
        return Unscored(f"{name!r} cannot be told with {json.dumps(known)}") if None in found else False


def _variants(text: str) -> list[str]:
    """A text, and what is left without its first line, its last, both; all of these also without stars."""
    lines = text.split("\n")
    cut = [text, *("\n".join(lines[start:end]).strip() for start, end in ((1, None), (0, -1), (1, -1)))]
    return [*cut, *(one.replace("*", "") for one in cut)]

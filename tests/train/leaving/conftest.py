"""What every export begins from."""

from pathlib import Path

import pytest

from tests.engine.models import llama
from tests.render.templates import tokenizer


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model and its tokenizer."""
    folder = tmp_path / "home"
    llama(vocab_size=len(tokenizer("chatml"))).save_pretrained(folder)
    tokenizer("chatml").save_pretrained(folder)
    return folder

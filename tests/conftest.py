"""What holds for every test: no network, one thread, no chance, and shapes checked where torch is."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import concord

# Read when the libraries are imported, so set before any of them is.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "concord"

# The five places that may import torch: the rest works, and is tested, without it.
TORCH_PLACES = ("engine", "objectives", "steer", "tensors", "train")
LIGHT = os.environ.get("CONCORD_LIGHT") == "1"

if LIGHT:
    installed = [name for name in ("torch", "transformers") if importlib.util.find_spec(name)]
    assert not installed, f"CONCORD_LIGHT=1 is for an environment without {', '.join(installed)}"
    # Beside the torch places: the layers, which need their own tool and read only source.
    collect_ignore = [*TORCH_PLACES, *(f"test_{name}.py" for name in TORCH_PLACES), "test_layers.py"]
else:
    import torch
    from jaxtyping import install_import_hook

    from tests import shapes

    torch.set_num_threads(1)
    # Checks every shape that a signature in these packages promises; modules already imported would escape.
    install_import_hook([f"concord.{name}" for name in TORCH_PLACES], f"{shapes.__name__}.typechecker")

settings.register_profile("concord", derandomize=True, deadline=None)
settings.load_profile("concord")


def run_script(text: str, *arguments: object) -> str:
    """Run a program in a process of its own, which can fork and kill without harm to the tests."""
    environment = os.environ | {"PYTHONPATH": str(Path(concord.__file__).parents[1])}
    command = [sys.executable, "-c", text, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test talk to this machine only."""

    def guarded(name: str) -> Any:
        real = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            local = self.family not in (socket.AF_INET, socket.AF_INET6) or (
                address[0] in ("localhost", "::1") or address[0].startswith("127.")
            )
            if not local:
                self.close()
                raise AssertionError(f"a test tried to reach {address[0]!r}; tests reach loopback only")
            return real(self, address)

        return connect

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(name))

"""Real data sets and models that stand beside the project, where they are there."""

import pytest

from tests.conftest import ROOT

__all__ = ["SHARED", "needs_shared"]

SHARED = ROOT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not beside the project")

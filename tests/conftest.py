"""Settings shared by every test: one thread, no hypothesis deadlines (shared machines are slow at times)."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("zoomrl", deadline=None, max_examples=60)
hypothesis.settings.load_profile("zoomrl")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)

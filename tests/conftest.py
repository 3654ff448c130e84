"""Settings shared by every test: one thread, no hypothesis deadlines (shared machines are slow at times)."""

import hypothesis
import pytest
import torch

from fake_cuda import fake_cuda

hypothesis.settings.register_profile("zoomrl", deadline=None, max_examples=60)
hypothesis.settings.load_profile("zoomrl")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def gpu(monkeypatch):
    """The GPU of this machine, or a fake one, whose counters the test is given."""
    if torch.cuda.is_available():
        yield None
    else:
        with fake_cuda(monkeypatch) as found:
            yield found

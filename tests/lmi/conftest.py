import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    # Small images: threads would only wait for each other. Tests of threads set their number.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

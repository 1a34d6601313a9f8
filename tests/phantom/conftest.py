"""People that several tests look at; 4 mm voxels, so that each takes about a second."""

import socket

import pytest

from chiasm.phantom import Settings, subject
from chiasm.phantom.anatomy import build_anatomy


@pytest.fixture(scope="session")
def seed():
    return 3


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    def refuse(*_):
        raise AssertionError("a digital brain asked the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def healthy(seed):
    return subject(seed, Settings(spacing=4))


@pytest.fixture(scope="session")
def sick(seed):
    return subject(seed, Settings(spacing=4, lesions=True))


@pytest.fixture(scope="session")
def headed(seed):
    return subject(seed, Settings(spacing=4, head=True, modalities=("T1", "T2")))


@pytest.fixture(scope="session")
def anatomy(seed):
    return build_anatomy(seed, 4, lesions=True)


@pytest.fixture(scope="session")
def head_anatomy(seed):
    return build_anatomy(seed, 4, head=True)

"""People that several tests look at; 4 mm voxels, so that each takes about a second."""

import socket

import pytest

from chiasm.phantom import Settings, subject
from chiasm.phantom.anatomy import build_anatomy

SEED = 3


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    def refuse(*_):
        raise AssertionError("a digital brain asked the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield


@pytest.fixture(scope="session")
def healthy():
    return subject(SEED, Settings(spacing=4))


@pytest.fixture(scope="session")
def sick():
    return subject(SEED, Settings(spacing=4, lesions=True))


@pytest.fixture(scope="session")
def headed():
    return subject(SEED, Settings(spacing=4, head=True))


@pytest.fixture(scope="session")
def anatomy():
    return build_anatomy(SEED, 4, lesions=True)


@pytest.fixture(scope="session")
def head_anatomy():
    return build_anatomy(SEED, 4, head=True)

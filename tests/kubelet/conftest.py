"""A whole cluster as a fixture, made ahead of the tests' own deadlines; its logs shown with a failing test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ahead import made, make_ahead
from tests.cluster.build import COMPONENTS, BuildError, build_each
from tests.debian import ImageError
from tests.deploy.image import image as agent_image
from tests.kubelet.node import CONTENTS
from tests.kubelet.up import Cluster, up
from tests.reports import shown_when_failing
from tests.vm.image import Image, image
from tests.vm.machine import GuestError

pytest_runtest_makereport = shown_when_failing("whole_cluster", Cluster, "cluster", Cluster.logs, told_by=(GuestError,))


def _make() -> tuple[Image, str]:
    build_each(*COMPONENTS)
    return image(CONTENTS), agent_image()


def pytest_collection_finish(session: pytest.Session) -> None:
    make_ahead(session, __file__, {"whole_cluster": _make}, (BuildError, ImageError))


@pytest.fixture(scope="module")
def whole_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for a module's tests, its node ready; what is special about the node, the module says."""
    guest, agent = made(request, "whole_cluster")
    driver = getattr(request.module, "DRIVER", "systemd")
    qemu = request.module.qemu(tmp_path_factory.mktemp("qemu")) if hasattr(request.module, "qemu") else ()
    with up(tmp_path_factory.mktemp("cluster"), guest, agent, driver=driver, qemu=qemu) as cluster:
        yield cluster

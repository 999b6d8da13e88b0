"""Helm, the control plane and the image as fixtures, made ahead of the tests' own deadlines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ahead import made, make_ahead
from tests.cluster.api import ApiError
from tests.cluster.build import BuildError, build, build_each
from tests.cluster.control_plane import PROGRAMS, ControlPlane
from tests.deploy.checkers import CheckerError, checkov_python
from tests.deploy.image import ImageError, image
from tests.deploy.monitoring import custom_resources
from tests.deploy.node import Node, installed
from tests.deploy.openshift import constraint_fields
from tests.reports import shown_when_failing
from tests.running import until

pytest_runtest_makereport = shown_when_failing("cluster", ControlPlane, "control plane", ControlPlane.logs)


def pytest_collection_finish(session: pytest.Session) -> None:
    makers = {
        "cluster": lambda: build_each(*PROGRAMS),
        "helm": lambda: build("helm"),
        "agent_image": image,
        "checkers": lambda: (build_each("kube-score", "kubeconform"), checkov_python()),
        "foreign_kinds": lambda: (custom_resources(), constraint_fields()),
    }
    make_ahead(session, __file__, makers, (BuildError, ImageError, CheckerError, ValueError))


@pytest.fixture(scope="session")
def helm(request: pytest.FixtureRequest) -> None:
    """Helm is there: see helm.py."""
    made(request, "helm")


@pytest.fixture(scope="session")
def agent_image(request: pytest.FixtureRequest) -> str:
    """The identity of the agent's image."""
    identity: str = made(request, "agent_image")
    return identity


@pytest.fixture(scope="session")
def checkers(request: pytest.FixtureRequest) -> None:
    """Other people's checkers are there: see checkers.py."""
    made(request, "checkers")


@pytest.fixture(scope="session")
def foreign_kinds(request: pytest.FixtureRequest) -> None:
    """The modules that define others' kinds are there: see monitoring.py and openshift.py."""
    made(request, "foreign_kinds")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of a module's own."""
    made(request, "cluster")
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="module")
def node(agent_image: str, cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The chart installed, and its agent running here."""
    with installed(agent_image, cluster, tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="module")
def server(cluster: ControlPlane, foreign_kinds: None) -> ControlPlane:
    """With the Prometheus operator's kinds, and the namespaces that everything goes to."""
    for name in ("plimsoll", "monitoring"):
        cluster.namespace(name)
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for definition in custom_resources():
        cluster.request("POST", definitions, definition)
        path = f"{definitions}/{definition['metadata']['name']}"

        def established(path: str = path) -> bool:
            conditions = cluster.request("GET", path).get("status", {}).get("conditions") or ()
            return ("Established", "True") in {(each["type"], each["status"]) for each in conditions}

        until(established, f"{path} established")
        # The API server serves a kind a moment after it is established.
        until(lambda kind=definition["spec"]["names"]["plural"]: _served(cluster, kind), "served")
    return cluster


def _served(cluster: ControlPlane, plural: str) -> bool:
    try:
        cluster.request("GET", f"/apis/monitoring.coreos.com/v1/namespaces/plimsoll/{plural}")
    except ApiError as error:
        if error.status in (404, 429):
            return False
        raise
    return True

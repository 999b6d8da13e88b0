"""What the documents say and a program can check: pictures, links, rubik's keys, and the commands they show."""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

import pytest

from plimsoll.config.annotations import KEYS
from plimsoll.config.schema import Config
from tests.cluster.build import version
from tests.deploy.dashboards.all import DASHBOARDS
from tests.deploy.dashboards.pictures import DOCS
from tests.deploy.helm import CHART
from tests.deploy.screenshot import MAX_BYTES, PICTURE, SIZE, screenshot

REPOSITORY = CHART.parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), CHART / "README.md"], key=str)
RUBIK = REPOSITORY / "docs/migrating-from-rubik.md"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path):
    """Files that are there, and headings that they have."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_the_status_pages_picture_is_one():
    """A PNG of the size the tool makes, small enough for a repository; the README shows it."""
    data = PICTURE.read_bytes()

    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == SIZE
    assert len(data) <= MAX_BYTES
    assert f"({PICTURE.relative_to(REPOSITORY)})" in (REPOSITORY / "README.md").read_text()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium package")
def test_the_tool_takes_a_picture(tmp_path):
    """Of any page, in the size of the one that is kept."""
    (tmp_path / "page.html").write_text("<h1>Plimsoll</h1>")
    screenshot((tmp_path / "page.html").as_uri(), tmp_path / "made.png")

    assert struct.unpack(">II", (tmp_path / "made.png").read_bytes()[16:24]) == SIZE


def test_every_dashboard_has_its_picture():
    """`python -m tests.deploy.dashboards.pictures` draws them."""
    assert {each.stem for each in DOCS.glob("*.svg")} == {each.stem for each in DASHBOARDS}


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md", "deploy/helm/plimsoll/README.md"])
def test_whoever_installs_by_the_page_has_pods(page):
    """Pod Security refuses them in a namespace without the level that every mount of the node needs."""
    lines = [line.strip() for line in (REPOSITORY / page).read_text().splitlines()]
    label = "kubectl label namespace plimsoll pod-security.kubernetes.io/enforce=privileged"
    (install,) = (number for number, line in enumerate(lines) if line.startswith("helm install"))

    assert "--namespace plimsoll" in lines[install]
    assert label in lines[:install]


def test_an_upgrade_takes_the_new_charts_defaults():
    """`--reuse-values` keeps the old chart's: a value that is new would be missing."""
    upgrades = [line for page in PAGES for line in page.read_text().splitlines() if "helm upgrade plimsoll" in line]

    assert len(upgrades) > 3
    for line in upgrades:
        assert "--reset-then-reuse-values" in line


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the page for rubik's users, without its head."""
    part = RUBIK.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_what_is_said_of_rubiks_annotations_is_so():
    """A key that works is one the agent reads; one that is said not to be followed is none."""
    told = {re.findall(r"`([\w./-]+)", key)[0]: here for key, _, here in rows("Annotations and labels of pods")}

    assert len(told) > 5
    assert {key for key, here in told.items() if "not followed" not in here} == {
        key for key in KEYS if key.startswith("volcano.sh/") and key != "volcano.sh/qos-level"
    }


def test_what_takes_the_place_of_rubiks_features_is_there():
    """Every section of the configuration that is named is one."""
    named = {
        name for _, here, _ in rows("Features of the configuration") for name in re.findall(r"`(\w+)(?::[^`]*)?`", here)
    }

    assert named
    assert named <= {field.alias or name for name, field in Config.model_fields.items()}


@pytest.mark.parametrize("page", ["README.md", "docs/support.md", "deploy/helm/plimsoll/README.md"])
def test_what_is_said_to_be_tested_is_what_is_built(page):
    """The release of Kubernetes, and of Helm where it is named."""
    text = (REPOSITORY / page).read_text()

    assert re.findall(r"\b1\.3\d\.\d+\b", text) == [version("kube-apiserver").removeprefix("v")]
    assert set(re.findall(r"(?:Helm |\| )(4\.\d+\.\d+)", text)) <= {version("helm").removeprefix("v")}
    assert page == "README.md" or version("helm").removeprefix("v") in text

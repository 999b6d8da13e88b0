# The agent's image; buildah, podman and docker build it alike.
#
#   podman build --tag plimsoll:0.1.0 .
#
# BASE may be any image of Debian with a Python of 3.11 or later, by digest in a pipeline. Both stages use it, so that the
# program meets the C library and the Python it was built for.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev python3-venv
# pip's own settings, for whoever builds from a mirror or from a folder of wheels.
ARG PIP_INDEX_URL="" PIP_FIND_LINKS="" PIP_NO_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# --no-deps: the locks are complete, and hashes are required for everything in them. --no-build-isolation: what builds a
# source distribution is in the lock too. The program's own environment gets no pip: the build's installs into it.
RUN python3 -m venv /build \
 && /build/bin/pip install --no-deps --require-hashes --requirement requirements-build.lock \
 && /build/bin/pip wheel --no-deps --require-hashes --no-build-isolation --wheel-dir /wheels --requirement requirements.lock \
 && python3 -m venv --without-pip /opt/plimsoll \
 && /build/bin/pip --python /opt/plimsoll/bin/python install --no-deps --no-index /wheels/*.whl \
 # 65 MB of another client, which nothing imports.
 && rm -r /opt/plimsoll/lib/python3*/site-packages/kubernetes/aio

FROM build AS program
COPY pyproject.toml README.md LICENSE ./
COPY cext cext
COPY agent agent
# Apart from its dependencies: a layer of its own, the only one that a new version of the program changes.
RUN /build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheel . \
 && /build/bin/pip --python /opt/plimsoll/bin/python install --no-deps --no-index /wheel/*.whl \
 && mkdir /program \
 && cd / \
 && cp --archive --parents opt/plimsoll/bin/plimsoll opt/plimsoll/lib/python3*/site-packages/plimsoll* /program

FROM ${BASE}
ARG BASE
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
COPY --from=build /opt/plimsoll /opt/plimsoll
COPY --from=program /program /
# The program's own version, which a test holds; the commit is known to the pipeline only.
ARG VERSION="0.1.0" REVISION=""
# What is in it: /usr/share/plimsoll/sbom.cdx.json.
RUN --mount=type=bind,source=deploy/sbom.py,target=/tmp/sbom.py \
    mkdir /usr/share/plimsoll \
 && /opt/plimsoll/bin/python -I /tmp/sbom.py "${VERSION}" /opt/plimsoll/lib/python3*/site-packages \
    > /usr/share/plimsoll/sbom.cdx.json
LABEL org.opencontainers.image.title="Plimsoll" \
      org.opencontainers.image.description="Kubernetes node agent for co-locating latency-critical and batch pods" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/plimsoll/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
# Nobody: collecting pressure needs no file of root's. A number, since the kubelet cannot check a name for runAsNonRoot.
USER 65532:65532
EXPOSE 9470
# -I: neither the working directory nor PYTHON* of the environment can bring in other code.
ENTRYPOINT ["/opt/plimsoll/bin/python", "-I", "-m", "plimsoll.cli"]
CMD ["run"]

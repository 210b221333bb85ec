# One file, one image per tier: docker build --target edge|platform|apps .
# A tier's image holds its own code and dependencies and nothing of the other tiers': the boundary is physical.
# Everything installed comes from a hash-locked file, the build tools included.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.lock requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/build && /opt/build/bin/pip install --quiet --require-hashes -r requirements/build.lock \
 && python -m venv --without-pip /opt/hefa
COPY LICENSE pyproject.toml ./

# Dependencies first: they change seldom, the code often. hatchling packs those packages that are there.
FROM build AS build-edge
COPY requirements/edge.lock requirements/
RUN --mount=type=cache,target=/root/.cache/pip pip --python /opt/hefa/bin/python install --quiet --require-hashes -r requirements/edge.lock
COPY contract contract
COPY edge edge
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && pip --python /opt/hefa/bin/python install --quiet --no-cache-dir --no-deps --no-index /tmp/wheel/*.whl

FROM build AS build-platform
COPY requirements/platform.lock requirements/
RUN --mount=type=cache,target=/root/.cache/pip pip --python /opt/hefa/bin/python install --quiet --require-hashes -r requirements/platform.lock
COPY contract contract
COPY platform platform
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && pip --python /opt/hefa/bin/python install --quiet --no-cache-dir --no-deps --no-index /tmp/wheel/*.whl

FROM build AS build-apps
COPY requirements/apps.lock requirements/
RUN --mount=type=cache,target=/root/.cache/pip pip --python /opt/hefa/bin/python install --quiet --require-hashes -r requirements/apps.lock
COPY apps apps
RUN /opt/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && pip --python /opt/hefa/bin/python install --quiet --no-cache-dir --no-deps --no-index /tmp/wheel/*.whl

# What every tier runs on. The folders are made here, owned by the user, because a new named volume takes its
# owner from the folder it is mounted on.
FROM python:3.13-slim AS base
RUN groupadd --gid 10001 hefa && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin hefa \
 && install -d -o hefa -g hefa -m 0700 /run/hefa /var/lib/hefa
ENV PATH=/opt/hefa/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /var/lib/hefa
USER 10001:10001

FROM base AS edge
COPY seeds /usr/share/hefa/seeds
ENV HEFA_SEEDS=/usr/share/hefa/seeds
COPY --from=build-edge /opt/hefa /opt/hefa
ENTRYPOINT ["hefa-edge"]
CMD ["run"]

FROM base AS platform
COPY seeds /usr/share/hefa/seeds
ENV HEFA_SEEDS=/usr/share/hefa/seeds
COPY --from=build-platform /opt/hefa /opt/hefa
ENTRYPOINT ["hefa-platform"]
CMD ["serve"]

FROM base AS apps
COPY --from=build-apps /opt/hefa /opt/hefa
ENTRYPOINT ["hefa-apps"]
CMD ["serve"]

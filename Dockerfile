# One image for every part of Ebb; docker-compose.yml says which part a container runs.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app

# LightGBM needs the OpenMP runtime.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

# A fixed id: a volume outlives the image, and the next image must be able to write to it.
RUN groupadd --gid 10001 ebb \
    && useradd --uid 10001 --gid ebb --no-create-home --home-dir /tmp --shell /usr/sbin/nologin ebb \
    && mkdir /app /data \
    && chown ebb:ebb /data

COPY requirements.lock /app/
RUN pip install --no-cache-dir --only-binary=:all: --require-hashes -r /app/requirements.lock

COPY churn /app/churn
COPY producer /app/producer
COPY stream_processor /app/stream_processor
COPY scorer /app/scorer
COPY es_ingest /app/es_ingest
COPY training /app/training
COPY analytics /app/analytics
COPY kibana /app/kibana

RUN python -m compileall -q /app

WORKDIR /app
USER ebb

# The web shop, built in two stages.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl git \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml requirements.txt ./
RUN pip install -r requirements.txt
COPY shop ./shop
RUN python -m compileall -q shop

FROM python:3.11-slim-bookworm
WORKDIR /app
ENV SHOP_PORT=8080
VOLUME /var/run/docker.sock
COPY --from=build /src /app
USER 10001
EXPOSE 8080
HEALTHCHECK CMD ["python", "-m", "shop.health"]
CMD ["python", "-m", "shop"]

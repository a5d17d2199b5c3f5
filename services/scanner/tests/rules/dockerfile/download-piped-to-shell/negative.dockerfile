# The web shop, built in two stages.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl git \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml requirements.txt ./
RUN curl -sSf -o install.sh https://tools.example.org/install.sh \
    && echo "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  install.sh" | sha256sum -c \
    && sh install.sh --yes
COPY shop ./shop
RUN python -m compileall -q shop

FROM python:3.11-slim-bookworm
WORKDIR /app
ENV SHOP_PORT=8080
COPY --from=build /src /app
USER 10001
EXPOSE 8080
HEALTHCHECK CMD ["python", "-m", "shop.health"]
CMD ["python", "-m", "shop"]

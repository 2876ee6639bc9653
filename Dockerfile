# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS builder
# A C compiler for the compression and cryptography libraries.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# The dependencies change seldom: built alone, they are a layer of their own.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it \
    && touch src/lib.rs tests/it/main.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin savepoint \
    && rm -r src tests
COPY src src
# The placeholder's time stamps are newer than the sources'.
RUN mkdir -p tests/it && touch src/lib.rs src/main.rs tests/it/main.rs \
    && cargo build --release --locked --bin savepoint

FROM debian:bookworm-slim
# Majors whose clients and server go into the image: a backup needs those of its source.
ARG PG_MAJORS="14 15 16 17 18"
# pgdg: the PostgreSQL project's archive, which has all majors. debian: Debian's own major alone.
ARG PG_SOURCE=pgdg
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates locales postgresql-common; \
    # The throwaway server is made on demand: installing must not make one.
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf; \
    if [ "$PG_SOURCE" = pgdg ]; then \
        /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y; \
        for major in $PG_MAJORS; do apt-get install -y --no-install-recommends "postgresql-$major"; done; \
    else \
        apt-get install -y --no-install-recommends postgresql; \
    fi; \
    rm -rf /var/lib/apt/lists/*
COPY --from=builder /build/target/release/savepoint /usr/local/bin/savepoint
# No shell in between: dash would drop the inputs, whose names hold hyphens.
ENTRYPOINT ["/usr/local/bin/savepoint"]

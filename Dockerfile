# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS builder
# The base brings the C compiler that the compression and cryptography libraries need.
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
# hadolint ignore=DL3008
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends ca-certificates locales postgresql-common; \
    # The throwaway server is made on demand: installing must not make one.
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf; \
    case "$PG_SOURCE" in \
        pgdg) /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y; \
              for major in $PG_MAJORS; do apt-get install -y --no-install-recommends "postgresql-$major"; done ;; \
        debian) apt-get install -y --no-install-recommends postgresql ;; \
        *) echo "PG_SOURCE is pgdg or debian, not $PG_SOURCE" >&2; exit 1 ;; \
    esac; \
    # A self-signed certificate comes with the server, and its key would be the same for everybody who has this image: no
    # connection may trust it.
    rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem; \
    find /etc/ssl/certs -xtype l -delete; \
    # Just-in-time compilation is off in the throwaway server, and a server without its library goes on without it.
    rm -rf /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit* /usr/lib/*/libLLVM* /usr/lib/*/libz3.so*; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
COPY --from=builder /build/target/release/savepoint /usr/local/bin/savepoint
# No shell in between: dash would drop the inputs, whose names hold hyphens.
ENTRYPOINT ["/usr/local/bin/savepoint"]

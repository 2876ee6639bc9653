# Two images from one file: `slim` (the last stage, and so what a plain build makes) has PostgreSQL's clients, servers and contrib
# modules; `--target full` adds extensions that users of managed services have, for proofs of databases that use them.
#
# Bases are named by tag, for dependabot to update; the release records the digests that it built on in the provenance.

FROM debian:trixie-slim AS slim-runtime
# Majors whose clients and server go into the image: a backup needs those of its source.
ARG PG_MAJORS="14 15 16 17 18 19"
# The one of them that is not out yet, which the archive has in a component of its own.
ARG PG_NEXT="19"
# pgdg: the PostgreSQL project's archive, which has all majors. debian: Debian's own major alone.
ARG PG_SOURCE=pgdg
# hadolint ignore=DL3008
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    # locales: what the source's collations are made from, on demand. openssh-client: for sftp:// destinations.
    apt-get install -y --no-install-recommends ca-certificates locales openssh-client postgresql-common; \
    # The throwaway server is made on demand: installing must not make one.
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf; \
    case "$PG_SOURCE" in \
        pgdg) /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y -c "$PG_NEXT"; \
              for major in $PG_MAJORS; do set -- "$@" "postgresql-$major"; done ;; \
        debian) set -- postgresql ;; \
        *) echo "PG_SOURCE is pgdg or debian, not $PG_SOURCE" >&2; exit 1 ;; \
    esac; \
    apt-get install -y --no-install-recommends "$@"; \
    # A self-signed certificate comes with the server, and its key would be the same for everybody who has this image: no
    # connection may trust it.
    rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem; \
    find /etc/ssl/certs -xtype l -delete; \
    # Just-in-time compilation is off in the throwaway server, and a server without its library goes on without it.
    rm -rf /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit* /usr/lib/*/libLLVM* /usr/lib/*/libz3.so*; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
LABEL org.opencontainers.image.title="savepoint" \
      org.opencontainers.image.description="Back up PostgreSQL to S3 before a deploy, and prove the backup by a throwaway restore" \
      org.opencontainers.image.licenses="MIT"
# No shell in between: dash would drop the inputs, whose names hold hyphens.
ENTRYPOINT ["/usr/local/bin/savepoint"]

FROM slim-runtime AS full-runtime
ARG PG_NEXT="19"
# Without one of these the build fails, but for the major that is not out yet; `postgresql-<major>-` stands in front of each.
ARG EXTENSIONS="cron hypopg partman pg-stat-kcache pgaudit pgvector postgis-3 postgis-3-scripts repack"
# Those of these that the archive has for a major.
ARG MORE_EXTENSIONS="age credcheck debversion h3 hll http ip4r jsquery numeral ogr-fdw orafce periods pg-hint-plan pg-ivm \
pg-qualstats pg-rrule pg-uuidv7 pg-wait-sampling pgl-ddl-deploy pglogical pgmp pgq3 pgrouting pgrouting-scripts pgsphere pgtap pgtt \
plpgsql-check pointcloud prefix q3c rational roaringbitmap rum semver set-user similarity squeeze tablelog tdigest timescaledb \
toastinfo unit"
# hadolint ignore=DL3008
RUN set -eu; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    for server in /usr/lib/postgresql/*/bin/postgres; do \
        major=${server#/usr/lib/postgresql/}; \
        major=${major%%/*}; \
        needed=$EXTENSIONS; \
        if [ "$major" = "$PG_NEXT" ]; then needed=; fi; \
        for name in $needed; do set -- "$@" "postgresql-$major-$name"; done; \
        # Languages of the server's own source, each in a package of its own.
        for name in "postgresql-plperl-$major" "postgresql-pltcl-$major"; do set -- "$@" "$name"; done; \
        wished=$MORE_EXTENSIONS; \
        if [ -z "$needed" ]; then wished="$EXTENSIONS $MORE_EXTENSIONS"; fi; \
        for name in $wished; do \
            if apt-cache show "postgresql-$major-$name" >/dev/null 2>&1; then set -- "$@" "postgresql-$major-$name"; \
            else echo "not in the archive: postgresql-$major-$name"; fi; \
        done; \
    done; \
    apt-get install -y --no-install-recommends "$@"; \
    rm -rf /usr/lib/postgresql/*/lib/bitcode /usr/lib/postgresql/*/lib/llvmjit* /usr/lib/*/libLLVM* /usr/lib/*/libz3.so*; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log

FROM rust:1.95-slim-trixie AS builder
# The base brings the C compiler that the compression and cryptography libraries need.
WORKDIR /build
# The dependencies change seldom: built alone, they are a layer of their own.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it \
    && echo "//! Placeholder." > src/lib.rs \
    && touch tests/it/main.rs \
    && printf '//! Placeholder.\nfn main() {}\n' > src/main.rs \
    && cargo build --release --locked --bin savepoint \
    && rm -r src tests
COPY src src
# The placeholder's time stamps are newer than the sources'.
RUN mkdir -p tests/it && touch src/lib.rs src/main.rs tests/it/main.rs \
    && cargo build --release --locked --bin savepoint

FROM full-runtime AS full
COPY --from=builder /build/target/release/savepoint /usr/local/bin/savepoint

FROM slim-runtime AS slim
COPY --from=builder /build/target/release/savepoint /usr/local/bin/savepoint

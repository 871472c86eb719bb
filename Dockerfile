# One image for every host of a stack: the command says what a container is. Without BuildKit, so that any engine can build it.
# debian:bookworm-slim comes from a registry; where none can be reached: deploy/base-image.

FROM debian:bookworm-slim AS system
# The distribution's Python, as everywhere (docs/decisions/009); nginx-light has all that the templates use.
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
      nginx-light libnginx-mod-http-lua python3 \
 && rm -rf /var/lib/apt/lists/*

FROM system AS packages
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv ca-certificates
WORKDIR /srv/bulkhead
COPY requirements.lock ./
# First without the source: this layer is made again only when a dependency changes.
RUN python3 -m venv .venv \
 && .venv/bin/python -m pip install -qq --disable-pip-version-check --no-cache-dir --require-hashes -r requirements.lock
COPY . .
# Compiled now: at run time nobody may write here.
RUN .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e . \
 && .venv/bin/python -m compileall -q bulkhead services loadtest

FROM system AS host
RUN useradd --system --uid 10001 --home-dir /srv/bulkhead --shell /usr/sbin/nologin bulkhead \
 && install -d -o bulkhead -g bulkhead -m 0700 /var/lib/bulkhead
COPY --from=packages /srv/bulkhead /srv/bulkhead
WORKDIR /srv/bulkhead
ENV PATH=/srv/bulkhead/.venv/bin:/usr/sbin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER bulkhead
# The whole stack on one host, if nobody says otherwise (BULKHEAD_SET). `serve` becomes supervisord by exec: SIGTERM reaches it.
CMD ["bulkhead", "serve"]
STOPSIGNAL SIGTERM
# Not a static page: each instance is asked in its own name, and nginx where there is one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["bulkhead", "status", "--json"]

FROM debian:bookworm-slim AS database
# The numbers that Debian's package would choose here, said aloud: volumes belong to them, and Kubernetes names users by number.
RUN groupadd --system --gid 102 postgres \
 && useradd --system --uid 100 --gid 102 --home-dir /var/lib/postgresql --shell /bin/bash postgres
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql \
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql
COPY deploy/database /usr/local/bin/database
USER postgres
ENV PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/bin
CMD ["database"]
# SIGINT is PostgreSQL's "fast": transactions under way are rolled back, everything else is written down.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=2s --timeout=2s --start-period=20s CMD ["psql", "-qAt", "-h", "/tmp", "-U", "bulkhead", "-c", "SELECT 1"]

# One image for every host of a stack: the command says what a container is. Without BuildKit, so that any engine can build it.
# debian:bookworm-slim comes from a registry; where none can be reached: deploy/base-image.
#
# What is shipped begins with `FROM scratch` and copies what a stage has made: how the building machine reaches packages (var/build,
# from deploy/base-image; nothing where there is none) is in the layers of the stages alone.

FROM debian:bookworm-slim AS reach
COPY requirements.host.lock var/buil[d] /reach/
ENV APT_CONFIG=/reach/apt.conf PIP_CONFIG_FILE=/reach/pip.conf DEBIAN_FRONTEND=noninteractive
RUN touch -a /reach/apt.conf /reach/pip.conf

FROM reach AS system
# The distribution's Python, as everywhere (docs/decisions/009); nginx-light has all that the templates use.
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends nginx-light libnginx-mod-http-lua python3
RUN useradd --system --uid 10001 --home-dir /srv/bulkhead --shell /usr/sbin/nologin bulkhead \
 && install -d -o bulkhead -g bulkhead -m 0700 /var/lib/bulkhead

FROM system AS packages
RUN apt-get install -qq -y --no-install-recommends python3-venv
WORKDIR /srv/bulkhead
# Without the extra `dev`, which no host needs. First without the source: this layer is made again only when a dependency changes.
RUN python3 -m venv .venv \
 && if [ -e /reach/certificates.crt ]; then export PIP_CERT=/reach/certificates.crt; fi \
 && .venv/bin/python -m pip install -qq --disable-pip-version-check --no-cache-dir --require-hashes -r /reach/requirements.host.lock
COPY . .
# Compiled now: at run time nobody may write here.
RUN rm -rf var \
 && .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e . \
 && .venv/bin/python -m compileall -q bulkhead services loadtest

FROM system AS host-root
RUN rm -rf /reach /var/lib/apt/lists/* /var/cache/apt/* && find /var/log -type f -delete

FROM scratch AS host
COPY --from=host-root / /
COPY --from=packages /srv/bulkhead /srv/bulkhead
WORKDIR /srv/bulkhead
ENV PATH=/srv/bulkhead/.venv/bin:/usr/sbin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
USER bulkhead
# The whole stack on one host, if nobody says otherwise (BULKHEAD_SET). `serve` becomes supervisord by exec: SIGTERM reaches it.
CMD ["bulkhead", "serve"]
STOPSIGNAL SIGTERM
# At first whether all of it can serve, then whether supervisord and the watchdog work (docs/containers.md, "Health").
HEALTHCHECK --interval=10s --timeout=15s --start-period=20s CMD ["deploy/health"]

FROM reach AS database-root
# The numbers that Debian's package would choose here, said aloud: volumes belong to them, and Kubernetes names users by number.
RUN groupadd --system --gid 102 postgres \
 && useradd --system --uid 100 --gid 102 --home-dir /var/lib/postgresql --shell /bin/bash postgres
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends postgresql \
 && rm -rf /reach /var/lib/apt/lists/* /var/cache/apt/* /var/lib/postgresql \
 && find /var/log -type f -delete \
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql
COPY deploy/database /usr/local/bin/database

FROM scratch AS database
COPY --from=database-root / /
USER postgres
ENV PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/bin
CMD ["database"]
# SIGINT is PostgreSQL's "fast": transactions under way are rolled back, everything else is written down.
STOPSIGNAL SIGINT
HEALTHCHECK --interval=2s --timeout=2s --start-period=20s CMD ["psql", "-qAt", "-h", "/tmp", "-U", "bulkhead", "-c", "SELECT 1"]

#!/usr/bin/env bash
# Install what is missing, and nothing else: nginx and its Lua module from the system's packages, and .venv from
# requirements.lock. Further packages can be named, for what only some tests need: ./setup.sh postgresql mariadb-server
# Safe to repeat; with everything in place it takes a few milliseconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 4; }

# as_root COMMAND...: run a command as root, by sudo when this is an ordinary user.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# install PACKAGE...: by apt-get, without starting what they bring.
install() {
  command -v apt-get >/dev/null ||
    die "missing: $*. Install it with this system's package manager, then repeat."
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    die "missing: $*, and no sudo to install it. As root: apt-get install --no-install-recommends $*"
  say "installing $* (Debian/Ubuntu packages)"
  # nginx's own service would listen on port 80 of every address. Nothing of it may start.
  local policy=/usr/sbin/policy-rc.d own_policy="" failed=""
  if [ ! -e "$policy" ]; then
    own_policy=1
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT   # also when this is interrupted
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  { as_root apt-get update -qq &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"; } \
    >setup.log 2>&1 || failed=1
  if [ -n "$own_policy" ]; then as_root rm -f "$policy"; trap - EXIT; fi
  [ -z "$failed" ] || { tail -n 5 setup.log >&2; die "apt-get could not install $*; all it said is in setup.log"; }
  rm -f setup.log
}

has_nginx() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nginx >/dev/null; }

# has_lua: the watched balancer's module, where Debian's package puts it, or wherever this nginx has it.
has_lua() {
  [ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] && return
  local built
  built=$(PATH="$PATH:/usr/sbin:/usr/local/sbin" nginx -V 2>&1) || return
  [[ $built =~ --add-module=[^[:space:]]*(lua-nginx-module|ngx_lua|http-lua) ]] && return
  [[ $built =~ --modules-path=([^[:space:]]+) ]] && [ -e "${BASH_REMATCH[1]}/ngx_http_lua_module.so" ]
}

venv_is_current() { [ .venv/ready -nt requirements.lock ] && [ .venv/ready -nt pyproject.toml ]; }

# The distribution's own before others on the PATH: it is built with profile-guided optimization, and
# one that pyenv compiled is not. Here that is a fifth of every boot (docs/decisions/009).
find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null &&
       "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
}

has_package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q ' ok installed$'; }

missing=()
for package in "$@"; do has_package "$package" || missing+=("$package"); done

if [ "${#missing[@]}" = 0 ] && venv_is_current && has_nginx && has_lua; then exit 0; fi

# Two targets of one checkout may get here at once.
exec 9>.setup.lock
flock 9

has_nginx || missing+=(nginx)
has_lua || missing+=(libnginx-mod-http-lua)
if ! venv_is_current; then
  python=$(find_python)
  if [ -z "$python" ]; then
    missing+=(python3 python3-venv)
  elif ! "$python" -c 'import ensurepip' 2>/dev/null; then
    missing+=("$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
  fi
fi
if [ "${#missing[@]}" -gt 0 ]; then
  install "${missing[@]}"
  if [[ " ${missing[*]} " = *" nginx "* ]] && [ -d /run/systemd/system ]; then
    as_root systemctl disable --quiet nginx || true   # or it takes port 80 at the next start of the machine
  fi
fi

if ! venv_is_current; then
  python=$(find_python)
  [ -n "$python" ] || die "needs Python 3.11 or newer; found $(python3 --version 2>&1)"
  say "making .venv with $("$python" --version) and the packages of requirements.lock"
  "$python" -m venv .venv
  .venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
  .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
  touch .venv/ready
fi

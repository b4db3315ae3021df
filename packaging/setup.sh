# Sourced by packaging/try and packaging/test: packages, compiler, build folders. Needs Debian 12 and root (or sudo).
# Everything is safe to run again: what is there is left alone.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc)

say() { printf '\n== %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs the packages of packaging/packages.txt (first word a line; '#' starts a comment) that are missing.
install_packages() {
  local wanted missing=()
  wanted=$(sed 's/#.*//' "$top/packaging/packages.txt" | awk 'NF { print $1 }')
  for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  if [ "${#missing[@]}" -eq 0 ]; then
    echo "all packages of packaging/packages.txt are installed"
    return
  fi
  echo "installing: ${missing[*]}"
  as_root apt-get update -qq
  # nginx and friends are test peers here, not services: nothing may be started by installing them.
  local policy=/usr/sbin/policy-rc.d
  local mine=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    mine=1
  fi
  local failed=0
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >/tmp/wick-apt.$$ 2>&1 || failed=1
  [ "$mine" = 1 ] && as_root rm -f "$policy"
  if [ "$failed" = 1 ]; then
    tail -20 /tmp/wick-apt.$$
    echo "error: apt-get install failed" >&2
    exit 1
  fi
  rm -f /tmp/wick-apt.$$
}

# For those who compile once: eight files of a room at a time, and -O2. A clean build takes half as long; what is measured runs alike.
quick_build="--buildtype=release -Doptimization=2 --unity=on -Dunity_size=8"

# build_in FOLDER TARGETS... -- MESON_OPTIONS...: configures once, builds what changed.
build_in() {
  local folder=$top/$1
  shift
  local targets=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do targets+=("$1"); shift; done
  [ $# -gt 0 ] && shift
  export CCACHE_BASEDIR=$top CCACHE_NOHASHDIR=1
  if [ ! -f "$folder/build.ninja" ]; then
    (cd "$top" && CC="ccache clang-19" CXX="ccache clang++-19" meson setup "$folder" "$@" >"$folder.log" 2>&1) ||
      { tail -20 "$folder.log"; exit 1; }
    rm -f "$folder.log"
  fi
  ninja -C "$folder" -j "$jobs" --quiet "${targets[@]}"
}

#!/bin/sh
# run.sh TARGET SEEDS: fuzzes for WICK_FUZZ_SECONDS (10) seconds from the seed folder; new inputs go to a scratch folder.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
[ -d "$2" ] || { echo "no seed folder $2" >&2; exit 1; }
exec_status=0
"$1" -max_total_time="${WICK_FUZZ_SECONDS:-10}" -timeout=5 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 -verbosity=0 \
  -artifact_prefix="$scratch/" "$scratch" "$2" || exec_status=$?
if [ "$exec_status" != 0 ]; then
  for input in "$scratch"/crash-* "$scratch"/timeout-* "$scratch"/oom-* "$scratch"/leak-*; do
    [ -e "$input" ] && { echo "input that fails ($(basename "$input")), base64:"; base64 -w 120 "$input"; }
  done
fi
exit "$exec_status"

#!/bin/sh
# Checks a running hello-c at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
curl -fsS -m 60 "$URL/" | grep -q '^hello, .*from C$'
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' "$URL/nothing")" = 404 ]
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' --data x "$URL/")" = 405 ]
echo ok

#!/bin/sh
# Checks a running hello-java at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
curl -fsS -m 60 "$URL/" | grep -q '^hello, .*Java'
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' "$URL/nothing")" = 404 ]
echo ok

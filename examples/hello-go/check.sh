#!/bin/sh
# Checks a running hello-go at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
curl -fsS -m 60 "$URL/" | grep -q '^hello, .*go1'
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' "$URL/nothing")" = 404 ]
echo ok

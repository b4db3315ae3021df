#!/bin/sh
# Checks a running hello-ruby at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
curl -fsS -m 60 "$URL/" | grep -q '^hello, .*Ruby 3'
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' "$URL/nothing")" = 404 ]
echo ok

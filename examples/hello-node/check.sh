#!/bin/sh
# Checks a running hello-node at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
curl -fsS -m 60 "$URL/" | grep -q '^hello, .*Node.js'
[ "$(curl -fsS -m 10 -H 'Content-Type: text/plain' --data 'ping' "$URL/echo")" = ping ]
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' "$URL/nothing")" = 404 ]
echo ok

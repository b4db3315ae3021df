#!/bin/sh
# Checks a running function-node at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
[ "$(curl -fsS -m 60 "$URL/?name=Ada")" = 'hello, Ada, from a function' ]
[ "$(curl -fsS -m 10 -H 'Content-Type: application/json' -d '{"a":1}' "$URL/")" = '{"youSent":{"a":1}}' ]
event=$(curl -fsS -m 10 -i -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /check' -H 'ce-type: demo.greet' \
  -H 'Content-Type: application/json' -d '{"name":"Ada"}' "$URL/" | tr -d '\r')
echo "$event" | grep -qi '^ce-type: demo.greeted$'
echo "$event" | grep -q '"greeting":"hello, Ada"'
[ "$(curl -fsS -m 10 "$URL/health/readiness")" = OK ]
echo ok

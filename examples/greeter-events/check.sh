#!/bin/sh
# Checks a running greeter-events at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
send() {
  type=$1
  shift
  curl -sS -m 60 -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /check' -H "ce-type: $type" \
    -H 'Content-Type: application/json' "$@" "$URL/"
}
answer=$(send demo.greet -i --data '{"name":"Ada"}')
echo "$answer" | grep -qi '^ce-type: demo.greeted'
echo "$answer" | grep -q '{"greeting": "hello, Ada"}'
[ "$(send demo.other -o /dev/null -w '%{http_code}' --data '{}')" = 204 ]
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' --data '{}' "$URL/")" = 400 ]
echo ok

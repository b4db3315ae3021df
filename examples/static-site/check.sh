#!/bin/sh
# Checks a running static-site at $URL.
set -eu
: "${URL:?set URL to where the service answers}"
curl -fsS -m 60 "$URL/" | grep -q '<h1>Hello from a folder of files</h1>'
curl -fsS -m 10 "$URL/about.html" | grep -q '<h1>About</h1>'
curl -fsS -m 10 -o /dev/null -w '%{content_type}' "$URL/style/site.css" | grep -q '^text/css'
[ "$(curl -sS -m 10 -o /dev/null -w '%{http_code}' "$URL/nothing.html")" = 404 ]
echo ok

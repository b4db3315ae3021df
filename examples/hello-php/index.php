<?php
// Every path that is no file comes here.
header('Content-Type: text/plain; charset=utf-8');
$who = getenv('TARGET') ?: 'world';
if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) === '/') {
    echo "hello, $who, from PHP ", PHP_VERSION, "\n";
} else {
    http_response_code(404);
    echo "not found\n";
}

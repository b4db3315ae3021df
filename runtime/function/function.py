"""Serves a function that has no server of its own: python3 function.py FILE (or the folder of a package).

Knative's conventions (knative/func): the module has new(), which gives an object with an asynchronous
handle(scope, receive, send) and perhaps start(config), stop(), alive() and ready(); or handle, main or handler: an ASGI
coroutine of three parameters, or a function (plain or async) of (context, event), (context) or nothing. With a CloudEvent
(binary or structured) the event is the second parameter, context.cloud_event and scope["event"]; else the second is the
body. What it returns is the answer: an event (a dict or object with specversion and type), (body, status, headers), a dict
or list as JSON, a text or bytes as they are, None as 204. Python 3.9 or newer, no packages.
"""
import asyncio
import base64
import importlib
import inspect
import json
import logging
import os
import signal
import sys
import threading
import traceback
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_BYTES_MAX = int(os.environ.get("FUNC_BODY_LIMIT") or 32 << 20)
LIVENESS = os.environ.get("LIVENESS_URL") or "/health/liveness"
READINESS = os.environ.get("READINESS_URL") or "/health/readiness"


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class CloudEvent(dict):
    """The attributes, as a dict and as members; `data` is decoded."""

    def __init__(self, attributes, data=None):
        super().__init__(attributes)
        self.data = data

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def get_data(self):
        return self.data

    def get_attributes(self):
        return dict(self)


def media_type(headers):
    return headers.get("content-type", "").split(";")[0].strip().lower()


def is_json(kind):
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def parse_json(data):
    try:
        return json.loads(data)
    except ValueError as error:
        raise Refused(400, f"the body is no JSON: {error}") from None


def parsed_body(data, kind):
    if not data:
        return None
    if is_json(kind):
        return parse_json(data)
    if kind == "application/x-www-form-urlencoded":
        return dict(urllib.parse.parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True))
    return data.decode("utf-8", "replace") if kind == "" or kind.startswith("text/") or kind.endswith("xml") else data


def event_of(headers, body):
    kind = media_type(headers)
    if kind == "application/cloudevents+json":
        attributes = parse_json(body)
        if not isinstance(attributes, dict):
            raise Refused(400, "the body is no CloudEvent")
        data = attributes.pop("data", None)
        encoded = attributes.pop("data_base64", None)
        if encoded is not None:
            data = base64.b64decode(str(encoded))
    elif "ce-specversion" in headers:
        # CloudEvents HTTP binding 1.0.2, 3.1.3.2: what is no printable ASCII travels in percent signs.
        attributes = {name[3:]: urllib.parse.unquote(value) for name, value in headers.items() if name.startswith("ce-")}
        if "content-type" in headers:
            attributes["datacontenttype"] = headers["content-type"]
        data = parsed_body(body, kind)
    else:
        return None
    for name in ("specversion", "id", "source", "type"):
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise Refused(400, f"the CloudEvent has no {name}")
    if attributes["specversion"] != "1.0":
        raise Refused(400, f"CloudEvents {attributes['specversion']} are not known, 1.0 are")
    return CloudEvent(attributes, data)


class Request:
    """What context.request is: the names of Flask's request that functions use."""

    def __init__(self, method, target, headers, body):
        parts = urllib.parse.urlsplit(target)
        self.method = method
        self.url = target
        self.path = urllib.parse.unquote(parts.path)
        self.args = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.headers = headers
        self.data = body
        self.content_type = headers.get("content-type")

    def get_data(self):
        return self.data

    def get_json(self, silent=False, **_):
        try:
            return parse_json(self.data) if self.data else None
        except Refused:
            if silent:
                return None
            raise

    @property
    def json(self):
        return self.get_json()

    @property
    def form(self):
        return dict(urllib.parse.parse_qsl(self.data.decode("utf-8", "replace"), keep_blank_values=True))


class Context:
    def __init__(self, request, event):
        self.request = request
        self.cloud_event = self.cloudevent = event
        self.method, self.path, self.url = request.method, request.path, request.url
        self.query, self.headers, self.raw_body = request.args, request.headers, request.data
        self.body = event.data if event is not None else parsed_body(request.data, media_type(request.headers))
        self.log = logging.getLogger("function")


def as_bytes(value):
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    return value.encode() if isinstance(value, str) else json.dumps(value, default=str).encode()


def type_of(value):
    if isinstance(value, (bytes, bytearray)):
        return "application/octet-stream"
    return "text/plain; charset=utf-8" if isinstance(value, str) else "application/json"


def is_event(value):
    if isinstance(value, dict):
        return isinstance(value.get("specversion"), str) and isinstance(value.get("type"), str)
    return callable(getattr(value, "get_attributes", None))  # of the cloudevents package


def answer_of_event(value):
    attributes = dict(value.get_attributes() if callable(getattr(value, "get_attributes", None)) else value)
    data = value.get_data() if callable(getattr(value, "get_data", None)) else attributes.get("data")
    encoded = attributes.get("data_base64")
    if encoded is not None:
        data = base64.b64decode(encoded)
    attributes.setdefault("id", str(uuid.uuid4()))
    attributes.setdefault("source", "/" + os.environ.get("K_SERVICE", "function"))
    headers = {"content-type": attributes.get("datacontenttype") or type_of(data if data is not None else {})}
    for name, text in attributes.items():
        if name not in ("data", "data_base64", "datacontenttype") and text is not None:
            text = text.isoformat() if hasattr(text, "isoformat") else str(text)
            headers["ce-" + name] = urllib.parse.quote(text, safe="!#$&'()*+,/:;<=>?@[\\]^_`{|}~.-")
    return 200, headers, as_bytes(data)


def answer_of(value):
    if is_event(value):
        return answer_of_event(value)
    status, headers = 200, {}
    if isinstance(value, tuple):
        for part in value[1:]:
            if isinstance(part, int):
                status = part
            elif part is not None:
                headers = {str(name).lower(): str(text) for name, text in dict(part).items()}
        value = value[0] if value else None
    elif isinstance(value, dict) and ("statusCode" in value or "body" in value) and set(value) <= {"statusCode", "headers", "body"}:
        status = int(value.get("statusCode") or 200)
        headers = {str(name).lower(): str(text) for name, text in (value.get("headers") or {}).items()}
        value = value.get("body")
    if value is None and status == 200 and not headers:
        return 204, {}, b""
    headers.setdefault("content-type", type_of(value))
    return status, headers, as_bytes(value)


def parameters_of(function):
    """How many positional parameters it takes; two where it takes any number."""
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 2
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


class Function:
    """The user's module: called from any thread; coroutines run on one loop."""

    def __init__(self, module, name):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name="function").start()
        target = os.environ.get("FUNCTION_TARGET")
        self.instance = module
        made = getattr(module, "new", None)
        if callable(made) and not target:
            self.instance = self.run(made())
            self.handle = getattr(self.instance, "handle", None)
        else:
            names = [target] if target else ["handle", "main", "handler"]
            self.handle = next((getattr(module, each) for each in names if callable(getattr(module, each, None))), None)
        if not callable(self.handle):
            raise SystemExit(f"{name} has no function {target or 'new, handle, main or handler'}")
        self.parameters = parameters_of(self.handle)
        if self.parameters > 3:
            raise SystemExit(f"{name}: the function takes {self.parameters} parameters; (context, event) or (scope, receive, send) are given")

    def run(self, result):
        return asyncio.run_coroutine_threadsafe(self.settle(result), self.loop).result()

    @staticmethod
    async def settle(result):
        return await result if inspect.isawaitable(result) else result

    def hook(self, name, *arguments):
        """start, stop, alive or ready, where there is one."""
        hook = getattr(self.instance, name, None)
        if self.instance is None or inspect.ismodule(self.instance) or not callable(hook):
            return None
        return self.run(hook(*arguments[: parameters_of(hook)]))

    def call(self, method, target, headers, body):
        event = event_of(headers, body)
        if self.parameters == 3:
            return self.run(self.call_asgi(method, target, headers, body, event))
        context = Context(Request(method, target, headers, body), event)
        second = event if event is not None else context.body
        result = self.handle(*(context, second)[: self.parameters])
        return answer_of(self.run(result) if inspect.isawaitable(result) else result)

    async def call_asgi(self, method, target, headers, body, event):
        parts = urllib.parse.urlsplit(target)
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method, "scheme": "http",
                 "path": urllib.parse.unquote(parts.path), "raw_path": parts.path.encode(), "query_string": parts.query.encode(), "root_path": "",
                 "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()], "client": None, "server": None}
        if event is not None:
            scope["event"] = event
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        out = {"status": 0, "headers": {}, "body": b""}

        async def receive():
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message):
            if not isinstance(message, dict) or is_event(message):  # an event, as func's CloudEvent functions send it
                out["status"], out["headers"], out["body"] = answer_of_event(message)
            elif message["type"] == "http.response.start":
                out["status"] = message["status"]
                out["headers"] = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", [])]
            elif message["type"] == "http.response.body":
                out["body"] += message.get("body", b"")

        await self.handle(scope, receive, send)
        if not out["status"]:
            return 204, {}, b""
        return out["status"], out["headers"], out["body"]


def load(name):
    path = os.path.abspath(name)
    folder, base = os.path.split(path)
    sys.path.insert(0, folder)
    return importlib.import_module(base[:-3] if base.endswith(".py") else base)


def handler_of(function):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body leave together

        def log_message(self, *_):
            pass

        def body(self):
            if "chunked" in self.headers.get("transfer-encoding", "").lower():
                parts, count = [], 0
                while True:
                    size = int(self.rfile.readline(1000).split(b";")[0], 16)
                    if size == 0:
                        break
                    count += size
                    if count > BODY_BYTES_MAX:
                        self.close_connection = True
                        raise Refused(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
                    parts.append(self.rfile.read(size))
                    self.rfile.readline(10)
                while self.rfile.readline(65536) not in (b"\r\n", b"\n", b""):
                    pass
                return b"".join(parts)
            size = int(self.headers.get("content-length") or 0)
            if size > BODY_BYTES_MAX:
                self.close_connection = True
                raise Refused(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
            return self.rfile.read(size)

        def answer(self):
            place = self.path.split("?")[0]
            if self.command == "GET" and place in (LIVENESS, READINESS):
                good = function.hook("alive" if place == LIVENESS else "ready")
                good, said = good if isinstance(good, tuple) else (good in (None, True), "")
                return (200 if good else 503), {"content-type": "text/plain; charset=utf-8"}, as_bytes(said or ("OK" if good else "not OK"))
            headers = {}
            for name, value in self.headers.items():
                name = name.lower()
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            return function.call(self.command, self.path, headers, self.body())

        def serve(self):
            self.server.count(1)
            try:
                self.exchange()
            finally:
                self.server.count(-1)

        def exchange(self):
            try:
                status, headers, body = self.answer()
            except Refused as error:
                status, headers, body = error.status, {"content-type": "text/plain; charset=utf-8"}, str(error).encode()
            except ConnectionError:
                self.close_connection = True
                return
            except Exception as error:
                traceback.print_exc()
                status, headers, body = 500, {"content-type": "text/plain; charset=utf-8"}, str(error).encode()
            self.send_response_only(status)
            for name, value in headers.items() if isinstance(headers, dict) else headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            if status >= 200 and status not in (204, 304):
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD" and status not in (204, 304):
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve

    return Handler


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True  # idle connections do not keep the process

    def __init__(self, *arguments):
        self.busy, self.changed, self.ending = 0, threading.Condition(), False
        super().__init__(*arguments)

    def count(self, step):
        with self.changed:
            self.busy += step
            self.changed.notify_all()

    def service_actions(self):
        """Between requests: an exception out of a signal's handler may have come where Python drops it, in a destructor."""
        if self.ending:
            raise Ended

    def wait_idle(self):
        with self.changed:
            self.changed.wait_for(lambda: self.busy == 0)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Ended(BaseException):
    """SIGTERM: what is being answered is answered, then stop() is called."""


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: python3 function.py FILE")
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("LOG_LEVEL", "INFO").upper(), format="%(levelname)s: %(message)s")
    function = Function(load(sys.argv[1]), sys.argv[1])
    function.hook("start", dict(os.environ))
    port = os.environ.get("PORT") or os.environ.get("LISTEN_ADDRESS", "").rpartition(":")[2] or 8080
    server = Server(("0.0.0.0", int(port)), handler_of(function))

    def end(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server.ending = True
        raise Ended

    try:
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        server.serve_forever(poll_interval=5)
    except Ended:
        pass
    server.server_close()
    server.wait_idle()
    function.hook("stop")


if __name__ == "__main__":
    main()

"""runtime/function: what a function without a server is called with, and what becomes of what it returns.

The same table for both languages where they agree; free ports, real processes.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

SHIMS = pathlib.Path(__file__).resolve().parents[3] / "runtime/function"
EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/test", "ce-type": "t", "Content-Type": "application/json"}


class Served:
    """A function in a process of its own; `with` ends it as wick does."""

    def __init__(self, command, shim, name, text, **environment):
        self.folder = tempfile.TemporaryDirectory(prefix="wick-function-")
        path = pathlib.Path(self.folder.name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen([command, str(SHIMS / shim), name], cwd=self.folder.name, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=dict(os.environ, PORT=str(self.port), **environment))

    def __enter__(self):
        while self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                pass
        self.__exit__()
        raise AssertionError("it ended: " + self.err)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.out, self.err = self.process.communicate(timeout=20)
        self.folder.cleanup()

    def call(self, path="/", method="GET", body=None, headers=None, chunked=False):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, iter([body]) if chunked else body, headers or {}, encode_chunked=chunked)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, data.decode()


NODE = """
exports.handle = async (context, body) => {
  switch (context.path) {
    case '/text': return 'hello';
    case '/nothing': return;
    case '/full': return { statusCode: 201, headers: { 'X-A': '1', 'Content-Type': 'text/html' }, body: '<b>' };
    case '/bytes': return Buffer.from([104, 105]);
    case '/throw': throw new Error('it broke');
    case '/teapot': throw Object.assign(new Error('no coffee'), { code: 418 });
    case '/event': return { specversion: '1.0', type: 'out', source: '/me', id: 'ä b', data: { got: context.cloudevent.data } };
    default: return { method: context.method, query: context.query, got: body === undefined ? null : body };
  }
};
"""
PYTHON = """
class Teapot(Exception):
    pass

def handle(context, body):
    path = context.path
    if path == "/text": return "hello"
    if path == "/nothing": return None
    if path == "/full": return "<b>", 201, {"X-A": "1", "Content-Type": "text/html"}
    if path == "/bytes": return b"hi"
    if path == "/throw": raise ValueError("it broke")
    if path == "/event": return {"specversion": "1.0", "type": "out", "source": "/me", "id": "\\u00e4 b", "data": {"got": context.cloud_event.data}}
    return {"method": context.method, "query": context.query, "got": getattr(body, "data", body)}
"""


class Table:
    """What both shims do."""

    def test_every_path_and_method_reaches_the_function(self):
        with self.served() as function:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                status, headers, body = function.call("/any/path?a=1&b=2", method)
                self.assertEqual((status, json.loads(body)), (200, {"method": method, "query": {"a": "1", "b": "2"}, "got": None}))
                self.assertTrue(headers["content-type"].startswith("application/json"))
            self.assertEqual(function.call("/text", "HEAD")[2], "")

    def test_a_body_is_parsed_by_its_type_whatever_its_framing(self):
        with self.served() as function:
            for chunked in (False, True):
                status, _, body = function.call("/", "POST", b'{"x": 1}', {"Content-Type": "application/json"}, chunked)
                self.assertEqual((status, json.loads(body)["got"]), (200, {"x": 1}))
            self.assertEqual(json.loads(function.call("/", "POST", b"a=1&b=c", {"Content-Type": "application/x-www-form-urlencoded"})[2])["got"],
                             {"a": "1", "b": "c"})
            self.assertEqual(json.loads(function.call("/", "POST", b"plain", {"Content-Type": "text/plain"})[2])["got"], "plain")
            status, _, body = function.call("/", "POST", b"{", {"Content-Type": "application/json"})
            self.assertEqual((status, body.startswith("the body is no JSON: ")), (400, True))

    def test_what_it_returns_is_the_answer(self):
        with self.served() as function:
            self.assertEqual(function.call("/text")[::2], (200, "hello"))
            self.assertEqual(function.call("/nothing")[::2], (204, ""))
            self.assertEqual(function.call("/bytes")[::2], (200, "hi"))
            status, headers, body = function.call("/full")
            self.assertEqual((status, headers["x-a"], headers["content-type"], body), (201, "1", "text/html", "<b>"))

    def test_an_error_of_the_function_is_a_500_that_says_so_and_is_logged(self):
        with self.served() as function:
            self.assertEqual(function.call("/throw")[::2], (500, "it broke"))
            self.assertEqual(function.call("/text")[0], 200)
        self.assertIn("it broke", function.err)

    def test_an_event_comes_in_both_modes_and_goes_out_in_binary(self):
        structured = {"specversion": "1.0", "id": "1", "source": "/test", "type": "t", "data": {"x": 1}}
        with self.served() as function:
            for headers, body in ((EVENT, b'{"x": 1}'), ({"Content-Type": "application/cloudevents+json"}, json.dumps(structured).encode())):
                status, answer, data = function.call("/event", "POST", body, headers)
                self.assertEqual((status, json.loads(data)), (200, {"got": {"x": 1}}))
                self.assertEqual({name: answer[name] for name in ("ce-specversion", "ce-type", "ce-source", "ce-id")},
                                 {"ce-specversion": "1.0", "ce-type": "out", "ce-source": "/me", "ce-id": "%C3%A4%20b"})

    def test_what_is_no_event_is_refused_with_the_reason(self):
        with self.served() as function:
            for name in ("ce-id", "ce-source", "ce-type"):
                headers = {key: value for key, value in EVENT.items() if key != name}
                self.assertEqual(function.call("/", "POST", b"{}", headers)[::2], (400, f"the CloudEvent has no {name[3:]}"))
            self.assertEqual(function.call("/", "POST", b"{}", {**EVENT, "ce-specversion": "0.3"})[0], 400)
            self.assertEqual(function.call("/", "POST", b"[]", {"Content-Type": "application/cloudevents+json"})[0], 400)

    def test_a_body_over_the_limit_is_refused(self):
        with self.served(FUNC_BODY_LIMIT="1000") as function:
            for chunked in (False, True):
                try:
                    self.assertEqual(function.call("/", "POST", b"x" * 2000, {"Content-Type": "text/plain"}, chunked)[0], 413)
                except ConnectionError:
                    pass  # it was refused before all was sent
            self.assertEqual(function.call("/", "POST", b"x" * 1000, {"Content-Type": "text/plain"})[0], 200)

    def test_probes_answer_and_sigterm_ends_it_well(self):
        with self.served() as function:
            self.assertEqual(function.call("/health/liveness")[::2], (200, "OK"))
            self.assertEqual(function.call("/health/readiness")[::2], (200, "OK"))
        self.assertEqual(function.process.returncode, 0)

    def test_calls_run_side_by_side(self):
        with self.served() as function, concurrent.futures.ThreadPoolExecutor(20) as pool:
            self.assertEqual({status for status, _, _ in pool.map(lambda _: function.call("/text"), range(200))}, {200})


class Python(Table, unittest.TestCase):
    def served(self, text=PYTHON, name="func.py", **environment):
        return Served(sys.executable, "function.py", name, text, **environment)

    def test_an_object_of_new_is_an_asgi_application_with_hooks(self):
        with self.served("""
class Function:
    def start(self, config): self.greeting = config["GREETING"]
    def ready(self): return False, "not yet"
    def stop(self): print("stopped", flush=True)
    async def handle(self, scope, receive, send):
        message = await receive()
        assert scope["type"] == "http" and (b"x-a", b"1") in scope["headers"], scope
        await send({"type": "http.response.start", "status": 202, "headers": [[b"content-type", b"text/plain"]]})
        await send({"type": "http.response.body", "body": self.greeting.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": message["body"]})

def new():
    return Function()
""", "function.py", GREETING="hi ") as function:
            self.assertEqual(function.call("/", "POST", b"you", {"X-A": "1"})[::2], (202, "hi you"))
            self.assertEqual(function.call("/health/readiness")[::2], (503, "not yet"))
        self.assertEqual(function.out, "stopped\n")

    def test_sigterm_ends_it_where_python_drops_the_exception_too(self):
        # As the end of a thread's object does it, whose callback may be what runs when the signal comes.
        with self.served("""
import os, signal, socketserver
class Last:
    def __del__(self): os.kill(os.getpid(), signal.SIGTERM); len('the handler runs by here')
accept = socketserver.TCPServer.get_request
def get_request(self):
    Last()
    return accept(self)
socketserver.TCPServer.get_request = get_request
def main(context): return 'x'
""") as function:
            self.assertEqual(function.process.wait(20), 0)
        self.assertIn("Exception ignored in", function.err)

    def test_a_plain_function_of_one_parameter_has_a_request(self):
        with self.served("async def main(context):\n    r = context.request\n    return {'m': r.method, 'a': r.args, 'j': r.get_json(silent=True)}\n") as function:
            self.assertEqual(json.loads(function.call("/?a=1", "POST", b"{}")[2]), {"m": "POST", "a": {"a": "1"}, "j": {}})

    def test_a_module_without_a_function_says_what_was_looked_for(self):
        with self.assertRaisesRegex(AssertionError, "func.py has no function new, handle, main or handler"):
            self.served("x = 1\n").__enter__()
        with self.served("def mine(context):\n    return 'mine'\n", FUNCTION_TARGET="mine") as function:
            self.assertEqual(function.call()[2], "mine")


@unittest.skipUnless(shutil.which("node"), "there is no node")
class Node(Table, unittest.TestCase):
    def served(self, text=NODE, name="index.js", **environment):
        return Served("node", "function.cjs", name, text, **environment)

    def test_an_error_may_choose_its_status(self):
        with self.served() as function:
            self.assertEqual(function.call("/teapot")[::2], (418, "no coffee"))

    def test_modules_of_both_kinds_and_their_hooks(self):
        with self.served("""
let greeting;
export const init = () => { greeting = 'hi'; };
export const shutdown = () => console.log('stopped');
export const handle = (context) => `${greeting} ${context.query.name}`;
""", "handler.mjs") as function:
            self.assertEqual(function.call("/?name=Ada")[2], "hi Ada")
        self.assertEqual(function.out, "stopped\n")
        with self.served("module.exports = (context) => context.name;") as function:
            self.assertEqual(function.call("/?name=Ada")[2], "Ada")

    def test_an_event_is_answered_by_the_context(self):
        with self.served("module.exports = { handle: (c, e) => c.cloudEventResponse(e.data.x).type('a.b').source('/s').id('7').response() };") as function:
            status, headers, body = function.call("/", "POST", b'{"x": "y"}', EVENT)
            self.assertEqual((status, headers["ce-type"], headers["ce-source"], headers["ce-id"], body), (200, "a.b", "/s", "7", "y"))

    def test_a_file_without_a_function_says_what_was_looked_for(self):
        with self.assertRaisesRegex(AssertionError, "exports no function: looked for handle, main, handler and the default export"):
            self.served("exports.x = 1;").__enter__()


if __name__ == "__main__":
    unittest.main(verbosity=2)

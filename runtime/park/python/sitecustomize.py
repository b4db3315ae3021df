# Parks a Python program: the interpreter is booted and standard modules are loaded, then it waits for a byte on a socket
# before the program's own code begins. Found by PYTHONPATH, put there by wick (src/serving/park.cpp); the socket's number
# is in WICK_PARK_FD. It takes itself out of environment and path first: what the program starts does not park, and an
# image's own sitecustomize is run as if this one were not there. The end of the socket means that nobody will ever ask:
# the process ends. Opt out: wick.dev/park: never.
import os
import sys


def _leave():
    folder = os.path.dirname(__file__)
    rest = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each != folder]
    if rest and rest != [""]:
        os.environ["PYTHONPATH"] = os.pathsep.join(rest)
    else:
        os.environ.pop("PYTHONPATH", None)
    sys.path[:] = [each for each in sys.path if each != folder]
    sys.path_importer_cache.pop(folder, None)


def _park():
    fd = int(os.environ.pop("WICK_PARK_FD", "-1"))
    if fd < 3:
        return
    for name in ("argparse", "asyncio", "base64", "concurrent.futures", "contextlib", "copy", "dataclasses", "datetime", "decimal", "email.message",
                 "email.parser", "functools", "hashlib", "html", "http.client", "http.cookies", "http.server", "inspect", "io", "json", "logging",
                 "logging.config", "mimetypes", "multiprocessing", "pathlib", "pickle", "queue", "random", "re", "secrets", "selectors", "shutil",
                 "signal", "socket", "socketserver", "ssl", "struct", "subprocess", "tempfile", "threading", "time", "traceback", "types", "typing",
                 "urllib.parse", "urllib.request", "uuid", "weakref", "wsgiref.simple_server", "zlib"):
        try:
            __import__(name)
        except Exception:  # a slim build without it
            pass
    try:
        os.write(fd, b"P")
        said = os.read(fd, 1)
        os.close(fd)
    except OSError:
        said = b""
    if not said:
        os._exit(0)


_leave()
_park()
_ours = sys.modules.pop("sitecustomize", None)
try:
    import sitecustomize  # noqa: F401  the image's own
except ImportError:
    pass
finally:
    if "sitecustomize" not in sys.modules and _ours is not None:
        sys.modules["sitecustomize"] = _ours

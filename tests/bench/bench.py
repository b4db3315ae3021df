"""What the groups share: the release build, the program, a daemon of their own, the figures' lines."""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent


def say(text):
    print(text, flush=True)


def build_wick():
    """The release binary: $WICK if that is set, else built in build-bench."""
    if not os.environ.get("WICK"):
        folder = TOP / "build-bench"
        environment = dict(os.environ, CC=os.environ.get("CC", "clang-19"), CXX=os.environ.get("CXX", "clang++-19"))
        if not (folder / "build.ninja").exists():
            # As packaging/setup.sh builds it.
            options = ["--buildtype=release", "-Doptimization=2", "--unity=on", "-Dunity_size=8", "-Dtests=false"]
            subprocess.run(["meson", "setup", folder, *options], cwd=TOP, env=environment, check=True,
                           stdout=subprocess.DEVNULL)
        say("building src/app/wick in build-bench")
        subprocess.run(["ninja", "-C", folder, "src/app/wick"], env=environment, check=True, stdout=subprocess.DEVNULL)
        os.environ["WICK"] = str(folder / "src/app/wick")
    return os.environ["WICK"]


def build_upstream(folder):
    program = pathlib.Path(folder) / "server"
    subprocess.run(["cc", "-O2", "-static", "-o", program, HERE / "upstream.c"], check=True)
    return program


class Bench:
    """A temporary folder, a daemon on it, the static program deployed as service `bench`. Everything is gone afterwards."""

    def __init__(self, flags=(), deploy=()):
        build_wick()
        sys.path.insert(0, str(TOP / "tests/integration/e2e"))
        import fixture  # reads $WICK
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wick-bench-"))
        self.folder.chmod(0o755)
        state = self.folder / "state"
        state.mkdir(mode=0o755)
        self.daemon = fixture.Daemon(state=str(state), flags=flags)
        self.deploy_flags = deploy
        self.eventually = fixture.eventually

    def __enter__(self):
        try:
            self.daemon.start()
            project = self.folder / "project"
            project.mkdir()
            self.program = build_upstream(project)
            (project / "Dockerfile").write_text('FROM scratch\nCOPY --chmod=755 server /server\nCMD ["/server"]\n')
            self.daemon.cli("deploy", str(project), "--name", "bench", "--json", *self.deploy_flags)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.daemon.process and self.daemon.process.poll() is None:
                self.daemon.cli("rm", "bench", "--yes", check=False)
        finally:
            self.daemon.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def instances(self):
        return self.daemon.instances("bench")


def summary(values, unit):
    ordered = sorted(values)
    return (f"median {statistics.median(ordered):.2f} {unit}, min {ordered[0]:.2f}, max {ordered[-1]:.2f}, "
            f"{len(ordered)} samples")


def figure(name, value, bar, at_most):
    """One line a figure: whoever reads a run greps for these."""
    good = value <= bar if at_most else value >= bar
    say(f"figure {name} {value:.3f} bar {bar:g} {'ok' if good else 'short'}")

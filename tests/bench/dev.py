"""`wick dev`: from a save, as vim does it, to the first answer of the new code. The interpreter and its libraries are a layer of their own,
which a save does not touch; the request that sees the new code is sent again every 5 ms.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from bench import Bench, figure, say, summary
from wake import with_libraries

SAVES = int(os.environ.get("WICK_BENCH_SAMPLES", "11"))


def make_project(folder, program, file, tree):
    folder.mkdir()
    libraries = [program]
    if tree:
        shutil.copytree(tree, folder / "root" / tree.lstrip("/"), ignore=shutil.ignore_patterns("test", "idlelib", "config-*"))
        libraries += [str(each) for each in pathlib.Path(tree).glob("lib-dynload/*.so")]
        # Layers have times of their own, so compiled modules must not be checked against their sources' times.
        subprocess.run([program, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", folder / "root" / tree.lstrip("/")],
                       check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with_libraries(folder, *libraries)
    (folder / "Dockerfile").write_text(
        f'FROM scratch\nCOPY root/ /\nCOPY {file} /app/{file}\nWORKDIR /app\nCMD ["{program}", "/app/{file}"]\n')


def saves(bench, name, program, file, source, tree=None):
    import dev_test  # on the path since Bench
    folder = bench.folder / name
    make_project(folder, program, file, tree)
    (folder / file).write_text(source.replace("{}", "first").replace("{0}", "first"))
    dev = dev_test.Dev(bench.daemon, str(folder), "--name", name)
    taken = []
    try:
        dev.until_step("watching")
        for number in range(SAVES + 1):
            word = f"save{number}"
            begun = time.monotonic()
            dev_test.like_vim(folder / file, source.replace("{}", word).replace("{0}", word))
            bench.eventually(f"{word} is served", lambda: bench.daemon.request(name)[1] == word.encode(), 60, 0.005)
            if number:  # the first one warms up
                taken.append(time.monotonic() - begun)
            dev.until_step("live")
    finally:
        dev.close()
        bench.daemon.cli("rm", name, "--yes", check=False)
    say(f"{name:<11} {summary([each * 1000 for each in taken], 'ms')}")
    figure(f"{name.replace('-', '_')}_save_to_served_s", statistics.median(taken), 1, at_most=True)


def run():
    with Bench() as bench:
        import dev_test
        if os.path.exists("/usr/bin/node"):
            saves(bench, "dev-node", "/usr/bin/node", "server.js", dev_test.NODE)
        python = os.path.realpath("/usr/bin/python3")
        if os.path.exists(python):
            saves(bench, "dev-python", python, "main.py", dev_test.PYTHON, f"/usr/lib/{os.path.basename(python)}")

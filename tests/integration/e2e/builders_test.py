"""The builders that take long, or that ask the npm registry: every one builds a project, which then answers."""
import json
import os
import shutil
import subprocess
import sys
import time
import unittest
import zipfile

from fixture import TOP, Daemon, DaemonTest, main

EXAMPLES = ["hello-go", "hello-rust", "hello-java"]
SERVER = """
const ms = require('ms');
require('http').createServer((_, response) => response.end(`two days are ${ms('2 days')} ms`)).listen(process.env.PORT);
"""
BUILD = """
require('fs').mkdirSync('dist');
const tool = require('uglify-js');
require('fs').writeFileSync('dist/server.js', tool.minify(require('fs').readFileSync('server.js', 'utf8')).code);
"""


class Long(DaemonTest):
    def deployed(self, name, folder, *flags):
        began = time.monotonic()
        done = self.wick.cli("deploy", folder, "--name", name, *flags, timeout=1800)
        print(f"{name}: built and ready in {time.monotonic() - began:.1f} s", file=sys.stderr)
        status, body = self.wick.request(name)
        self.assertEqual(status, 200, body)
        return body.decode(), done.stderr

    def files_of(self, name, *folders):
        """Which of the paths a service's image has."""
        script = "for each in " + " ".join(folders) + "; do [ ! -e $each ] || echo $each; done"
        return self.wick.cli("exec", name, "--", "/bin/sh", "-c", script).stdout.split()


def example(name):
    def test(self):
        self.deployed(name, str(TOP / "examples" / name))
        subprocess.run(["sh", str(TOP / "examples" / name / "check.sh")], check=True,
                       env=dict(os.environ, URL=f"http://{name}.localhost:{self.wick.listen.rpartition(':')[2]}"))

    return test


class Compiled(Long):
    pass


for each in EXAMPLES:
    setattr(Compiled, "test_" + each.replace("-", "_") + "_is_built_and_answers", example(each))


class Node(Long):
    def package(self, **more):
        return json.dumps({"name": "days", "version": "1.0.0", "dependencies": {"ms": "2.1.3"}, **more})

    def lock(self, folder, *command):
        """The lock file, as the person who works on the project makes it."""
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    def test_npm_installs_what_the_lock_says_and_a_change_of_the_source_installs_nothing(self):
        folder = self.project("npm", **{"package.json": self.package(scripts={"start": "node server.js"},
                                                                     devDependencies={"uglify-js": "3.17.4"}), "server.js": SERVER})
        self.lock(folder, "npm", "install", "--package-lock-only")
        body, _ = self.deployed("npm", folder)
        self.assertEqual(body, "two days are 172800000 ms")
        self.assertEqual(self.files_of("npm", "/app/node_modules/ms", "/app/node_modules/uglify-js", "/usr/bin/npm"),
                         ["/app/node_modules/ms"])
        with open(os.path.join(folder, "server.js"), "a") as f:
            f.write("// changed\n")
        _, told = self.deployed("npm", folder)
        installs = [line for line in told.splitlines() if "target=/var/cache/node" in line]
        self.assertEqual(len(installs), 1, told)
        self.assertTrue(installs[0].endswith("cached"), told)

    def test_a_build_script_has_what_it_needs_and_the_image_has_not(self):
        folder = self.project("compiled", **{
            "package.json": self.package(scripts={"build": "node build.js", "start": "node dist/server.js"},
                                         devDependencies={"uglify-js": "3.17.4"}), "server.js": SERVER, "build.js": BUILD})
        body, _ = self.deployed("compiled", folder)
        self.assertEqual(body, "two days are 172800000 ms")
        self.assertEqual(self.files_of("compiled", "/app/dist/server.js", "/app/node_modules/ms", "/app/node_modules/uglify-js"),
                         ["/app/dist/server.js", "/app/node_modules/ms"])

    def test_pnpm(self):
        folder = self.project("pnpm", **{"package.json": self.package(scripts={"start": "node server.js"}), "server.js": SERVER})
        self.lock(folder, "npx", "--yes", "pnpm@9", "install", "--lockfile-only")
        self.assertEqual(self.deployed("pnpm", folder)[0], "two days are 172800000 ms")

    def test_yarn_classic(self):
        folder = self.project("yarn", **{"package.json": self.package(scripts={"start": "node server.js"}), "server.js": SERVER})
        self.lock(folder, "npx", "--yes", "yarn@1", "install", "--non-interactive")
        shutil.rmtree(os.path.join(folder, "node_modules"))
        self.assertEqual(self.deployed("yarn", folder)[0], "two days are 172800000 ms")

    def test_yarn_berry(self):
        folder = self.project("berry", **{
            "package.json": self.package(packageManager="yarn@4.5.0", scripts={"build": "node build.js", "start": "node dist/server.js"},
                                         devDependencies={"uglify-js": "3.17.4"}), "server.js": SERVER, "build.js": BUILD, "yarn.lock": ""})
        environment = dict(os.environ, YARN_NODE_LINKER="node-modules", YARN_ENABLE_IMMUTABLE_INSTALLS="false")
        subprocess.run(["npx", "--yes", "@yarnpkg/cli-dist@4.5.0", "install", "--mode", "update-lockfile"], cwd=folder, check=True, capture_output=True,
                       env=environment)
        body, _ = self.deployed("berry", folder)
        self.assertEqual(body, "two days are 172800000 ms")
        self.assertEqual(self.files_of("berry", "/app/node_modules/ms", "/app/node_modules/uglify-js"), ["/app/node_modules/ms"])


class Others(Long):
    def test_maven_with_debians_repository_and_no_network(self):
        plugins = [("resources", "3.3.0"), ("compiler", "3.10.1"), ("surefire", "2.22.3"), ("jar", "3.3.0")]
        xml = "".join(f"<plugin><artifactId>maven-{name}-plugin</artifactId><version>{version}</version>"
                      + ("<configuration><archive><manifest><mainClass>Main</mainClass></manifest></archive></configuration>" if name == "jar" else "")
                      + "</plugin>" for name, version in plugins)
        folder = self.project("maven", **{
            "pom.xml": "<project><modelVersion>4.0.0</modelVersion><groupId>x</groupId><artifactId>hello</artifactId><version>1</version>"
                       "<properties><maven.compiler.source>17</maven.compiler.source><maven.compiler.target>17</maven.compiler.target>"
                       "<project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>"
                       f"<build><plugins>{xml}</plugins></build></project>",
            ".mvn/maven.config": "--offline\n-Dmaven.repo.local=/usr/share/maven-repo\n-Dmaven.test.skip=true\n",
            "Aptfile": "".join(f"libmaven-{name}-plugin-java\n" for name in ("resources", "compiler", "jar")) + "libsurefire-java\n",
            "src/main/java/Main.java": (TOP / "examples/hello-java/Main.java").read_text()})
        self.assertIn("from Java 17", self.deployed("maven", folder)[0])

    def test_cmake_with_a_library_of_the_aptfile(self):
        folder = self.project("cmake", **{
            "CMakeLists.txt": "cmake_minimum_required(VERSION 3.20)\nproject(packed C)\nfind_package(ZLIB REQUIRED)\nadd_executable(packed server.c)\n"
                              "target_link_libraries(packed ZLIB::ZLIB pthread)\ntarget_compile_options(packed PRIVATE -Dunused=zlibVersion)\n",
            "Aptfile": "zlib1g-dev\n", "server.c": (TOP / "tests/support/server.c").read_text()})
        self.deployed("cmake", folder)

    def test_meson(self):
        folder = self.project("meson", **{
            "meson.build": "project('served', 'c')\nexecutable('served', 'server.c', dependencies: dependency('threads'), link_args: ['-static'])\n",
            "server.c": (TOP / "tests/support/server.c").read_text()})
        self.deployed("meson", folder)

    def test_pip_installs_a_wheel_of_the_project_into_the_environment(self):
        folder = self.project("wheel", **{"requirements.txt": "./wheels/greeting-1.0-py3-none-any.whl\n",
                                          "wheels/README": "", "main.py": "import greeting\ngreeting.serve()\n"})
        wheel = os.path.join(folder, "wheels/greeting-1.0-py3-none-any.whl")
        with zipfile.ZipFile(wheel, "w") as out:
            out.writestr("greeting.py", "import http.server, os\n"
                         "class Handler(http.server.BaseHTTPRequestHandler):\n"
                         "    def do_GET(self):\n        self.send_response(200)\n        self.end_headers()\n        self.wfile.write(b'from a wheel')\n"
                         "def serve():\n    http.server.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()\n")
            out.writestr("greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
            out.writestr("greeting-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            out.writestr("greeting-1.0.dist-info/RECORD", "greeting.py,,\ngreeting-1.0.dist-info/METADATA,,\ngreeting-1.0.dist-info/WHEEL,,\n"
                                                          "greeting-1.0.dist-info/RECORD,,\n")
        self.assertEqual(self.deployed("wheel", folder)[0], "from a wheel")
        self.assertEqual(self.files_of("wheel", "/opt/venv/bin/python3", "/usr/bin/gcc"), ["/opt/venv/bin/python3"])

    def test_a_builder_of_ones_own_goes_before_the_built_in_one(self):
        builders = os.path.join(self.folder, "builders")
        os.makedirs(builders)
        os.chmod(self.folder, 0o755)
        with open(os.path.join(builders, "hi.yaml"), "w") as f:
            f.write("name: hi\ntitle: Hi\ndetect: {any: [hi.txt]}\nvalues:\n  text: [{text: hi.txt, matching: '(.+)'}]\ntells: [text]\ndockerfile:\n"
                    "- FROM scratch\n- {embed: note.txt, to: /note.txt}\n- 'CMD [{text|json}]'\n")
        with open(os.path.join(builders, "note.txt"), "w") as f:
            f.write("a note\n")
        folder = self.project("mine", **{"hi.txt": "/server\n"})
        other = Daemon(flags=["--builders", builders, "--bases", "debian"]).start()
        try:
            shown = other.cli("build", folder, "--explain").stdout
        finally:
            other.close()
        self.assertEqual(shown, "# Hi (hi.txt)\n#   text: /server  (hi.txt)\nFROM scratch\nCOPY <<'END_OF_FILE' /note.txt\na note\nEND_OF_FILE\n"
                                'CMD ["/server"]\n')


if __name__ == "__main__":
    main()

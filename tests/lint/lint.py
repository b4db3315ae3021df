#!/usr/bin/env python3
"""Checks the shape of the tree: who may include whom, what may lie where, what no source may say.

    tests/lint/lint.py [--root DIR] [CHECK ...]      all checks but `headers` and `format` when none is named

Each finding is one line, `file:line: what (what is allowed)`; the exit code is 1 when there is one. Warnings do not count.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

# The include table of the design: a room may include itself and these.
ROOMS = {
    'base': [],
    'os': ['base'],
    'model': ['base'],
    'store': ['base', 'os', 'model'],
    'http': ['base', 'os'],
    'image': ['base', 'os', 'store', 'http'],
    'container': ['base', 'os', 'image'],
    'contract': ['base', 'os', 'model', 'http', 'container'],
    'build': ['base', 'os', 'model', 'http', 'image', 'container'],
    'serving': ['base', 'os', 'model', 'http', 'container', 'contract'],
    'eventing': ['base', 'os', 'model', 'store', 'http'],
}
ROOMS['control'] = list(ROOMS)
ROOMS['api'] = list(ROOMS)
ROOMS['app'] = list(ROOMS)

TOP_LEVEL = {
    'include', 'src', 'tests', 'runtime', 'builders', 'examples', 'packaging', 'docs',
    'README.md', 'LICENSE', 'meson.build', 'meson_options.txt',
    '.ci', '.github', '.clang-format', '.clang-tidy', '.gitignore', '.gitattributes', '.editorconfig',
}

SOURCE_LINES_MAX = 600

# Written so that this file does not find itself.
OPEN_WORK = re.compile(r'\b(?:TO' + r'DO|FIX' + r'ME|XX' + r'X)\b')
MACHINE_PATH = re.compile(r'/wor' + r'k/(?:main|shared)\b|/tm' + r'p/(?:wick-(?:ninja|brief|git|build)|bash_jobs)|/ro' + r'ot/\.|/hom' + r'e/(?!you\b|user\b|app\b|node\b)[a-z]+/')
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
FORBIDDEN = [
    (re.compile(r'\basio::detached\b'), 'asio::detached drops exceptions unseen', 'TaskGroup::spawn'),
    (re.compile(r'\bthis_thread::sleep_(?:for|until)\b'), 'a sleeping thread', 'co_await clock.sleep()'),
]


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root).resolve()
        self.paths = sorted(self._list())

    def _list(self):
        """What git tracks or would track; everything where there is no git (an unpacked source archive)."""
        try:
            listed = subprocess.run(['git', '-C', self.root, 'ls-files', '-z', '-co', '--exclude-standard', '.'],
                                    capture_output=True, check=True)
            names = [name for name in listed.stdout.decode().split('\0') if name]
            if names:
                return [name for name in names if (self.root / name).is_file()]
        except (OSError, subprocess.CalledProcessError):
            pass
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in ('.git', '__pycache__') and not name.startswith('build-')]
            found += [str((pathlib.Path(folder) / name).relative_to(self.root)) for name in files]
        return found

    def sources(self, *tops):
        return [path for path in self.paths if path.split('/')[0] in tops and path.endswith(('.cpp', '.hpp'))]

    def lines(self, path):
        try:
            return (self.root / path).read_text(encoding='utf-8').splitlines()
        except UnicodeDecodeError:
            return []  # not text


class Report:
    def __init__(self):
        self.findings = 0

    def finding(self, path, line, what, allowed=''):
        self.findings += 1
        print(f'{path}:{line}: {what}' + (f' (allowed: {allowed})' if allowed else ''))

    def warning(self, path, line, what):
        print(f'{path}:{line}: warning: {what}')


def room_of(path):
    parts = path.split('/')
    if parts[0] == 'src' and len(parts) > 2:
        return parts[1]
    if parts[:2] == ['include', 'wick'] and len(parts) > 3:
        return parts[2]
    return None


def check_includes(tree, report):
    """Includes point down only, and a room's private headers stay private."""
    for path in tree.sources('src', 'include'):
        room = room_of(path)
        if room is None or room not in ROOMS:
            report.finding(path, 1, 'not in a room', ' '.join(ROOMS))
            continue
        for number, line in enumerate(tree.lines(path), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, target = match.groups()
            if target.startswith('wick/'):
                other = target.split('/')[1]
                if other != room and other not in ROOMS[room]:
                    report.finding(path, number, f"'{room}' includes '{target}'", ' '.join(ROOMS[room]) or 'nothing')
                elif not (tree.root / 'include' / target).is_file():
                    report.finding(path, number, f"there is no header '{target}'")
            elif quote == '"':
                local = (tree.root / path).parent / target
                inside = os.path.relpath(os.path.normpath(local), tree.root)
                if path.startswith('include/'):
                    report.finding(path, number, f"a public header includes the private '{target}'", 'wick/…')
                elif local.is_file() and room_of(inside) != room:
                    report.finding(path, number, f"'{room}' includes the private '{inside}'", f'src/{room}/… and wick/…')


def check_top(tree, report):
    """No other top-level entry."""
    for top in sorted({path.split('/')[0] for path in tree.paths} - TOP_LEVEL):
        report.finding(top, 1, 'an unknown top-level entry', ' '.join(sorted(TOP_LEVEL)))


def check_words(tree, report):
    """No detached tasks, no sleeping threads, no open work, nothing of one machine."""
    for path in tree.paths:
        for number, line in enumerate(tree.lines(path), 1):
            if path.startswith(('src/', 'include/')):
                for pattern, what, allowed in FORBIDDEN:
                    if pattern.search(line):
                        report.finding(path, number, what, allowed)
            if OPEN_WORK.search(line) and not path.startswith('tests/data/'):
                report.finding(path, number, 'open work', 'an issue, or the work itself')
            if MACHINE_PATH.search(line):
                report.finding(path, number, 'a path of one machine', 'paths relative to the tree, or from the environment')


def check_length(tree, report):
    """Files past 600 lines hold a second noun."""
    for path in tree.sources('src', 'include', 'tests'):
        count = len(tree.lines(path))
        if count > SOURCE_LINES_MAX:
            report.warning(path, count, f'{count} lines; look for a second noun past {SOURCE_LINES_MAX}')


def compiler():
    return os.environ.get('CXX', '').split() or ['clang++-19' if shutil.which('clang++-19') else 'c++']


def check_headers(tree, report):
    """Every public header compiles alone."""
    headers = [path for path in tree.sources('include')]
    command = compiler() + ['-std=c++2b', '-fsyntax-only', '-Wall', '-Wextra', '-Wno-missing-field-initializers',
                            '-Wno-missing-designated-field-initializers', '-Wno-pragma-once-outside-header',
                            '-DWICK_VERSION="lint"', '-I', str(tree.root / 'include'), '-x', 'c++']

    def compile_alone(path):
        return path, subprocess.run(command + [str(tree.root / path)], capture_output=True, text=True)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, done in pool.map(compile_alone, headers):
            if done.returncode != 0 or 'warning:' in done.stderr:
                first = next((line for line in done.stderr.splitlines() if 'error:' in line or 'warning:' in line), '')
                report.finding(path, 1, 'does not compile alone: ' + first.replace(str(tree.root) + '/', ''))


def check_format(tree, report):
    """clang-format has nothing to change. Skipped, loudly, where clang-format-19 is missing."""
    tool = shutil.which('clang-format-19')
    if not tool:
        print('clang-format-19 is not installed: format not checked')
        return
    files = tree.sources('src', 'include', 'tests')
    for start in range(0, len(files), 50):
        done = subprocess.run([tool, '--dry-run', '--ferror-limit=1'] + files[start:start + 50], cwd=tree.root,
                              capture_output=True, text=True)
        for line in done.stderr.splitlines():
            match = re.match(r'(.+?):(\d+):\d+: (?:warning|error): code should be clang-formatted', line)
            if match:
                report.finding(match[1], match[2], 'not formatted', 'clang-format-19 -i')


FAST = {'includes': check_includes, 'top': check_top, 'words': check_words, 'length': check_length}
CHECKS = FAST | {'headers': check_headers, 'format': check_format}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument('checks', nargs='*', metavar='CHECK', help=' '.join(CHECKS))
    arguments = parser.parse_args()
    unknown = set(arguments.checks) - set(CHECKS)
    if unknown:
        parser.error(f'no such check: {" ".join(sorted(unknown))}')
    tree = Tree(arguments.root)
    report = Report()
    for name in arguments.checks or FAST:
        CHECKS[name](tree, report)
    print(f'{report.findings} findings in {len(tree.paths)} files')
    return 1 if report.findings else 0


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
"""The lint finds what is planted, and nothing in a clean tree."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

LINT = pathlib.Path(__file__).resolve().parent / 'lint.py'
CLEAN = {
    'README.md': 'hello\n',
    'include/wick/base/a.hpp': '#pragma once\n#include <string>\ninline std::string a() { return ""; }\n',
    'include/wick/os/b.hpp': '#pragma once\n#include "wick/base/a.hpp"\n',
    'include/wick/http/h.hpp': '#pragma once\n',
    'src/os/b.cpp': '#include "wick/os/b.hpp"\n\n#include "private.hpp"\n#include "inner/deep.hpp"\n',
    'src/os/private.hpp': '#pragma once\n',
    'src/os/inner/deep.hpp': '#pragma once\n#include "../private.hpp"\n',
    'src/http/h.cpp': '#include "wick/http/h.hpp"\n#include "wick/os/b.hpp"\n#include <zlib.h>\n',
}


class LintTest(unittest.TestCase):
    def run_on(self, files, *checks):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in (CLEAN | files).items():
            path = pathlib.Path(folder.name) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([sys.executable, LINT, '--root', folder.name, *checks], capture_output=True, text=True)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done

    def finds(self, expected, files, *checks):
        done = self.run_on(files, *checks)
        self.assertIn(expected, done.stdout)
        self.assertEqual(done.returncode, 1)

    def test_a_clean_tree_has_no_findings(self):
        done = self.run_on({})
        self.assertEqual((done.returncode, done.stdout), (0, f'0 findings in {len(CLEAN)} files\n'))

    def test_an_include_that_points_up_is_found_in_headers_and_sources(self):
        self.finds("src/os/up.cpp:2: 'os' includes 'wick/http/h.hpp' (allowed: base)",
                   {'src/os/up.cpp': '\n#include "wick/http/h.hpp"\n'})
        self.finds("include/wick/base/up.hpp:1: 'base' includes 'wick/os/b.hpp' (allowed: nothing)",
                   {'include/wick/base/up.hpp': '#  include <wick/os/b.hpp>\n'})

    def test_a_private_header_of_another_room_is_found(self):
        self.finds("src/http/x.cpp:1: 'http' includes the private 'src/os/private.hpp'",
                   {'src/http/x.cpp': '#include "../os/private.hpp"\n'})
        self.finds("include/wick/os/x.hpp:1: a public header includes the private", {'include/wick/os/x.hpp': '#include "b.hpp"\n'})

    def test_a_header_that_is_not_there_is_found(self):
        self.finds("there is no header 'wick/base/gone.hpp'", {'src/os/x.cpp': '#include "wick/base/gone.hpp"\n'})

    def test_an_unknown_room_and_an_unknown_top_level_entry_are_found(self):
        self.finds('src/util/x.cpp:1: not in a room', {'src/util/x.cpp': ''})
        self.finds('scripts:1: an unknown top-level entry', {'scripts/x.sh': ''})

    def test_words_that_no_source_may_say_are_found(self):
        self.finds('src/os/x.cpp:1: asio::detached', {'src/os/x.cpp': 'co_spawn(e, f(), boost::asio::detached);\n'})
        self.finds('src/os/x.cpp:1: a sleeping thread', {'src/os/x.cpp': 'std::this_thread::sleep_for(1s);\n'})
        self.finds('README.md:1: open work', {'README.md': '// TO' + 'DO: more\n'})
        self.finds('README.md:1: a path of one machine', {'README.md': 'cd /wor' + 'k/main\n'})

    def test_a_long_file_is_only_a_warning(self):
        done = self.run_on({'src/os/long.cpp': '\n' * 601})
        self.assertIn('src/os/long.cpp:601: warning: 601 lines', done.stdout)
        self.assertEqual(done.returncode, 0)

    def test_a_header_that_needs_another_one_first_is_found(self):
        self.finds('include/wick/os/x.hpp:1: does not compile alone',
                   {'include/wick/os/x.hpp': '#pragma once\nstd::string needs_string();\n'}, 'headers')
        self.assertEqual(self.run_on({}, 'headers').returncode, 0)

    @unittest.skipUnless(shutil.which('clang-format-19'), 'clang-format-19 is not installed')
    def test_an_unformatted_file_is_found(self):
        self.finds('src/os/x.cpp:1: not formatted', {'src/os/x.cpp': 'int  x ;\n'}, 'format')


if __name__ == '__main__':
    unittest.main()

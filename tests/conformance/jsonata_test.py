"""JSONata: our engine and the npm package jsonata on the same expressions. Skips loudly without node or the npm registry.

Both are asked anew for every case of tests/data/jsonata/cases.json; the file holds what the package gave when it was
written, so that the unit test needs no node. `--write` writes it again. What typical transforms cost is measured for both
in the same run and printed."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

CASES = pathlib.Path(__file__).resolve().parents[1] / "data/jsonata/cases.json"
PACKAGE = "jsonata@2"
TRANSFORMS = [
    '$merge([$, {"type": "order.seen"}])',
    '{"specversion": "1.0", "id": id, "source": "/t", "type": "t", "data": {"total": $sum(data.order.items.(price * qty))}}',
    'data.order.items^(>price).{"sku": sku, "title": $uppercase(title), "tags": $join(tags, ",")}',
    '$ ~> |data.order.items|{"total": price * qty}, "tags"|',
    '$replace(data.order.customer.email, /([a-z]+)@([a-z.]+)/, "$2 at $1")',
]
ORACLE = r"""
const jsonata = require('jsonata');
const lines = require('readline').createInterface({input: process.stdin});
const measured = process.argv.length > 2;
(async () => {
  for await (const line of lines) {
    const {expr, input} = JSON.parse(line);
    const answer = {};
    try {
      const expression = jsonata(expr);
      const result = await expression.evaluate(input);
      const isFunction = result && (result._jsonata_lambda || result._jsonata_function || typeof result === 'function');
      const text = result === undefined || isFunction ? undefined : JSON.stringify(result);
      if (text === undefined) answer.none = true; else answer.result = JSON.parse(text);
      if (measured) {
        const text = JSON.stringify(input);
        for (let i = 0; i < 500; i++) JSON.stringify(await expression.evaluate(JSON.parse(text)));
        const start = process.hrtime.bigint();
        let count = 0;
        for (; process.hrtime.bigint() - start < 300000000n; count++) JSON.stringify(await expression.evaluate(JSON.parse(text)));
        answer.us = Number(process.hrtime.bigint() - start) / 1000 / count;
      }
    } catch (error) { answer.error = error.code || 'JS: ' + error.message; }
    console.log(JSON.stringify(answer));
  }
})();
"""


def ordered(value):
    """With the order of members, which == of dicts does not look at; 1 and 1.0 are the same number."""
    if isinstance(value, dict):
        return ["object", *([key, ordered(member)] for key, member in value.items())]
    if isinstance(value, list):
        return ["array", *map(ordered, value)]
    return ["boolean", value] if isinstance(value, bool) else value


class Jsonata(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("node") or not shutil.which("npm"):
            raise unittest.SkipTest("SKIPPED: no node and npm")
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", PACKAGE], cwd=cls.folder,
                              capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise unittest.SkipTest(f"SKIPPED: npm cannot install {PACKAGE}: " + done.stderr[-500:])
        pathlib.Path(cls.folder, "oracle.js").write_text(ORACLE)
        cls.table = json.loads(CASES.read_text())

    def ask(self, command, asked):
        lines = "".join(json.dumps(one) + "\n" for one in asked)
        done = subprocess.run(command, input=lines, cwd=self.folder, capture_output=True, text=True, timeout=300,
                              env={**os.environ, "TZ": "UTC"})
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(answers), len(asked))
        return answers

    def both(self, asked, *measure):
        return self.ask(["node", "oracle.js", *measure], asked), self.ask([os.environ["WICK_JSONATA"], *measure], asked)

    def test_every_case_gives_the_same_in_both(self):
        asked = [{"expr": case["expr"], "input": self.table["inputs"][case["input"]]} for case in self.table["cases"]]
        theirs, ours = self.both(asked)
        wrong = [f"{case['expr']}\n  jsonata {json.dumps(right)}\n  ours    {json.dumps(found)}"
                 for case, right, found in zip(self.table["cases"], theirs, ours) if ordered(right) != ordered(found)]
        self.assertEqual(wrong, [])
        stale = [case["expr"] for case, right in zip(self.table["cases"], theirs)
                 if {key: value for key, value in case.items() if key not in ("expr", "input")} != right]
        self.assertEqual(stale, [], "the file is of another version: write it again with --write")
        self.assertGreater(len(asked), 1000)

    def test_typical_transforms_take_no_more_time_than_in_node(self):
        theirs, ours = self.both([{"expr": text, "input": self.table["inputs"]["event"]} for text in TRANSFORMS], "measure")
        for text, right, found in zip(TRANSFORMS, theirs, ours):
            print(f"{found['us']:8.1f} µs, node {right['us']:8.1f} µs  {text[:70]}", file=sys.stderr)
        # A busy machine measures anything: only that it is of the same order is asserted.
        self.assertLess(sum(one["us"] for one in ours), 2 * sum(one["us"] for one in theirs))


def write():
    Jsonata.setUpClass()
    test = Jsonata()
    rows = [{"input": case["input"], "expr": case["expr"]} for case in Jsonata.table["cases"]]
    answers = test.ask(["node", "oracle.js"], [{"expr": row["expr"], "input": Jsonata.table["inputs"][row["input"]]} for row in rows])
    lines = ",\n".join(json.dumps({**row, **answer}, ensure_ascii=False) for row, answer in zip(rows, answers))
    CASES.write_text('{"inputs": ' + json.dumps(Jsonata.table["inputs"], ensure_ascii=False) + ',\n"cases": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    write() if sys.argv[1:] == ["--write"] else unittest.main()

// JSONata by the table that tests/conformance/jsonata_test.py compares with the npm package: what each expression
// gives, or the code of its error.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "wick/eventing/transform.hpp"

using namespace wick;
using eventing::Transform;

namespace {

boost::json::object cases_of_jsonata() {
  std::ifstream file(WICK_SOURCE_ROOT "/tests/data/jsonata/cases.json");
  std::stringstream text;
  text << file.rdbuf();
  return boost::json::parse(text.str()).as_object();
}

/// "= JSON", "nothing" or "error CODE".
std::string outcome_of(const std::string& expression, const std::string& input) {
  const auto transform = Transform::parse(expression);
  if (!transform) return "error " + transform.error().message().substr(0, 5);
  const auto result = transform->apply(input);
  if (!result) return "error " + result.error().message().substr(0, 5);
  return *result ? "= " + boost::json::serialize(boost::json::parse(**result)) : "nothing";
}

std::string complaint_about(const std::string& expression, const std::string& input = "{}") {
  const auto transform = Transform::parse(expression);
  if (!transform) return transform.error().what();
  const auto result = transform->apply(input);
  return result ? "" : result.error().what();
}

}  // namespace

TEST_CASE("a JSONata expression gives what the reference implementation gives") {
  const auto table = cases_of_jsonata();
  std::size_t wrong = 0;
  for (const auto& row : table.at("cases").as_array()) {
    const std::string expression(row.at("expr").as_string());
    const auto input = boost::json::serialize(table.at("inputs").at(row.at("input").as_string()));
    const auto* result = row.as_object().if_contains("result");
    const auto* error = row.as_object().if_contains("error");
    std::string expected = result ? "= " + boost::json::serialize(*result) : "nothing";
    if (error) expected = "error " + std::string(error->as_string());
    const auto found = outcome_of(expression, input);
    if (found == expected) continue;
    ++wrong;
    UNSCOPED_INFO(expression << "\n  expected " << expected << "\n  found    " << found);
  }
  CHECK(table.at("cases").as_array().size() > 1000);
  CHECK(wrong == 0);
}

TEST_CASE("a wrong expression is refused with its place and what was expected") {
  CHECK(complaint_about("{\"a\": 1") == "S0203: expected \"}\" before the end of the expression (line 1, column 8)");
  CHECK(complaint_about("data.\n  order +") ==
        "S0207: the expression ends where an operand is expected (line 2, column 10)");
  CHECK(complaint_about("a b") ==
        "S0201: \"b\" is not expected here: an operator or the end of the expression is (line 1, column 3)");
  CHECK(complaint_about("é & 'x") == "S0101: a string has no closing quote (line 1, column 5)");
  CHECK(complaint_about("/a(/").starts_with("S0302"));
  CHECK(complaint_about("/a{2,1}/").starts_with("S0303: the regular expression is wrong at its character "));
  CHECK(complaint_about("\xff") == "the JSONata expression is not UTF-8");
  CHECK(complaint_about("a + 1", R"({"a": "x"})") == "T2001: the left side of + is a number (line 1, column 3)");
  CHECK(complaint_about("$sum(a)", R"({"a": ["x"]})") ==
        "T0412: argument 1 of the function sum is an array of numbers (line 1, column 5)");
  CHECK(complaint_about("a", "{") == "the input is no JSON: incomplete JSON");
}

TEST_CASE("what a hostile expression costs is bounded") {
  const auto code = [](const std::string& expression) {
    const auto transform = Transform::parse(expression);
    if (!transform) return transform.error().message().substr(0, 5);
    const auto result = transform->apply("{}", {.steps = 100'000, .bytes = 4 << 20});
    if (result) return std::string("none");
    CHECK(result.error().code() == Errc::too_large);
    return result.error().message().substr(0, 5);
  };
  const auto repeated = [](const std::string& text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += text;
    return out;
  };
  CHECK(code("($f := function($x) { $f($x) + 1 }; $f(1))") == "D1011");
  CHECK(code("($f := function($x) { $f($x) }; $f(1))") == "D1012");
  CHECK(code("($f := function($x) { $f([$x]) }; $f(1))") == "D1012");
  CHECK(code("($f := function($x) { $f($x & $x) }; $f('ab'))") == "D2015");
  CHECK(code("$pad('x', 1e9)") == "D2015");
  CHECK(code("[1..9999999]") == "D1012");
  CHECK(code("$distinct([1..2000])") == "D1012");
  CHECK(code("$sort([1..5000], function($a, $b) { $random() > 0.5 })") == "D1012");
  CHECK(code("$match($pad('', 40, 'a') & '!', /^(a|aa)+$/)") == "D1012");
  CHECK(code("$contains($pad('', 40, 'a') & '!', /^(a|aa)+$/)") == "D1012");
  CHECK(code(repeated("(", 1000) + "1" + repeated(")", 1000)) == "D1011");
  CHECK(code("a" + repeated(".a", 1000)) == "D1011");
  CHECK(code("1" + repeated("+1", 1000)) == "D1011");
  CHECK(code(repeated("-", 1000) + "1") == "D1011");
  CHECK(code("'" + repeated("x", 70'000) + "'") == "D1011");
  const auto ambiguous =
      complaint_about("function($x)<" + repeated("s+", 60) + ":s> { $x }(" + repeated("'a',", 90) + "1)");
  CHECK(ambiguous.starts_with("T0410"));
}

TEST_CASE("functions that refer to one another in a long chain end without a trace") {
  // Under the address sanitizer this is also the test that circles are freed, and not by deep recursion.
  CHECK(complaint_about(
            "($g := function($n, $f) { $n = 0 ? $f : $g($n - 1, function($x) { $f }) }; $g(20000, 1); 5)") == "");
  CHECK(complaint_about("($f := function() { $g }; $g := function() { $f }; {'a': $f})") == "");
  CHECK(complaint_about("$ ~> |**|{'x': $$, 'f': function() { $ }}|", R"({"a": {"b": {}}})") == "");
}

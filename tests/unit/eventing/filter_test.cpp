// Trigger filters: knative/eventing pkg/eventfilter, test/rekt TestMTChannelBrokerNewTriggerFilters.
#include "wick/eventing/filter.hpp"

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::eventing;

namespace {

CloudEvent event() {
  CloudEvent event;
  event.attributes = {{"specversion", "1.0"},
                      {"id", "1"},
                      {"source", "/s"},
                      {"type", "com.example.order"},
                      {"n", 5},
                      {"flag", true},
                      {"time", "2026-01-01T01:00:00+01:00"}};
  return event;
}

Result<Matcher> matcher(std::string_view filters, AttributeFilter attributes = {}) {
  auto parsed = filters_from_json(boost::json::parse(filters));
  if (!parsed) return fail(std::move(parsed.error()));
  return Matcher::compile(std::move(attributes), *parsed);
}

std::string refusal(std::string_view filters) {
  const auto parsed = filters_from_json(boost::json::parse(filters));
  return parsed ? "" : parsed.error().what();
}

}  // namespace

TEST_CASE("each dialect of a filter lets through what it should") {
  const std::pair<const char*, bool> cases[] = {
      {R"([])", true},
      {R"([{}])", true},
      {R"([{"exact":{"type":"com.example.order"}}])", true},
      {R"([{"exact":{"type":"com.example"}}])", false},
      {R"([{"exact":{"type":"com.example.order","source":"/s"}}])", true},
      {R"([{"exact":{"type":"com.example.order","source":"/t"}}])", false},
      {R"([{"exact":{"gone":"x"}}])", false},
      {R"([{"exact":{"n":"5"}}])", true},
      {R"([{"exact":{"flag":"true"}}])", true},
      {R"([{"exact":{"time":"2026-01-01T00:00:00Z"}}])", true},
      {R"([{"prefix":{"type":"com.example."}}])", true},
      {R"([{"prefix":{"type":"order"}}])", false},
      {R"([{"suffix":{"type":".order"}}])", true},
      {R"([{"suffix":{"gone":"r"}}])", false},
      {R"([{"not":{"exact":{"gone":"x"}}}])", true},
      {R"([{"not":{"prefix":{"type":"com."}}}])", false},
      {R"([{"all":[{"prefix":{"type":"com."}},{"suffix":{"type":".order"}}]}])", true},
      {R"([{"all":[{"prefix":{"type":"com."}},{"suffix":{"type":".bill"}}]}])", false},
      {R"([{"all":[]}])", true},
      {R"([{"any":[]}])", false},
      {R"([{"any":[{"exact":{"type":"x"}},{"all":[{"exact":{"source":"/s"}}]}]}])", true},
      {R"([{"any":[{"exact":{"type":"x"}},{"exact":{"source":"x"}}]}])", false},
      {R"([{"cesql":"type LIKE 'com.%' AND n = 5"}])", true},
      {R"([{"sql":"EXISTS gone"}])", false},
      {R"([{"cesql":"gone = 'x'"}])", false},
      {R"([{"not":{"cesql":"gone = 'x'"}}])", true},
      {R"([{"cesql":"n"}])", false},
      {R"([{"prefix":{"type":"com."}},{"exact":{"source":"/other"}}])", false},
  };
  for (const auto& [filters, passes] : cases) {
    INFO(filters);
    const auto compiled = matcher(filters);
    REQUIRE(compiled);
    CHECK(compiled->passes(event()) == passes);
    CHECK(compiled->mismatch(event()).has_value() == !passes);
  }
}

TEST_CASE("filters replace the older filter when there are any") {
  CHECK_FALSE(matcher("[]", {{"type", "other"}})->passes(event()));
  CHECK(matcher(R"([{"prefix":{"type":"com."}}])", {{"type", "other"}})->passes(event()));
}

TEST_CASE("an absent time reads as the zero time") {
  CloudEvent timeless = event();
  timeless.attributes.erase("time");
  CHECK(matcher(R"([{"exact":{"time":"0001-01-01T00:00:00Z"}}])")->passes(timeless));
}

TEST_CASE("a filter says which part of it refused") {
  CHECK(matcher(R"([{"prefix":{"type":"net."}}])")->mismatch(event()) ==
        "type is 'com.example.order', wanted with the prefix 'net.'");
  CHECK(matcher(R"([{"cesql":"gone = 'x'"}])")->mismatch(event()) ==
        "cesql \"gone = 'x'\": there is no attribute 'gone'");
  CHECK(matcher(R"([{"not":{"exact":{"source":"/s"}}}])")->mismatch(event()) ==
        "what 'not' refuses holds: exact source=/s");
}

TEST_CASE("a filter that is wrong is refused with its path") {
  CHECK(refusal(R"({})") == "filters must be an array of filters");
  CHECK(refusal(R"([{"exact":{"type":"a"},"prefix":{"type":"b"}}])") ==
        "filters[0] must be an object with one dialect, this one has several");
  CHECK(refusal(R"([{"any":[{"exact":{"type":""}}]}])") ==
        "filters[0].any[0].exact.type must be a string that is not empty");
  CHECK(refusal(R"([{"exact":{"Type":"a"}}])") == "Invalid attribute name: \"Type\" in filters[0].exact");
  CHECK(refusal(R"([{"cesql":"type ="}])") == "filters[0].cesql: CESQL: expected a value at 7, found the end");
  CHECK(refusal(R"([{"regex":{"type":"a"}}])").starts_with("filters[0].regex is no filter dialect"));
  boost::json::value deep = boost::json::object{{"exact", {{"type", "a"}}}};
  for (int i = 0; i < 40; ++i) deep = boost::json::object{{"not", deep}};
  CHECK(filters_from_json(boost::json::array{deep}).error().what().contains("at most 32 levels"));
}

TEST_CASE("a condition knows the values it can be found by") {
  const auto key = [](std::string_view filters) {
    const auto found = matcher(filters)->key();
    std::string text = found ? found->attribute : "";
    for (const auto& value : found ? found->values : std::vector<std::string>{}) text += " " + value;
    return text;
  };
  CHECK(key(R"([{"exact":{"source":"/s","type":"a"}}])") == "type a");
  CHECK(key(R"([{"prefix":{"source":"/"}},{"exact":{"n":"1"}}])") == "n 1");
  CHECK(key(R"([{"any":[{"exact":{"type":"b"}},{"exact":{"type":"a"}}]}])") == "type a b");
  CHECK(key(R"([{"any":[{"exact":{"type":"b"}},{"exact":{"source":"a"}}]}])") == "");
  CHECK(key(R"([{"not":{"exact":{"type":"b"}}}])") == "");
}

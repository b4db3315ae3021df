#include "api/patches.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::api;

TEST_CASE("merge patches follow RFC 7396") {
  const auto [target, patch, expected] = GENERATE(table<std::string, std::string, std::string>({
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"(["a"])", R"({"a":"b"})", R"({"a":"b"})"},
      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
  }));
  auto value = boost::json::parse(target);
  merge_patch(value, boost::json::parse(patch));
  CHECK(value == boost::json::parse(expected));
}

TEST_CASE("JSON patches follow RFC 6902") {
  const auto [target, patch, expected] = GENERATE(table<std::string, std::string, std::string>({
      {R"({"foo":"bar"})", R"([{"op":"add","path":"/baz","value":"qux"}])", R"({"foo":"bar","baz":"qux"})"},
      {R"({"foo":["bar","baz"]})", R"([{"op":"add","path":"/foo/1","value":"qux"}])", R"({"foo":["bar","qux","baz"]})"},
      {R"({"foo":["bar"]})", R"([{"op":"add","path":"/foo/-","value":["abc"]}])", R"({"foo":["bar",["abc"]]})"},
      {R"({"foo":["bar","qux","baz"]})", R"([{"op":"remove","path":"/foo/1"}])", R"({"foo":["bar","baz"]})"},
      {R"({"a":{"b":1},"c":{}})", R"([{"op":"move","from":"/a/b","path":"/c/d"}])", R"({"a":{},"c":{"d":1}})"},
      {R"({"a":{"b":1}})", R"([{"op":"copy","from":"/a","path":"/c"}])", R"({"a":{"b":1},"c":{"b":1}})"},
      {R"({"/":9,"~1":10})", R"([{"op":"test","path":"/~01","value":10},{"op":"replace","path":"/~1","value":1}])",
       R"({"/":1,"~1":10})"},
  }));
  auto value = boost::json::parse(target);
  REQUIRE(json_patch(value, boost::json::parse(patch)));
  CHECK(value == boost::json::parse(expected));
}

TEST_CASE("a JSON patch that does not fit changes nothing") {
  const std::string patch = GENERATE(R"([{"op":"add","path":"/a/b/c","value":1}])", R"([{"op":"remove","path":"/x"}])",
                                     R"([{"op":"add","path":"/n","value":1},{"op":"test","path":"/n","value":2}])",
                                     R"([{"op":"jump","path":"/a"}])", R"([{"op":"add","path":"/list/5","value":1}])",
                                     R"([{"op":"add","path":"/list/01","value":1}])",
                                     R"([{"op":"add","path":"a","value":1}])", R"([{"op":"add","path":"/a"}])",
                                     R"({"op":"add"})", R"([1])", R"([{"op":"move","from":"/a","path":"/a/b"}])");
  const auto before = boost::json::parse(R"({"a":{},"list":[1]})");
  auto value = before;
  CHECK_FALSE(json_patch(value, boost::json::parse(patch)));
  CHECK(value == before);
}

TEST_CASE("a strategic merge patch merges maps, finalizers and owners") {
  const auto [target, patch, expected] = GENERATE(table<std::string, std::string, std::string>({
      {R"({"data":{"a":"1","b":"2"}})", R"({"data":{"a":null,"c":"3"}})", R"({"data":{"b":"2","c":"3"}})"},
      {R"({"data":{"a":"1"}})", R"({"data":{"$patch":"replace","b":"2"}})", R"({"data":{"b":"2"}})"},
      {R"({"metadata":{"finalizers":["x"]}})", R"({"metadata":{"finalizers":["x","y"]}})",
       R"({"metadata":{"finalizers":["x","y"]}})"},
      {R"({"metadata":{"finalizers":["x","y"]}})", R"({"metadata":{"$deleteFromPrimitiveList/finalizers":["x"]}})",
       R"({"metadata":{"finalizers":["y"]}})"},
      {R"({"metadata":{"ownerReferences":[{"uid":"1","name":"a"}]}})",
       R"({"metadata":{"$setElementOrder/ownerReferences":[],"ownerReferences":[{"uid":"1","name":"b"}]}})",
       R"({"metadata":{"ownerReferences":[{"uid":"1","name":"b"}]}})"},
      {R"({"metadata":{"ownerReferences":[{"uid":"1"}]}})",
       R"({"metadata":{"ownerReferences":[{"uid":"1","$patch":"delete"}]}})", R"({"metadata":{"ownerReferences":[]}})"},
  }));
  auto value = boost::json::parse(target);
  REQUIRE(strategic_merge_patch(value, boost::json::parse(patch)));
  CHECK(value == boost::json::parse(expected));
  CHECK_FALSE(strategic_merge_patch(value, boost::json::parse(R"({"$unknown":1})")));
}

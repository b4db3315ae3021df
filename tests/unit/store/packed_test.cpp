#include "packed.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

using namespace wick::store;
namespace json = boost::json;

namespace {

json::object service() {
  return json::parse(R"({"metadata":{"name":"a name longer than a short string","labels":{},"generation":3},
    "spec":{"list":[1,2.5,null,true,"x",{"deep":["another string that is not short"]}]},"empty":[],"text":""})")
      .as_object();
}

}  // namespace

TEST_CASE("a packed object is equal to what was packed") {
  const auto object = service();
  const auto kept = packed(object);
  CHECK(*kept == object);
  CHECK(json::serialize(*kept) == json::serialize(object));
  CHECK(packed(json::object())->empty());
}

TEST_CASE("copies of a packed object, and of its parts, can be changed and outlive it") {
  auto kept = packed(service());
  json::object copy = *kept;
  json::value part = kept->at("spec").at("list");
  kept.reset();
  copy["more"] = "something that was not there when the block was made";
  copy["metadata"].as_object().erase("name");
  part.as_array().push_back("one more");
  CHECK(copy.at("metadata").as_object().size() == 2);
  CHECK(part.as_array().size() == 7);
  CHECK(copy.at("spec").at("list").as_array().size() == 6);
  CHECK(packed(copy)->at("more").as_string().size() == 52);
}

TEST_CASE("threads may copy and change what they copied of one packed object side by side") {
  const auto kept = packed(service());
  std::vector<std::thread> threads;
  for (int each = 0; each < 4; ++each)
    threads.emplace_back([&kept] {
      for (int i = 0; i < 500; ++i) {
        json::object copy = *kept;
        copy["metadata"].as_object()["generation"] = i;
        copy["text"] = std::string(100, 'x');
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(*kept == service());
}

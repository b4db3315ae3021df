#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>

#include "support/fake_clock.hpp"
#include "support/run_loop.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"
#include "wick/store/objects.hpp"

using namespace wick;
using namespace wick::store;
namespace json = boost::json;

namespace {

json::object parsed(std::string_view text) { return json::parse(text).as_object(); }

std::string meta(const ObjectValue& object, const char* name) {
  const json::value& value = object->at("metadata").at(name);
  return value.is_string() ? std::string(value.as_string()) : std::to_string(value.as_int64());
}

struct ObjectsFixture {
  explicit ObjectsFixture(std::string path = ":memory:")
      : database(Database::open(path, Objects::migrations()).value()) {}

  asio::io_context loop{1};
  FakeClock clock{loop};
  std::unique_ptr<Database> database;
  std::unique_ptr<Objects> objects = Objects::open(*database, clock).value();

  ObjectKey key(std::string name, std::string name_space = "default") {
    return {"services.serving.knative.dev", name_space, name};
  }
  Result<ObjectValue> create(ObjectKey key, std::string_view body) {
    return run_on(loop, objects->create(key, parsed(body)));
  }
  Result<ObjectValue> update(ObjectKey key, std::string_view body, std::optional<std::uint64_t> expected = {}) {
    return run_on(loop, objects->update(key, parsed(body), expected));
  }
  Result<ObjectValue> update_status(ObjectKey key, std::string_view status) {
    return run_on(loop, objects->update_status(key, json::parse(status)));
  }
};

}  // namespace

TEST_CASE("a new object gets its identity from the table, whatever the caller claims") {
  ObjectsFixture f;
  const auto made =
      f.create(f.key("hello"), R"({"metadata":{"name":"hello","uid":"mine","generation":9},"spec":{"a":1}})");
  REQUIRE(made);
  CHECK(meta(*made, "uid").size() == 36);
  CHECK(meta(*made, "uid") != "mine");
  CHECK(meta(*made, "generation") == "1");
  CHECK(meta(*made, "resourceVersion") == "1");
  CHECK(meta(*made, "creationTimestamp").back() == 'Z');
  CHECK(f.objects->find(f.key("hello")) == *made);
  CHECK(f.create(f.key("hello"), "{}").error().code() == Errc::already_exists);
}

TEST_CASE("generation rises with spec only, resourceVersion with every change, and equal content writes nothing") {
  ObjectsFixture f;
  REQUIRE(f.create(f.key("a"), R"({"spec":{"x":0.1,"y":[1,2]}})"));
  const auto same = f.update(f.key("a"), R"({"spec":{"y":[1,2],"x":0.1},"metadata":{"uid":"other"}})");
  CHECK(meta(*same, "resourceVersion") == "1");
  CHECK(f.objects->version() == 1);
  const auto labelled = f.update(f.key("a"), R"({"spec":{"x":0.1,"y":[1,2]},"metadata":{"labels":{"k":"v"}}})");
  CHECK(meta(*labelled, "generation") == "1");
  CHECK(meta(*labelled, "resourceVersion") == "2");
  const auto changed = f.update(f.key("a"), R"({"spec":{"x":0.1,"y":[2,1]},"metadata":{"labels":{"k":"v"}}})");
  CHECK(meta(*changed, "generation") == "2");
  CHECK(meta(*changed, "uid") == meta(*labelled, "uid"));
  const auto status = f.update_status(f.key("a"), R"({"ready":true})");
  CHECK(meta(*status, "generation") == "2");
  CHECK(meta(*status, "resourceVersion") == "4");
  CHECK(f.update_status(f.key("a"), R"({"ready":true})").value() == *status);
  CHECK(f.objects->version() == 4);
}

TEST_CASE("a change to an older version is a conflict, to a missing object not found") {
  ObjectsFixture f;
  REQUIRE(f.create(f.key("a"), R"({"spec":1})"));
  REQUIRE(f.update(f.key("a"), R"({"spec":2})", 1));
  CHECK(f.update(f.key("a"), R"({"spec":3})", 1).error().code() == Errc::conflict);
  CHECK(f.update(f.key("b"), R"({"spec":3})").error().code() == Errc::not_found);
  CHECK(f.update_status(f.key("b"), "{}").error().code() == Errc::not_found);
  CHECK(run_on(f.loop, f.objects->remove(f.key("a"), 1)).error().code() == Errc::conflict);
  CHECK(run_on(f.loop, f.objects->remove(f.key("a"), 2)));
  CHECK(run_on(f.loop, f.objects->remove(f.key("a"))).error().code() == Errc::not_found);
  CHECK(f.objects->find(f.key("a")) == nullptr);
}

TEST_CASE("of many updates to the same version one wins") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  ObjectsFixture f(folder.path() / "o.db");
  REQUIRE(f.create(f.key("a"), R"({"spec":0})"));
  int won = 0;
  int lost = 0;
  auto attempt = [&](int number) -> awaitable<void> {
    json::object body{{"spec", number}};
    auto updated = co_await f.objects->update(f.key("a"), std::move(body), 1);
    updated ? ++won : ++lost;
  };
  TaskGroup tasks(f.loop.get_executor());
  for (int i = 1; i <= 50; ++i) tasks.spawn("update", attempt(i));
  f.loop.restart();
  f.loop.run();
  CHECK(won == 1);
  CHECK(lost == 49);
}

TEST_CASE("changes come in order of version, to subscribers and from the feed") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  ObjectsFixture f(folder.path() / "o.db");
  std::vector<std::uint64_t> seen;
  auto subscription = f.objects->subscribe([&](const Change& change) {
    CHECK(f.objects->version() == change.version);
    seen.push_back(change.version);
  });
  auto create = [&](int number) -> awaitable<void> {
    json::object body{{"spec", number}};
    co_await f.objects->create(f.key("s" + std::to_string(number)), std::move(body));
  };
  TaskGroup tasks(f.loop.get_executor());
  for (int i = 0; i < 200; ++i) tasks.spawn("create", create(i));
  f.loop.restart();
  f.loop.run();
  REQUIRE(run_on(f.loop, f.objects->remove(f.key("s7"))));
  REQUIRE(seen.size() == 201);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  const auto last = f.objects->changes_since(199).value();
  REQUIRE(last.size() == 2);
  CHECK(last[1].type == Change::Type::deleted);
  CHECK(meta(last[1].object, "resourceVersion") == "201");
  CHECK(f.objects->changes_since(201)->empty());
  CHECK(!f.objects->changes_since(202));

  subscription = {};
  REQUIRE(f.create(f.key("later"), "{}"));
  CHECK(seen.size() == 201);
}

TEST_CASE("the feed keeps its last changes and says when older ones are gone") {
  ObjectsFixture f;
  REQUIRE(f.create(f.key("a"), R"({"status":0})"));
  auto flood = [&]() -> awaitable<void> {
    for (std::size_t i = 1; i <= Objects::changes_kept; ++i) {
      json::value status(i);
      co_await f.objects->update_status(f.key("a"), std::move(status));
    }
  };
  run_on(f.loop, flood());
  CHECK(f.objects->version() == Objects::changes_kept + 1);
  CHECK(!f.objects->changes_since(0));
  CHECK(f.objects->changes_since(1)->size() == Objects::changes_kept);
}

TEST_CASE("the feed of large objects is bounded by their size, and has the last change at least") {
  ObjectsFixture f;
  REQUIRE(f.create(f.key("a"), "{}"));
  const auto write = [&](std::size_t bytes, char filling) {
    json::value status(std::string(bytes, filling));
    REQUIRE(run_on(f.loop, f.objects->update_status(f.key("a"), std::move(status))));
  };
  constexpr std::size_t large = 256 << 10;
  for (char filling = 'a'; filling < 'k'; ++filling) write(large, filling);
  CHECK(f.objects->version() == 11);
  CHECK(!f.objects->changes_since(7));
  CHECK(f.objects->changes_since(8)->size() == Objects::changes_bytes_max / large - 1);  // each is a little over
  write(10, 'z');
  CHECK(f.objects->changes_since(11)->size() == 1);
}

TEST_CASE("a subscriber may end its own subscription and start another inside the call") {
  ObjectsFixture f;
  int first = 0;
  int second = 0;
  Objects::Subscription one;
  Objects::Subscription two;
  one = f.objects->subscribe([&](const Change&) {
    ++first;
    two = f.objects->subscribe([&](const Change&) { ++second; });
    one = {};
  });
  REQUIRE(f.create(f.key("a"), "{}"));
  REQUIRE(f.create(f.key("b"), "{}"));
  CHECK(first == 1);
  CHECK(second == 1);
}

TEST_CASE("versions go on after a restart, also past a removed object, and old feed positions are gone") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "o.db";
  {
    ObjectsFixture f(path);
    REQUIRE(f.create(f.key("a"), R"({"spec":1,"data":"\u0000ü"})"));
    REQUIRE(f.create(f.key("b"), "{}"));
    REQUIRE(run_on(f.loop, f.objects->remove(f.key("b"))));
  }
  ObjectsFixture f(path);
  CHECK(f.objects->version() == 3);
  CHECK(f.objects->find(f.key("a"))->at("data").as_string() == std::string_view("\0ü", 3));
  CHECK(meta(f.create(f.key("c"), "{}").value(), "resourceVersion") == "4");
  CHECK(!f.objects->changes_since(2));
  CHECK(f.objects->changes_since(3)->size() == 1);
}

TEST_CASE("lists are per resource and namespace") {
  ObjectsFixture f;
  REQUIRE(f.create(f.key("a", "one"), "{}"));
  REQUIRE(f.create(f.key("a", "two"), "{}"));
  REQUIRE(f.create(f.key("b", "two"), "{}"));
  REQUIRE(f.create({"namespaces", "", "one"}, "{}"));
  CHECK(f.objects->list("services.serving.knative.dev").size() == 3);
  CHECK(f.objects->list("services.serving.knative.dev", "two").size() == 2);
  CHECK(f.objects->list("namespaces").size() == 1);
  CHECK(f.objects->list("nothing").empty());
}

TEST_CASE("an object over the limit is refused and changes nothing") {
  ObjectsFixture f;
  json::object large{{"spec", std::string(Objects::object_bytes_max, 'x')}};
  const auto made = run_on(f.loop, f.objects->create(f.key("a"), std::move(large)));
  CHECK(made.error().code() == Errc::too_large);
  CHECK(f.objects->find(f.key("a")) == nullptr);
  CHECK(f.objects->changes_since(0)->empty());
}

TEST_CASE("a removal with finalizers waits for the update that takes the last one away") {
  ObjectsFixture f;
  REQUIRE(f.create(f.key("a"), R"({"metadata":{"finalizers":["x"]},"spec":{}})"));
  auto left = run_on(f.loop, f.objects->request_removal(f.key("a")));
  REQUIRE(left);
  REQUIRE(*left);
  CHECK(meta(*left, "deletionGracePeriodSeconds") == "0");
  CHECK(meta(*left, "generation") == "2");
  // What the caller sends of the deletion does not count.
  REQUIRE(f.update(f.key("a"), R"({"metadata":{"finalizers":["x"]},"spec":{"n":1}})"));
  CHECK(f.objects->find(f.key("a"))->at("metadata").as_object().contains("deletionTimestamp"));
  std::vector<Change::Type> told;
  const auto subscription = f.objects->subscribe([&](const Change& change) { told.push_back(change.type); });
  REQUIRE(f.update(f.key("a"), R"({"metadata":{},"spec":{}})"));
  CHECK_FALSE(f.objects->find(f.key("a")));
  CHECK(told == std::vector<Change::Type>{Change::Type::deleted});
}

TEST_CASE("a removal may add finalizers of its own, and without any it is at once") {
  ObjectsFixture f;
  REQUIRE(f.create(f.key("a"), "{}"));
  REQUIRE(f.create(f.key("b"), "{}"));
  auto kept = run_on(f.loop, f.objects->request_removal(f.key("a"), {}, {"foregroundDeletion"}));
  REQUIRE(*kept);
  CHECK(json::serialize((*kept)->at("metadata").at("finalizers")) == R"(["foregroundDeletion"])");
  CHECK_FALSE(*run_on(f.loop, f.objects->request_removal(f.key("b"))));
  CHECK_FALSE(f.objects->find(f.key("b")));
  CHECK(run_on(f.loop, f.objects->request_removal(f.key("b"))).error().code() == Errc::not_found);
  CHECK(run_on(f.loop, f.objects->request_removal(f.key("a"), 1)).error().code() == Errc::conflict);
}

TEST_CASE("a Secret is encrypted on disk, read back with its key and with no other") {
  const auto folder = TemporaryFolder::make("/tmp").value();
  const auto path = (folder.path() / "control.db").string();
  const auto vault = [](char digit) {
    return std::make_shared<const Vault>(Vault::from_hex(std::string(64, digit)).value());
  };
  asio::io_context loop{1};
  FakeClock clock{loop};
  const ObjectKey key{"secrets", "default", "password"};
  {
    auto database = Database::open(path, Objects::migrations()).value();
    auto objects = Objects::open(*database, clock, vault('a')).value();
    REQUIRE(run_on(loop, objects->create(key, parsed(R"({"data":{"a":"canary-in-a-coal-mine"}})"))));
    CHECK(json::serialize(*objects->find(key)).find("canary") != std::string::npos);
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    CHECK(read_file(entry.path(), 1 << 24).value().find("canary") == std::string::npos);
  {
    auto database = Database::open(path, Objects::migrations()).value();
    CHECK(Objects::open(*database, clock, vault('b')).error().code() == Errc::corrupt);
    CHECK_FALSE(Objects::open(*database, clock));
  }
  auto database = Database::open(path, Objects::migrations()).value();
  auto objects = Objects::open(*database, clock, vault('a')).value();
  CHECK(json::serialize(objects->find(key)->at("data")) == R"({"a":"canary-in-a-coal-mine"})");
}

TEST_CASE("with a new key before the old one Secrets are read, sealed anew, and then need the new key alone") {
  const auto folder = TemporaryFolder::make("/tmp").value();
  const auto path = (folder.path() / "control.db").string();
  const auto vault = [](std::initializer_list<char> digits) {
    std::string keys;
    for (const char digit : digits) keys += std::string(64, digit) + "\n";
    return std::make_shared<const Vault>(Vault::from_hex(keys).value());
  };
  asio::io_context loop{1};
  FakeClock clock{loop};
  const ObjectKey key{"secrets", "default", "password"};
  const ObjectKey other{"secrets", "default", "second"};
  std::uint64_t version = 0;
  {
    auto database = Database::open(path, Objects::migrations()).value();
    auto objects = Objects::open(*database, clock, vault({'a'})).value();
    REQUIRE(run_on(loop, objects->create(key, parsed(R"({"data":{"a":"one"}})"))));
    CHECK(run_on(loop, objects->reseal()).value() == 0);
    version = objects->version();
  }
  {
    auto database = Database::open(path, Objects::migrations()).value();
    auto objects = Objects::open(*database, clock, vault({'b', 'a'})).value();
    REQUIRE(run_on(loop, objects->create(other, parsed(R"({"data":{"a":"two"}})"))));
    CHECK(run_on(loop, objects->reseal()).value() == 1);
    CHECK(run_on(loop, objects->reseal()).value() == 0);
    CHECK(objects->version() == version + 1);  // nobody is told of a change that is none
  }
  auto database = Database::open(path, Objects::migrations()).value();
  CHECK_FALSE(Objects::open(*database, clock, vault({'a'})));
  auto objects = Objects::open(*database, clock, vault({'b'})).value();
  CHECK(json::serialize(objects->find(key)->at("data")) == R"({"a":"one"})");
  CHECK(json::serialize(objects->find(other)->at("data")) == R"({"a":"two"})");
}

TEST_CASE("an index finds objects by what is in them, those that were there and those that come, change and go") {
  ObjectsFixture f;
  const auto labelled = [](std::string_view colours) {
    return R"({"spec":{"colours":[)" + std::string(colours) + "]}}";
  };
  REQUIRE(f.create(f.key("before"), labelled(R"("red")")));
  const auto index = f.objects->add_index({"services.serving.knative.dev"}, [](const json::object& object) {
    std::vector<std::string> values;
    for (const auto& colour : object.at("spec").at("colours").as_array()) values.emplace_back(colour.as_string());
    return values;
  });
  const auto found = [&](std::string_view colour) {
    std::vector<std::string> names;
    for (const auto& key : f.objects->keys_by(index, colour)) names.push_back(key.name);
    CHECK(f.objects->find_by(index, colour).size() == names.size());
    return names;
  };
  using Names = std::vector<std::string>;
  REQUIRE(f.create(f.key("after"), labelled(R"("red","blue")")));
  REQUIRE(f.create({"other", "default", "after"}, "{}"));
  CHECK(found("red") == Names{"after", "before"});
  CHECK(found("blue") == Names{"after"});
  CHECK(found("green").empty());
  REQUIRE(f.update(f.key("after"), labelled(R"("green")")));
  CHECK(found("red") == Names{"before"});
  CHECK(found("green") == Names{"after"});
  REQUIRE(run_on(f.loop, f.objects->remove(f.key("after"))));
  CHECK(found("green").empty());
  // A subscriber sees the index as the change left it.
  Names seen;
  const auto subscription = f.objects->subscribe([&](const Change&) { seen = found("blue"); });
  REQUIRE(f.create(f.key("last"), labelled(R"("blue")")));
  CHECK(seen == Names{"last"});
}

TEST_CASE("without a key no Secret is taken") {
  ObjectsFixture f;
  CHECK(f.create({"secrets", "default", "a"}, "{}").error().code() == Errc::unsupported);
  CHECK_FALSE(f.objects->find({"secrets", "default", "a"}));
}

TEST_CASE("a key is 64 hex digits, and a sealed value is bound to what it is about") {
  CHECK(Vault::from_hex(std::string(64, 'F') + "\n"));
  CHECK(Vault::from_hex(std::string(64, 'a') + "\n\n " + std::string(64, 'b') + "\r\n").value().keys() == 2);
  CHECK_FALSE(Vault::from_hex(std::string(64, 'a') + "\nb"));
  std::string nine;
  for (int i = 0; i < 9; ++i) nine += std::string(64, 'a') + "\n";
  CHECK_FALSE(Vault::from_hex(nine));
  CHECK(Vault::from_hex(std::string(64, 'a')).value().fingerprint() ==
        Vault::from_hex(std::string(64, 'A') + "\n" + std::string(64, 'b')).value().fingerprint());
  CHECK(Vault::from_hex(std::string(64, 'a')).value().fingerprint() !=
        Vault::from_hex(std::string(64, 'b')).value().fingerprint());
  for (const auto& wrong : {std::string(63, 'a'), std::string(65, 'a'), std::string(64, 'g'), std::string()})
    CHECK_FALSE(Vault::from_hex(wrong));
  const auto vault = Vault::from_hex(std::string(64, '1')).value();
  const auto sealed = vault.seal("text", "here");
  CHECK(vault.open(sealed, "here").value() == "text");
  CHECK(vault.seal("text", "here") != sealed);
  CHECK_FALSE(vault.open(sealed, "there"));
  CHECK_FALSE(vault.open(sealed.substr(0, sealed.size() - 4), "here"));
  CHECK_FALSE(vault.open("text", "here"));
}

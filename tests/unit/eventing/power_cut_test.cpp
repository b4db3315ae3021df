// Power cuts, failing syncs and flipped bits under a broker: what it acknowledged is there afterwards.
//
// The disk keeps only what was synced, and of the rest an arbitrary part. At each sync of a script of operations the
// power goes; the broker's file is opened again as it would be found. Two controls show that the harness sees a loss:
// a disk that ignores syncs (what synchronous=OFF is), and an acknowledgement before the commit.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <charconv>
#include <cstdlib>
#include <set>

#include "event_fixture.hpp"
#include "hasty_database.hpp"
#include "support/simulated_disk.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

bool is_long() { return std::getenv("WICK_LONG_TESTS") != nullptr; }

struct Ledger {
  std::mutex mutex;
  std::set<std::string> acknowledged;
  std::set<std::string> copy() {
    const std::lock_guard guard(mutex);
    return acknowledged;
  }
};

awaitable<Result<http::Response>> answer_by_number(http::Request request) {
  const std::string id(request.head.fields.find("ce-id").value_or("0"));
  if (id.ends_with("3")) co_return answer(500);
  if (id.ends_with("7") && !id.starts_with("r")) co_return reply("r" + id, "t.reply");
  co_return answer(200);
}

/// `operations` publishes, one, three or a batch at a time.
awaitable<void> run_script(Eventing& eventing, Ledger& ledger, int operations) {
  auto handler = eventing.ingress();
  for (int i = 0; i < operations; ++i) {
    const std::string id = std::to_string(i);
    FakeExchange exchange(
        event_request("/default/b", id, "t.one", std::string(static_cast<std::size_t>(i % 7) * 300, 'x')));
    co_await handler(exchange);
    if (exchange.answer.head.status != 202) continue;
    const std::lock_guard guard(ledger.mutex);
    ledger.acknowledged.insert(id);
  }
}

void check_row(sqlite3* connection, const char* sql, const std::function<void(sqlite3_stmt*)>& on_row) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(connection, sql, -1, &statement, nullptr) != SQLITE_OK) return;  // no table yet: no rows
  while (sqlite3_step(statement) == SQLITE_ROW) on_row(statement);
  sqlite3_finalize(statement);
}

/// What is wrong with a file found after a cut; empty: nothing.
std::string fault_of(const SimulatedDisk::Image& image, const std::string& path, const std::set<std::string>& wanted) {
  SimulatedDisk disk(image);
  sqlite3* connection = nullptr;
  if (sqlite3_open(path.c_str(), &connection) != SQLITE_OK) return "does not open";
  std::string integrity = "not read";
  std::set<std::string> found;
  check_row(connection, "PRAGMA integrity_check",
            [&](sqlite3_stmt* row) { integrity = reinterpret_cast<const char*>(sqlite3_column_text(row, 0)); });
  check_row(connection, "SELECT json_extract(attributes, '$.id') FROM event",
            [&](sqlite3_stmt* row) { found.insert(reinterpret_cast<const char*>(sqlite3_column_text(row, 0))); });
  sqlite3_close(connection);
  if (integrity != "ok") return "integrity: " + integrity;
  for (const auto& id : wanted)
    if (!found.contains(id)) return "acknowledged event " + id + " is gone";
  return {};
}

struct Run {
  int operations = 300;
  int every = 5;  // syncs between two cuts
  bool hasty = false;
  bool ignores_syncs = false;
};

struct Outcome {
  int cuts = 0;
  std::vector<std::string> faults;
};

Outcome cut_the_power(const Run& run) {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "events.db";
  std::minstd_rand random(42);
  Outcome outcome;
  std::vector<std::pair<SimulatedDisk::Image, std::set<std::string>>> images;
  const auto check_all = [&] {
    for (const auto& [image, wanted] : images)
      if (auto fault = fault_of(image, path, wanted); !fault.empty()) outcome.faults.push_back(std::move(fault));
    images.clear();
  };
  {
    SimulatedDisk disk;
    Ledger ledger;
    int syncs = 0;
    asio::io_context loop(1);
    SteadyClock clock;
    Metrics metrics;
    auto real = store::Database::open(path, Eventing::migrations()).value();
    HastyDatabase hasty(loop.get_executor(), *real);
    disk.ignores_syncs = run.ignores_syncs;
    disk.before_sync = [&] {
      if (++syncs % run.every != 0) return;
      ++outcome.cuts;
      images.emplace_back(disk.after_power_cut(random), ledger.copy());
    };
    auto deliver = [](Destination, http::Request request, milliseconds) {
      return answer_by_number(std::move(request));
    };
    store::Database& database = run.hasty ? static_cast<store::Database&>(hasty) : *real;
    auto eventing =
        std::make_unique<Eventing>(loop.get_executor(), clock, database, metrics, deliver, Eventing::Limits{});
    eventing->set_broker({.name_space = "default", .name = "b"});
    eventing->set_trigger({.name_space = "default",
                           .name = "t",
                           .broker = "b",
                           .subscriber = {.url = "http://s"},
                           .delivery = Delivery{.retry = 2, .backoff_delay = 1ms}});
    run_on(loop, run_script(*eventing, ledger, run.operations));
    run_on(loop, eventing->stop(0ms));
    eventing.reset();
    run_on(loop, hasty.join());
    real.reset();  // and its thread: from here on nobody else touches the images
    images.emplace_back(disk.after_power_cut(random), ledger.copy());
    ++outcome.cuts;
  }
  check_all();
  return outcome;
}

}  // namespace

TEST_CASE("after a power cut at any sync every acknowledged event is there, and the file is sound") {
  const Outcome outcome = cut_the_power({.operations = is_long() ? 2000 : 300, .every = is_long() ? 1 : 5});
  WARN(outcome.cuts << " power cuts");
  CHECK(outcome.faults == std::vector<std::string>{});
  CHECK(outcome.cuts > 50);
}

TEST_CASE("control: the power cuts find a disk that does not sync") {
  CHECK_FALSE(cut_the_power({.ignores_syncs = true}).faults.empty());
}

TEST_CASE("control: the power cuts find an acknowledgement before the commit") {
  CHECK_FALSE(cut_the_power({.every = 1, .hasty = true}).faults.empty());
}

TEST_CASE("after a failed sync nothing is acknowledged, and what was is there at the next start") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "events.db";
  SimulatedDisk::Image image;
  Ledger ledger;
  bool told = false;
  {
    SimulatedDisk disk;
    asio::io_context loop(1);
    SteadyClock clock;
    Metrics metrics;
    auto database = store::Database::open(path, Eventing::migrations()).value();
    auto deliver = [](Destination, http::Request request, milliseconds) {
      return answer_by_number(std::move(request));
    };
    Eventing eventing(loop.get_executor(), clock, *database, metrics, deliver, {});
    eventing.on_broken_disk([&] { told = true; });
    eventing.set_broker({.name_space = "default", .name = "b"});
    run_on(loop, run_script(eventing, ledger, 20));
    const auto before = ledger.copy().size();
    CHECK(before == 20);
    disk.syncs_until_failure = 0;
    Ledger refused;
    run_on(loop, run_script(eventing, refused, 5));
    CHECK(refused.acknowledged.empty());
    CHECK(told);
    std::minstd_rand random(1);
    image = disk.after_power_cut(random);
    run_on(loop, eventing.stop(0ms));
  }
  CHECK(fault_of(image, path, ledger.acknowledged) == "");
}

TEST_CASE("a flipped bit anywhere in the log is harmless or told, and never ends the broker") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "events.db";
  constexpr int events = 200;
  SimulatedDisk::Image image;
  {
    SimulatedDisk disk;
    asio::io_context loop(1);
    SteadyClock clock;
    Metrics metrics;
    Ledger ledger;
    auto database = store::Database::open(path, Eventing::migrations()).value();
    auto deliver = [](Destination, http::Request, milliseconds) -> awaitable<Result<http::Response>> {
      co_return answer(200);
    };
    auto eventing =
        std::make_unique<Eventing>(loop.get_executor(), clock, *database, metrics, deliver, Eventing::Limits{});
    eventing->set_broker({.name_space = "default", .name = "b"});
    run_on(loop, run_script(*eventing, ledger, events));
    run_on(loop, eventing->stop(0ms));
    eventing.reset();
    database.reset();  // checkpoints: all is in the database file
    image = disk.now();
  }
  std::minstd_rand random(7);
  const int flips = is_long() ? 1000 : 100;
  int harmless = 0, refused = 0;
  std::vector<std::string> silent;
  for (int i = 0; i < flips; ++i) {
    auto flipped = image;
    std::string& bytes = flipped.at(path);
    const auto at = random() % bytes.size();
    const auto bit = random() % 8;
    bytes[at] ^= static_cast<char>(1 << bit);
    SimulatedDisk disk(flipped);
    asio::io_context loop(1);
    SteadyClock clock;
    Metrics metrics;
    std::map<std::string, std::size_t> got;  // id: bytes
    auto opened = store::Database::open(path, Eventing::migrations());
    if (!opened) {
      ++refused;
      continue;
    }
    auto deliver = [&](Destination, http::Request request, milliseconds) -> awaitable<Result<http::Response>> {
      const bool sound = request.body.find_first_not_of('x') == std::string::npos;
      got[std::string(request.head.fields.find("ce-id").value_or("?"))] = sound ? request.body.size() : 1;
      co_return answer(200);
    };
    try {
      Eventing eventing(loop.get_executor(), clock, **opened, metrics, deliver, {});
      eventing.set_broker({.name_space = "default", .name = "b"});
      eventing.set_trigger({.name_space = "default",
                            .name = "t",
                            .broker = "b",
                            .subscriber = {.url = "http://s"},
                            .start_from = {.where = StartFrom::Where::earliest}});
      // Until all came, or what is missing was told of and nothing more comes.
      auto settle = [&got](Clock& clock, Eventing& eventing) -> awaitable<void> {
        int quiet = 0;
        for (const auto until = clock.now() + 10s; got.size() < events && quiet < 20 && clock.now() < until;) {
          const auto before = got.size();
          co_await clock.sleep(1ms);
          quiet = eventing.damaged() > 0 && got.size() == before ? quiet + 1 : 0;
        }
        co_await eventing.stop(10s);
      };
      run_on(loop, settle(clock, eventing));
      const auto note = [&](std::string what) {
        silent.push_back(fmt::format("bit {} of byte {} of {}: {}", bit, at, bytes.size(), what));
      };
      std::size_t right = 0;
      for (const auto& [id, size] : got) {
        int number = -1;
        std::from_chars(id.data(), id.data() + id.size(), number);
        if (number >= 0 && number < events && size == static_cast<std::size_t>(number % 7) * 300)
          ++right;
        else
          note(fmt::format("event '{}' with {} bytes came out", id, size));
      }
      if (right == events)
        ++harmless;
      else if (eventing.damaged() == 0)
        note(fmt::format("{} of {} came out, and nothing was said", right, events));
    } catch (const store::DatabaseError&) {
      ++refused;
    }
  }
  WARN(flips << " flips: " << harmless << " harmless, " << refused << " refused at the start, "
             << flips - harmless - refused << " with events left out and told");
  CHECK(silent == std::vector<std::string>());
}

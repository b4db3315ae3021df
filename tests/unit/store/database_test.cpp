#include <sqlite3.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>

#include "support/run_loop.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"
#include "wick/store/database.hpp"

using namespace wick;
using store::Database;
using store::DatabaseError;
using store::Statement;

namespace {

const std::vector<std::string_view> one_table = {"CREATE TABLE t(v INTEGER PRIMARY KEY)"};

struct TemporaryDatabase {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  std::string path = folder.path() / "test.db";

  std::unique_ptr<Database> open(store::DatabaseOptions options = {}) {
    auto opened = Database::open(path, one_table, options);
    REQUIRE(opened);
    return std::move(*opened);
  }
};

std::function<void(sqlite3*)> insert(std::int64_t value) {
  return [value](sqlite3* connection) { Statement(connection, "INSERT INTO t VALUES(?)").bind(value).run(); };
}

std::int64_t count(sqlite3* connection) {
  Statement query(connection, "SELECT count(*) FROM t");
  query.step();
  return query.integer(0);
}

awaitable<void> write_into(Database& database, std::function<void(sqlite3*)> work, std::vector<Result<void>>& results) {
  results.push_back(co_await database.write(std::move(work)));
}

/// Starts all jobs at once and waits for all of them.
void write_together(Database& database, std::vector<std::function<void(sqlite3*)>> jobs,
                    std::vector<Result<void>>& results) {
  asio::io_context loop(1);
  TaskGroup tasks(loop.get_executor());
  for (auto& job : jobs) tasks.spawn("write", write_into(database, std::move(job), results));
  loop.run();
}

Result<void> write(Database& database, std::function<void(sqlite3*)> work) {
  return run_to_end(database.write(std::move(work)));
}

}  // namespace

TEST_CASE("what was written is read back, also by the next process") {
  TemporaryDatabase file;
  {
    auto database = file.open();
    REQUIRE(write(*database, insert(7)));
    CHECK(count(database->reader()) == 1);
    CHECK(database->waiting() == 0);
  }
  auto database = file.open();
  CHECK(count(database->reader()) == 1);
}

TEST_CASE("a memory database is shared by reader and writer") {
  auto database = Database::open(":memory:", one_table).value();
  REQUIRE(write(*database, insert(1)));
  CHECK(count(database->reader()) == 1);
  CHECK_THROWS_AS(write(*database, insert(1)), DatabaseError);
  REQUIRE(write(*database, insert(2)));
  CHECK(count(database->reader()) == 2);
}

TEST_CASE("both connections have the settings that durability rests on") {
  TemporaryDatabase file;
  auto database = file.open();
  const auto pragma = [](sqlite3* connection, const char* name) {
    Statement query(connection, std::string("PRAGMA ") + name);
    query.step();
    return query.text(0);
  };
  CHECK(pragma(database->reader(), "wal_autocheckpoint") == "0");
  CHECK(pragma(database->reader(), "query_only") == "1");
  std::string seen;
  REQUIRE(write(*database, [&](sqlite3* connection) {
    seen = pragma(connection, "journal_mode") + pragma(connection, "synchronous") + pragma(connection, "foreign_keys");
  }));
  CHECK(seen == "wal21");  // synchronous 2 is FULL
}

TEST_CASE("concurrent writes share commits") {
  TemporaryDatabase file;
  auto database = file.open();
  std::atomic<int> commits = 0;
  REQUIRE(write(*database, [&](sqlite3* connection) {
    auto counting = [](void* counter) { return ++*static_cast<std::atomic<int>*>(counter), 0; };
    sqlite3_commit_hook(connection, counting, &commits);
  }));
  commits = 0;
  std::vector<std::function<void(sqlite3*)>> jobs;
  for (int i = 0; i < 1000; ++i) jobs.push_back(insert(i));
  std::vector<Result<void>> results;
  write_together(*database, std::move(jobs), results);
  CHECK(results.size() == 1000);
  CHECK(std::all_of(results.begin(), results.end(), [](const auto& result) { return result.has_value(); }));
  CHECK(count(database->reader()) == 1000);
  CHECK(commits < 300);
  CHECK(commits >= 2);  // group_max is 512
}

TEST_CASE("a job that throws takes back its own changes only and gets its exception") {
  TemporaryDatabase file;
  auto database = file.open();
  std::vector<Result<void>> results;
  auto half_done = [](sqlite3* connection) {
    insert(100)(connection);
    throw std::runtime_error("half done");
  };
  write_together(*database, {insert(1), half_done, insert(1), insert(2)}, results);
  CHECK(results.size() == 2);  // the other two ended with exceptions
  CHECK(count(database->reader()) == 2);
  CHECK_THROWS_WITH(write(*database, half_done), "half done");
}

TEST_CASE("a commit that fails fails every write of its group, and the next group works") {
  TemporaryDatabase file;
  auto database = file.open();
  std::atomic<bool> refuse = true;
  REQUIRE(write(*database, [&](sqlite3* connection) {
    auto refusing = [](void* flag) { return static_cast<std::atomic<bool>*>(flag)->exchange(false) ? 1 : 0; };
    sqlite3_commit_hook(connection, refusing, &refuse);
    refuse = false;
  }));
  // Holds the writer, in a group of its own, until three more are queued behind it: those are one group.
  std::atomic<bool> held = false;
  std::atomic<bool> go = false;
  auto hold = [&](sqlite3*) {
    held = true;
    while (!go) std::this_thread::yield();
    refuse = false;
  };
  auto arm = [&](sqlite3* connection) {
    insert(1)(connection);
    refuse = true;
  };
  std::vector<Result<void>> results;
  asio::io_context loop(1);
  TaskGroup tasks(loop.get_executor());
  const auto poll = [&] {
    loop.poll();
    loop.restart();
  };
  tasks.spawn("hold", write_into(*database, hold, results));
  while (!held) poll();
  tasks.spawn("write", write_into(*database, arm, results));
  for (const int number : {2, 3}) tasks.spawn("write", write_into(*database, insert(number), results));
  poll();
  REQUIRE(database->waiting() == 4);
  go = true;
  loop.run();
  REQUIRE(results.size() == 4);
  CHECK(std::count_if(results.begin(), results.end(), [](const auto& result) { return result.has_value(); }) == 1);
  CHECK(count(database->reader()) == 0);
  REQUIRE(write(*database, insert(4)));
  CHECK(count(database->reader()) == 1);
}

TEST_CASE("a full queue refuses at once") {
  TemporaryDatabase file;
  auto database = file.open({.queue_max = 2});
  std::atomic<bool> go = false;
  std::atomic<bool> started = false;
  asio::io_context loop(1);
  TaskGroup tasks(loop.get_executor());
  std::vector<Result<void>> held;
  std::vector<Result<void>> results;
  tasks.spawn("hold", write_into(
                          *database,
                          [&](sqlite3*) {
                            started = true;
                            while (!go) std::this_thread::yield();
                          },
                          held));
  while (!started) {
    loop.poll();
    loop.restart();
  }
  for (int i = 0; i < 3; ++i) tasks.spawn("write", write_into(*database, insert(i), results));
  while (results.empty()) loop.run_one();
  CHECK(results[0].error().code() == Errc::overloaded);
  go = true;
  loop.run();
  CHECK(results.size() == 3);
  CHECK(count(database->reader()) == 2);
}

TEST_CASE("a size limit reached is disk full with a hint, and only that write is lost") {
  TemporaryDatabase file;
  auto database = file.open();
  REQUIRE(write(*database, [](sqlite3* connection) { Statement(connection, "PRAGMA max_page_count=4").step(); }));
  auto large = [](sqlite3* connection) {
    Statement(connection, "CREATE TABLE big(b)").run();
    Statement(connection, "INSERT INTO big VALUES(?)").bind_blob(std::string(100'000, 'x')).run();
  };
  const auto refused = write(*database, large);
  REQUIRE(!refused);
  CHECK(refused.error().code() == Errc::too_large);
  CHECK(refused.error().message().find("disk full") == 0);
  CHECK(!refused.error().hint().empty());
  REQUIRE(write(*database, insert(1)));
}

TEST_CASE("writes queued when the database closes are committed first") {
  TemporaryDatabase file;
  asio::io_context loop(1);
  std::vector<Result<void>> results;
  TaskGroup tasks(loop.get_executor());
  {
    auto database = file.open();
    for (int i = 0; i < 100; ++i) tasks.spawn("write", write_into(*database, insert(i), results));
    loop.poll();
  }
  loop.restart();
  loop.run();
  CHECK(results.size() == 100);
  CHECK(count(file.open()->reader()) == 100);
}

TEST_CASE("the log is made longer while nothing is written, and a crash leaves in it what was committed") {
  constexpr std::size_t log_bytes = (2 << 20) + 4096;
  TemporaryDatabase file, crashed;
  auto database = file.open({.log_bytes = log_bytes});
  REQUIRE(write(*database, insert(1)));
  const std::string log = file.path + "-wal";
  while (std::filesystem::file_size(log) < log_bytes) std::this_thread::yield();
  REQUIRE(write(*database, insert(2)));
  REQUIRE(write(*database, insert(3)));
  CHECK(std::filesystem::file_size(log) == log_bytes);
  std::filesystem::copy_file(log, crashed.path + "-wal");  // before the database: what a checkpoint moved is in both
  std::filesystem::copy_file(file.path, crashed.path);
  auto again = crashed.open({.log_bytes = log_bytes});
  CHECK(count(again->reader()) == 3);
  REQUIRE(write(*again, insert(4)));
  CHECK(count(again->reader()) == 4);
}

TEST_CASE("migrations run once each, in order, and a newer file is refused") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "m.db";
  const std::vector<std::string_view> two = {"CREATE TABLE a(x); INSERT INTO a VALUES(1)",
                                             "ALTER TABLE a ADD COLUMN y"};
  REQUIRE(Database::open(path, {two[0]}));
  {
    auto database = Database::open(path, two).value();
    Statement query(database->reader(), "SELECT count(*), count(y) FROM a");
    query.step();
    CHECK(query.integer(0) == 1);
  }
  const auto older = Database::open(path, {two[0]});
  REQUIRE(!older);
  CHECK(older.error().code() == Errc::unsupported);
  CHECK(!older.error().hint().empty());
}

TEST_CASE("a migration that fails leaves the version before it") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "m.db";
  const auto broken = Database::open(path, {"CREATE TABLE a(x)", "CREATE TABLE b(x); CREATE TABLE a(x)"});
  REQUIRE(!broken);
  CHECK(broken.error().what().find("migration to schema version 2") != std::string::npos);
  auto database = Database::open(path, {"CREATE TABLE a(x)", "CREATE TABLE b(x)"});
  REQUIRE(database);
}

TEST_CASE("a database has one process, and a file that is none is refused") {
  TemporaryDatabase file;
  auto first = file.open();
  const auto second = Database::open(file.path, one_table);
  REQUIRE(!second);
  CHECK(second.error().code() == Errc::conflict);

  const std::string text = file.folder.path() / "text";
  REQUIRE(write_file(text, std::string(8192, 'x')));
  const auto none = Database::open(text, one_table);
  REQUIRE(!none);
  CHECK(none.error().code() == Errc::corrupt);
  CHECK(Database::open(file.folder.path() / "missing" / "x.db", one_table).error().code() == Errc::not_found);
}

// A process that is killed at a random moment has lost nothing it acknowledged.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <random>
#include <set>

#include "support/run_loop.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"
#include "wick/store/database.hpp"

using namespace wick;
using store::Database;
using store::Statement;

namespace {

const std::vector<std::string_view> schema = {"CREATE TABLE t(v INTEGER PRIMARY KEY, body BLOB)"};
constexpr int writers = 16;
constexpr int cycles = 60;

/// Writes distinct values for ever and tells each over `pipe` once it is acknowledged.
awaitable<void> acknowledge(Database& database, std::int64_t first, int pipe) {
  for (std::int64_t value = first;; value += writers) {
    auto insert = [value](sqlite3* connection) {
      Statement(connection, "INSERT INTO t VALUES(?,?)").bind(value).bind_blob(std::string(300, 'b')).run();
    };
    auto written = co_await database.write(std::move(insert));
    if (!written || ::write(pipe, &value, sizeof value) != sizeof value) ::_exit(3);
  }
}

[[noreturn]] void write_until_killed(const std::string& path, std::int64_t first, int pipe) {
  auto database = Database::open(path, schema);
  if (!database) ::_exit(2);
  asio::io_context loop(1);
  TaskGroup tasks(loop.get_executor());
  for (int i = 0; i < writers; ++i) tasks.spawn("writer", acknowledge(**database, first + i, pipe));
  loop.run();
  ::_exit(4);
}

/// Reads what was acknowledged until the writer is gone.
void collect(int pipe, std::set<std::int64_t>& acknowledged) {
  std::int64_t value = 0;
  while (::read(pipe, &value, sizeof value) == sizeof value) acknowledged.insert(value);
}

std::set<std::int64_t> stored(const std::string& path, std::string& integrity) {
  auto database = Database::open(path, schema).value();
  Statement check(database->reader(), "PRAGMA integrity_check");
  check.step();
  integrity = check.text(0);
  check.reset();
  std::set<std::int64_t> values;
  Statement query(database->reader(), "SELECT v FROM t");
  while (query.step()) values.insert(query.integer(0));
  return values;
}

}  // namespace

TEST_CASE("nothing acknowledged is missing after kill -9 at random moments") {
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  const std::string path = folder.path() / "crash.db";
  std::set<std::int64_t> acknowledged;
  std::minstd_rand random(std::random_device{}());
  std::int64_t first = 0;
  for (int cycle = 0; cycle < cycles; ++cycle, first += 10'000'000) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const pid_t child = ::fork();
    if (child == 0) write_until_killed(path, first, ends[1]);
    ::close(ends[1]);
    // The first acknowledgement means the writer is at work; the kill comes up to 20 ms later.
    std::int64_t value = 0;
    REQUIRE(::read(ends[0], &value, sizeof value) == sizeof value);
    acknowledged.insert(value);
    ::usleep(random() % 20'000);
    ::kill(child, SIGKILL);
    collect(ends[0], acknowledged);
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));

    std::string integrity;
    const std::set<std::int64_t> values = stored(path, integrity);
    REQUIRE(integrity == "ok");
    REQUIRE(std::includes(values.begin(), values.end(), acknowledged.begin(), acknowledged.end()));
  }
  WARN(cycles << " kills, " << acknowledged.size() << " acknowledged writes, none lost");
}

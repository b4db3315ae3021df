// The two shapes of a Database: a file with a writer thread, and ":memory:" without one.
//
// File: callers push jobs into a bounded queue; the thread takes all that wait (at most group_max), commits them
// together and posts their outcomes as one function a loop. There is no timer: a group is what gathered while the last
// commit synced.
#include "wick/store/database.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <thread>

#include "wick/base/log.hpp"
#include "wick/os/files.hpp"
#include "writer.hpp"

namespace wick::store {

namespace {

// 16 MiB: with SQLite's default of 1,000 pages one commit in a few dozen waits for a checkpoint (p99 3 ms where 10,000
// gives 2 ms).
constexpr int wal_pages_max = 4096;
constexpr auto idle_before_checkpoint = std::chrono::milliseconds(200);

/// Suspends the caller until `start(done)`'s done is called.
template <class Start>
awaitable<Result<void>> outcome_of(Start start) {
  auto initiate = [start = std::move(start)](auto handler) mutable { start(std::move(handler)); };
  co_return co_await asio::async_initiate<decltype(use_awaitable), void(std::exception_ptr, Result<void>)>(
      std::move(initiate), use_awaitable);
}

void resume(Job& job) { job.done(std::move(job.thrown), std::move(job.result)); }

class MemoryDatabase final : public Database {
 public:
  explicit MemoryDatabase(Connection connection)
      : writer_(std::move(connection)), waiting_(std::make_shared<std::size_t>(0)) {}

  sqlite3* reader() override { return writer_.connection(); }
  std::size_t waiting() const override { return *waiting_; }

  awaitable<Result<void>> write(std::function<void(sqlite3*)> work) override {
    Job job{.work = std::move(work), .executor = co_await asio::this_coro::executor};
    writer_.commit(std::span(&job, 1));
    auto start = [job = std::move(job), waiting = waiting_](auto handler) mutable {
      ++*waiting;
      job.done = std::move(handler);
      Executor executor = job.executor;
      asio::post(executor, [job = std::move(job), waiting]() mutable {
        --*waiting;
        resume(job);
      });
    };
    co_return co_await outcome_of(std::move(start));
  }

 private:
  Writer writer_;
  std::shared_ptr<std::size_t> waiting_;
};

class FileDatabase final : public Database {
 public:
  FileDatabase(Fd lock, Connection writer, Connection reader, DatabaseOptions options)
      : options_(options),
        lock_(std::move(lock)),
        writer_(std::move(writer)),
        reader_(std::move(reader)),
        waiting_(std::make_shared<std::atomic<std::size_t>>(0)),
        posting_(std::make_shared<std::mutex>()),
        thread_([this] { run(); }) {}

  /// Commits what is queued, then stops. The reader closes first: only the writer may checkpoint at the end.
  ~FileDatabase() override {
    {
      const std::lock_guard guard(mutex_);
      closing_ = true;
    }
    wake_.notify_one();
    thread_.join();
    reader_.reset();
  }

  sqlite3* reader() override { return reader_.get(); }
  std::size_t waiting() const override { return *waiting_; }

  awaitable<Result<void>> write(std::function<void(sqlite3*)> work) override {
    // The tracked executor keeps the caller's loop running until its outcome was posted.
    Executor executor = asio::prefer(co_await asio::this_coro::executor, asio::execution::outstanding_work.tracked);
    Job job{.work = std::move(work), .executor = std::move(executor)};
    if (!has_room())
      co_return fail(Errc::overloaded, fmt::format("{} writes already wait for the disk", options_.queue_max));
    auto start = [this, job = std::move(job)](auto handler) mutable {
      job.done = std::move(handler);
      push(std::move(job));
    };
    co_return co_await outcome_of(std::move(start));
  }

 private:
  bool has_room() {
    const std::lock_guard guard(mutex_);
    return queue_.size() < options_.queue_max;
  }

  void push(Job job) {
    ++*waiting_;
    bool sleeping = false;
    {
      const std::lock_guard guard(mutex_);
      queue_.push_back(std::move(job));
      sleeping = sleeping_;
    }
    if (sleeping) wake_.notify_one();
  }

  void run() {
    while (true) {
      std::vector<Job> group = take();
      if (group.empty()) return;
      writer_.commit(group);
      deliver(std::move(group));
      if (writer_.wal_pages() >= wal_pages_max) writer_.checkpoint();
    }
  }

  /// Waits for work; empty when the database closes and nothing is left.
  std::vector<Job> take() {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return closing_ || !queue_.empty(); };
    sleeping_ = true;
    if ((writer_.wal_pages() > 0 || log_is_short_) && !wake_.wait_for(lock, idle_before_checkpoint, ready)) {
      lock.unlock();
      if (writer_.wal_pages() > 0) writer_.checkpoint();
      lock.lock();
      while (log_is_short_ && !ready()) {
        lock.unlock();
        log_is_short_ = writer_.lengthen_log(static_cast<std::int64_t>(options_.log_bytes));
        lock.lock();
      }
    }
    wake_.wait(lock, ready);
    sleeping_ = false;
    const auto count = std::min(queue_.size(), options_.group_max);
    const auto end = queue_.begin() + static_cast<std::ptrdiff_t>(count);
    std::vector<Job> group(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
    queue_.erase(queue_.begin(), end);
    return group;
  }

  /// One post for each run of jobs with the same loop, in order: waking a loop costs more than the rest.
  void deliver(std::vector<Job> group) {
    for (auto first = group.begin(); first != group.end();) {
      const auto differs = [&](const Job& job) { return job.executor != first->executor; };
      const auto other = std::find_if(first, group.end(), differs);
      post(std::vector<Job>(std::make_move_iterator(first), std::make_move_iterator(other)));
      first = other;
    }
  }

  /// The loop may end, and go, as soon as it has its outcomes. So they are handed out only when this thread no longer
  /// holds any part of the loop: the function waits for the lock under which it was posted.
  void post(std::vector<Job> jobs) {
    const std::lock_guard guard(*posting_);
    Executor executor = jobs.front().executor;
    asio::post(executor, [jobs = std::move(jobs), waiting = waiting_, posting = posting_]() mutable {
      {
        const std::lock_guard posted(*posting);
      }
      for (Job& job : jobs) {
        --*waiting;
        resume(job);
      }
    });
  }

  DatabaseOptions options_;
  Fd lock_;
  Writer writer_;
  Connection reader_;
  std::shared_ptr<std::atomic<std::size_t>> waiting_;
  std::shared_ptr<std::mutex> posting_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  bool sleeping_ = false;
  bool closing_ = false;
  bool log_is_short_ = options_.log_bytes > 0;  // the thread's
  std::thread thread_;
};

/// A second process with a writer of its own is what the WAL-reset bug of SQLite 3.7.0 to 3.51.2 needs.
Result<Fd> lock_for_us(const std::string& path) {
  auto lock = open_file(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (!lock) return fail(std::move(lock.error()));
  if (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0)
    return fail(Errc::conflict, "another process has the database open",
                "stop the other wick, or give this one its own state folder");
  return lock;
}

/// Private from the start, and findable after a crash: the folder entry is synced.
Result<void> make_file(const std::string& path) {
  auto file = open_file(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (!file) return fail(std::move(file.error()));
  auto folder_path = std::filesystem::path(path).parent_path();
  if (folder_path.empty()) folder_path = ".";
  auto folder = open_file(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!folder) return fail(std::move(folder.error()));
  if (::fsync(folder->get()) != 0) return fail(system_error("fsync " + folder_path.string(), errno));
  return {};
}

Result<std::unique_ptr<Database>> open_file_database(const std::string& path,
                                                     const std::vector<std::string_view>& migrations,
                                                     DatabaseOptions options) {
  auto lock = lock_for_us(path);
  if (!lock) return fail(std::move(lock.error()));
  if (auto made = make_file(path); !made) return fail(std::move(made.error()));
  Connection writer = open_connection(path, Access::write);
  // The change to WAL deleted a rollback journal. Were it to come back after a power cut, it would take all back.
  if (auto synced = make_file(path); !synced) return fail(std::move(synced.error()));
  if (auto migrated = migrate(writer.get(), migrations); !migrated) return fail(std::move(migrated.error()));
  Connection reader = open_connection(path, Access::read);
  return std::make_unique<FileDatabase>(std::move(*lock), std::move(writer), std::move(reader), options);
}

Result<std::unique_ptr<Database>> open_memory_database(const std::vector<std::string_view>& migrations) {
  Connection connection = open_connection(":memory:", Access::write);
  if (auto migrated = migrate(connection.get(), migrations); !migrated) return fail(std::move(migrated.error()));
  return std::make_unique<MemoryDatabase>(std::move(connection));
}

}  // namespace

Result<std::unique_ptr<Database>> Database::open(std::string path, std::vector<std::string_view> migrations,
                                                 DatabaseOptions options) {
  try {
    auto opened = path == ":memory:" ? open_memory_database(migrations) : open_file_database(path, migrations, options);
    if (!opened) return fail(std::move(opened.error()).within("database " + path));
    return opened;
  } catch (const DatabaseError& error) {
    return fail(to_error(error).within("database " + path));
  }
}

}  // namespace wick::store

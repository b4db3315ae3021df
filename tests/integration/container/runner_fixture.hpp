// A real runner process over folders of its own, and images made of busybox. Needs root, runc and busybox-static.
#pragma once

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "support/run_loop.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"

namespace wick::container::testing {

/// Fails the test with the error's sentence.
template <class T>
T value_of(Result<T> result) {
  if (!result) FAIL(result.error().what());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// A tar as the tests write it: paths and contents, nothing clever.
class Tar {
 public:
  Tar& folder(std::string path, unsigned mode = 0755, unsigned owner = 0);
  Tar& file(std::string path, std::string bytes, unsigned mode = 0644, unsigned owner = 0);
  Tar& symlink(std::string path, std::string target);
  std::string bytes() const;

 private:
  void entry(const std::string& path, char type, unsigned mode, unsigned owner, const std::string& link,
             const std::string& bytes);
  std::string bytes_;
};

Fd file_of(std::string_view bytes);

/// busybox at /bin/busybox, its applets as links, /etc/passwd with user "app" (1000:1000, in group staff 50).
Tar busybox_tar();

class RunnerFixture {
 public:
  RunnerFixture();
  ~RunnerFixture();

  /// Runs `task` with the client reading replies meanwhile.
  template <class T>
  T run(awaitable<T> task) {
    return run_on(loop_, std::move(task));
  }

  RunnerClient& runner() { return *client_; }
  pid_t runner_pid() const { return process_->pid(); }
  /// SIGKILL, and another one over the same folders.
  void restart_runner();
  /// Its front goes, so it ends; then another one with another front.
  void hand_over_runner();
  void stop_runner();
  void start_runner();

  Digest import(const Tar& tar);
  /// A service's instance of `argv` on the busybox layer.
  InstanceSpec spec(std::vector<std::string> argv);
  Fd open_log(const InstanceId& id);
  std::string log_of(const InstanceId& id) const;
  /// Prepares, starts, waits for the end, removes; the output is log_of().
  Exit run_to_exit(InstanceSpec spec);
  Prepared launch(const InstanceSpec& spec);
  Exit wait_exit(const InstanceId& id);
  std::vector<Exit> exits;
  /// The listeners inside each instance that was prepared.
  std::map<InstanceId, Inside> insides;

  const std::filesystem::path& folder() const { return folder_.path(); }
  const std::vector<Digest>& busybox() const { return busybox_; }
  asio::io_context& loop() { return loop_; }

  /// What the host would show if something leaked: cgroups, runtime state, mounts, records of this fixture.
  std::vector<std::string> leftovers() const;

 private:
  TemporaryFolder folder_;
  asio::io_context loop_{1};
  Shelf shelf_;
  std::optional<ChildProcess> process_;
  std::unique_ptr<RunnerClient> client_;
  std::unique_ptr<TaskGroup> tasks_;
  std::vector<Digest> busybox_;
};

}  // namespace wick::container::testing

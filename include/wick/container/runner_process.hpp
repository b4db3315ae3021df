// How `app` starts the runner, speaks to it, and dispatches its sandboxed children. See runner.hpp for the verbs.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "wick/container/runner.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"
#include "wick/os/shelf.hpp"

namespace wick::container {

/// An OCI runtime that services may ask for by `runtimeClassName`.
struct RuntimeClass {
  std::string name;
  std::string program;             // looked up in PATH unless it has a slash
  std::vector<std::string> flags;  // before the verb, e.g. {"--platform=ptrace", "--network=host"}
};

struct RunnerOptions {
  // Both folders are made where they are missing; only root may be able to write to them.
  std::filesystem::path state_folder = "/var/lib/wick/runner";  // layers and steps; ext4, xfs or btrfs
  std::filesystem::path run_folder = "/run/wick";  // mounts, the runtime's state, records; every parent reachable (o+x)
  std::string runtime = "runc";
  std::vector<RuntimeClass> runtime_classes;  // beside "runc" and "crun"; a name given here wins
  uid_t front_uid = 0;                        // who may speak to us, beside root
  gid_t front_gid = 0;
  bool replaces_dead = false;  // tells the front that the runner before this one died
  /// Where listeners inside instances lie between one runner and the next, so that they stay open; null: nowhere.
  std::shared_ptr<const Shelf> shelf;
};

/// Serves one front until it goes away. Needs root and a mount namespace of its own (runner_main makes one); instances
/// go on afterwards and are adopted by the next call. Errors in the set-up are thrown as std::runtime_error with a
/// sentence for people.
awaitable<void> serve_runner(Executor executor, Fd socket, RunnerOptions options);

/// The whole process: own loop, private mount namespace, subreaper, SIGTERM and SIGINT. Returns the exit code. Works in
/// a child that is made anew when it dies of anything but its own decision, so that the front keeps its runner.
int runner_main(Fd socket, RunnerOptions options);

/// The front's end. One thread (the executor's).
class RunnerClient final : public Runner {
 public:
  RunnerClient(Executor executor, Fd socket);
  ~RunnerClient() override;

  /// Reads replies and exit notices until the runner is gone; every call pending then or made later gets
  /// Errc::unavailable.
  awaitable<void> run();
  /// Ends run().
  void close();

  awaitable<Result<Inside>> open_pod(InstanceSpec spec) override;
  awaitable<Result<void>> close_pod(InstanceId pod) override;
  awaitable<Result<Prepared>> prepare(InstanceSpec spec, Fd log) override;
  awaitable<Result<void>> park(InstanceId id) override;
  awaitable<Result<void>> start(InstanceId id) override;
  awaitable<Result<Fd>> freeze(InstanceId id) override;
  awaitable<Result<void>> thaw(InstanceId id) override;
  awaitable<Result<void>> signal(InstanceId id, int number) override;
  awaitable<Result<void>> remove(InstanceId id) override;
  awaitable<Result<std::vector<Existing>>> list() override;
  awaitable<Result<std::vector<Fd>>> connect(InstanceId id, std::uint16_t port, std::size_t count) override;
  awaitable<Result<Fd>> await_listening(InstanceId id, std::uint16_t port, std::chrono::milliseconds patience) override;
  awaitable<Result<Executed>> execute(InstanceId id, Process process, std::chrono::milliseconds limit) override;
  awaitable<Result<Command>> begin_command(InstanceId id, Process process, CommandOptions options) override;
  awaitable<Result<void>> update_volumes(InstanceId id, std::vector<Volume> volumes,
                                         std::vector<VolumeMount> mounts) override;
  awaitable<Result<Usage>> usage(InstanceId id) override;
  awaitable<Result<std::vector<Listening>>> listening(InstanceId id) override;
  void on_exit(std::function<void(const Exit&)> callback) override;
  void on_restart(std::function<void()> callback) override;
  /// `opened` is given the listeners inside each instance that prepare() makes and each pod, in place of its caller;
  /// `gone` is told when they are of no use any more. Both before prepare() is called first.
  void on_inside(std::function<void(const InstanceId&, const EgressPolicy&, Inside)> opened,
                 std::function<void(const InstanceId&)> gone);
  /// The listeners inside a running instance, given to `opened` as by prepare(): for a front that came after it.
  awaitable<Result<void>> listen_inside(InstanceId id);
  awaitable<Result<bool>> has_layer(Digest layer) override;
  awaitable<Result<void>> import_layer(Digest layer, Fd tar) override;
  awaitable<Result<std::vector<Digest>>> layers() override;
  awaitable<Result<std::uint64_t>> remove_layer(Digest layer) override;
  awaitable<Result<void>> pack(std::vector<Digest> layers, std::string subpath, std::string prefix, Fd out) override;
  awaitable<Result<UserIds>> resolve_user(std::vector<Digest> layers, std::string user) override;
  awaitable<Result<void>> pack_layer(Digest layer, Fd out) override;
  awaitable<Result<void>> open_step(InstanceId step, std::vector<Digest> layers) override;
  awaitable<Result<void>> unpack_into(InstanceId step, Fd tar, Clash clash) override;
  awaitable<Result<void>> pack_step(InstanceId step, Fd out, std::int64_t clamp_mtime) override;
  awaitable<Result<void>> publish_step(InstanceId step, Digest layer) override;
  awaitable<Result<void>> discard_step(InstanceId step) override;
  awaitable<Result<void>> bootstrap(std::string suite, Fd out) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// `wick helper NAME …`: the sandboxed children of this room (sandbox.hpp). Only the runner starts them.
int helper_main(int argc, char** argv);

}  // namespace wick::container

// The front's view of the runner: the only way to anything that needs root. A dozen verbs, fixed-size arguments,
// descriptors by SCM_RIGHTS over a seqpacket socket. The runner keeps layers, mounts and bundles; it composes every
// config.json itself from its own template and the bounded fields below, and parses nothing that came from outside (the
// wire format is in src/container/protocol.hpp).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/digest.hpp"
#include "wick/base/egress.hpp"
#include "wick/base/error.hpp"
#include "wick/container/instance_id.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick::container {

/// Ids on disk and inside namespaces come in ranges of 65,536 from 524288 up (systemd's documented container range).
/// Range 0 is the store's: every layer is kept with its ids shifted there, so no file of an image is ever owned by an
/// id of the host; builds run in it. Services have ranges of their own from 1 on; their layers are id-mapped at mount.
inline constexpr std::uint32_t id_range_base = 524288;
inline constexpr std::uint32_t id_range_size = 65536;
inline constexpr std::uint32_t id_ranges_max = 20000;
inline constexpr std::uint32_t store_id_range = 0;

inline constexpr std::size_t layers_max = 100;

/// What runs. Travels to the runner in a sealed memfd (NUL-separated; at most 256 KiB in all, 4,096 strings).
struct Process {
  bool operator==(const Process&) const = default;
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // "K=V"
  std::string working_folder = "/";
  std::uint32_t uid = 65532;  // inside the user namespace; 0 is the namespace's own root
  std::uint32_t gid = 65532;
  std::vector<std::uint32_t> groups;  // at most 32
};

struct Limits {
  bool operator==(const Limits&) const = default;
  std::uint64_t memory_bytes = 512ull << 20;  // swap is never more than memory
  std::uint32_t cpu_millis = 0;  // 1000 is one core; 0: as much as there is, an equal share where it is short
  std::uint32_t pids = 256;
  std::uint64_t tmp_bytes = 64 << 20;  // of the service's /tmp and of its /dev/shm; they count as memory too
};

enum class Privileges : std::uint8_t {
  none,   // no capability, no_new_privs, read-only root: what services get
  build,  // Docker's default capabilities inside the step's user namespace, writable root: RUN steps
};

/// What a RUN step sees besides its root. Only a step may have any.
struct StepMount {
  bool operator==(const StepMount&) const = default;
  enum class Kind : std::uint8_t {
    cache,   // a folder that lives on between steps, named by `cache`
    tmpfs,   // empty memory, at most `bytes_max` (0: the kernel's half of all)
    folder,  // `source` in the root of another open step
    bytes,   // a file with `content`, in memory only: secrets, scripts
  } kind = Kind::tmpfs;
  std::string target;  // absolute, without ".."; not "/"
  Digest cache;
  InstanceId step;
  std::string source;  // below the root of cache or folder; no symlink is followed; empty: all of it
  bool writable = false;
  std::uint32_t mode = 0755;  // of a new cache, a tmpfs or the file
  std::uint32_t uid = 0;      // and its owner, inside the user namespace
  std::uint32_t gid = 0;
  std::uint64_t bytes_max = 0;
  std::string content;
};
inline constexpr std::size_t step_mounts_max = 64;

/// A folder beside the image that lives, in memory, as long as the instance: to write to, or with files to read.
struct VolumeFile {
  bool operator==(const VolumeFile&) const = default;
  std::string path;           // below the volume
  std::uint32_t mode = 0644;  // the owner is the user namespace's root
  std::string content;
};
struct Volume {
  bool operator==(const Volume&) const = default;
  std::uint64_t bytes_max = 0;  // to write to, by everybody, at most so much; 0: its files, read-only
  std::vector<VolumeFile> files;
};
struct VolumeMount {
  bool operator==(const VolumeMount&) const = default;
  std::uint32_t volume = 0;  // an index
  std::string target;        // absolute, without ".."; made where the image does not have it
  std::string sub_path;      // below the volume, an empty folder where it is not there; empty: all of it
  bool writable = false;
};
inline constexpr std::size_t volumes_max = 64;  // and mounts
inline constexpr std::size_t volume_files_max = 4096;
inline constexpr std::size_t volume_bytes_max = 8 << 20;  // of all files: eight of Kubernetes' largest Secrets

/// One more container of the same pod (Runner::open_pod): in the network of the InstanceSpec it belongs to, with the
/// volumes of that one, and else on its own: a root, a control group, a user and a log.
struct Companion {
  bool operator==(const Companion&) const = default;
  std::string name;
  std::vector<Digest> layers;
  Process process;
  Limits limits;
  bool allow_root = false;
  std::vector<VolumeMount> volume_mounts;
  std::string message_path;
};
inline constexpr std::size_t companions_max = 15;  // of a pod; with its main container 16

struct InstanceSpec {
  bool operator==(const InstanceSpec&) const = default;
  InstanceId id;
  std::uint32_t id_range = 1;
  std::vector<Digest> layers;  // bottom first; empty when `step` is set
  InstanceId step;             // run on this step's writable root
  Process process;
  Limits limits;
  EgressPolicy egress;
  std::string runtime;  // name of a runtime class (RunnerOptions); empty: the default
  Privileges privileges = Privileges::none;
  bool allow_root = false;  // uid 0 without this is Errc::denied for services
  /// Descriptor 3 of the process is one end of a socket: it says 'P' there when its language runtime is booted, waits
  /// for a byte before it goes on to the program's own code, and ends at the end of file (runtime/park).
  bool parkable = false;
  std::vector<StepMount> mounts;
  std::vector<Volume> volumes;  // of a service
  std::vector<VolumeMount> volume_mounts;
  /// Absolute; of a service: a file there takes what the program has to say at its end (Exit::message). Empty: none.
  std::string message_path;
  InstanceId pod;    // runs in this one: network, egress and `volumes` are the pod's, its own are empty
  std::string name;  // of its container; the runner does not see it
  /// What Launcher makes a pod of; the runner takes neither. `init` run one after the other, each to its end, before
  /// the others start.
  std::vector<Companion> init;
  std::vector<Companion> beside;
  bool is_pod() const { return !init.empty() || !beside.empty(); }
};

/// Sockets of the front inside an instance's network namespace: whoever comes in by them is that instance.
inline constexpr std::uint32_t inside_gateway = 0x7f000050;  // 127.0.0.80, port 80
inline constexpr std::uint32_t inside_dns = 0x7f000035;      // 127.0.0.53, port 53
struct Inside {
  Fd http;
  Fd dns_udp;
  Fd dns_tcp;
};

struct Prepared {
  pid_t pid = 0;
  Fd pidfd;
  Inside inside;  // empty where the pod has it
};

struct Exit {
  InstanceId id;
  ExitStatus status;
  bool known = true;  // false: it ended while no runner was its parent, the status is a guess
  bool out_of_memory = false;
  std::string message;  // what it left in InstanceSpec::message_path, at most message_bytes_max of it
  /// Of a pod: the name of the container that ended it by its own end; empty: the main one did.
  std::string companion;
  bool of_init = false;              // that was one of InstanceSpec::init
  std::optional<Error> not_started;  // of a pod: a container did not even start, and why
};
inline constexpr std::size_t message_bytes_max = 4096;  // Kubernetes' own

struct Existing {
  InstanceId id;
  pid_t pid = 0;
  std::uint32_t id_range = 0;
  /// ending: it was sent SIGTERM, and has not ended yet
  enum class State : std::uint8_t { prepared, parked, running, frozen, ending, stopped } state = State::running;
};

struct Usage {
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_peak_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;
  std::uint64_t cpu_usec = 0;
  std::uint32_t pids = 0;
  std::uint64_t oom_kills = 0;
};

/// A socket that some process of the instance listens on, from the instance's own tables.
struct Listening {
  std::string address;  // "0.0.0.0", "127.0.0.1", "::"
  std::uint16_t port = 0;
};

/// How a command inside an instance ended.
struct Executed {
  ExitStatus status;
  std::string output;  // stdout and stderr, the last execute_output_bytes_max bytes
};
inline constexpr std::string_view thawed_word = "THAWED";
inline constexpr std::size_t execute_output_bytes_max = 1024;
inline constexpr std::chrono::milliseconds execute_limit_max = std::chrono::minutes(10);

/// What holds a command inside an instance: dropping it kills the command and what that has started.
class CommandLeash {
 public:
  virtual ~CommandLeash() = default;
  /// Returns when the command has ended; once. Errors: io when the runner died meanwhile, and the command with it.
  virtual awaitable<Result<ExitStatus>> wait_end() = 0;
};

/// A command that runs beside an instance's own program, and our ends of what it reads and writes. Reading from
/// `terminal` fails with EIO once nobody has the other end.
struct Command {
  Fd in;        // it reads what is written here; none without CommandOptions::input, or with a terminal
  Fd out;       // what it writes; none with a terminal
  Fd err;       //
  Fd terminal;  // the master of its terminal
  std::unique_ptr<CommandLeash> leash;
};
struct CommandOptions {
  bool terminal = false;
  bool input = false;  // without it, and without a terminal, it reads nothing
};
inline constexpr std::size_t connect_count_max = 32;  // made in one go
inline constexpr std::size_t commands_max = 16;       // at once, of all instances

struct UserIds {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;
};

/// Every verb: Errc::unavailable when the runner is gone, invalid for arguments out of bounds, denied for what it will
/// not do, not_found for an id it does not know. Cancelling a call stops waiting; the verb itself still ends.
class Runner {
 public:
  virtual ~Runner() = default;

  // --- pods: what several instances share
  /// Makes a network, and the volumes of `spec`, that the instances with `pod` set to its id run in: of `spec` its id,
  /// id_range, egress and volumes count. One of its instances may have the pod's id; who comes in by the listeners is
  /// that one. Errors: already_exists, overloaded.
  virtual awaitable<Result<Inside>> open_pod(InstanceSpec /*spec*/) {
    co_return fail(Errc::unsupported, "no pods here");
  }
  /// No further instance may come; gives the network and the volumes back with the last one in it. Unknown ids are
  /// fine. A pod does not survive the runner: what runs in it does, but nothing is added any more.
  virtual awaitable<Result<void>> close_pod(InstanceId /*pod*/) { co_return Result<void>{}; }

  // --- instances
  /// Mounts the root, makes namespaces and cgroup, `runc create`: everything up to the exec of argv[0].
  /// `log` (opened O_APPEND by the caller) becomes stdout and stderr.
  virtual awaitable<Result<Prepared>> prepare(InstanceSpec spec, Fd log) = 0;
  /// Starts a prepared `parkable` one and returns when it waits before its own code. Errors: unsupported when it does
  /// not say so within 10 s (its runtime does not load the shim); it is removed then.
  virtual awaitable<Result<void>> park(InstanceId id) = 0;
  /// Lets a prepared or parked one go. Returns when argv[0] was exec'd.
  virtual awaitable<Result<void>> start(InstanceId id) = 0;
  /// Holds every process of a running one (cgroup freezer; timers stop, clocks go on, connections stay) and then gives
  /// its memory back to the machine, as far as the kernel can, until it is thawed. Where writing waits for nobody
  /// (cgroup version 1) the freezer's file comes along: `thawed_word` written to it lets the instance go on while the
  /// `thaw` that must follow is still on its way. Otherwise the Fd is empty.
  virtual awaitable<Result<Fd>> freeze(InstanceId id) = 0;
  virtual awaitable<Result<void>> thaw(InstanceId id) = 0;
  virtual awaitable<Result<void>> signal(InstanceId id, int number) = 0;
  /// Kills what is left, then gives back cgroup, mounts, bundle. Unknown ids are fine.
  virtual awaitable<Result<void>> remove(InstanceId id) = 0;
  virtual awaitable<Result<std::vector<Existing>>> list() = 0;
  /// `count` (1 to connect_count_max) stream sockets made inside the instance's network namespace and already
  /// connecting to 127.0.0.1:`port` there, non-blocking; fewer, but one at least, where no more could be made. Errors:
  /// unavailable when nobody listens (ECONNREFUSED).
  virtual awaitable<Result<std::vector<Fd>>> connect(InstanceId id, std::uint16_t port, std::size_t count) = 0;
  /// The same once somebody listens, looked for in steps from 50 us to 10 ms for at most `patience` (60 s): then
  /// unavailable, as for one that ends. May be asked before start().
  virtual awaitable<Result<Fd>> await_listening(InstanceId id, std::uint16_t port,
                                                std::chrono::milliseconds patience) = 0;
  /// Runs one more process inside a running service: in its control group and namespaces, as its user, without
  /// capabilities. Errors: conflict for one that does not run, denied for another user than the instance's and inside a
  /// step, timed_out after `limit` (1 ms to execute_limit_max; it is killed), not_found for a command that is not
  /// there.
  virtual awaitable<Result<Executed>> execute(InstanceId id, Process process, std::chrono::milliseconds limit) = 0;
  /// The same for a command that somebody talks with, for as long as he holds it; a command's terminal is made inside
  /// the instance. Returns when it was executed. Errors: as execute(), and overloaded past commands_max. What it leaves
  /// running when it ends by itself goes on.
  virtual awaitable<Result<Command>> begin_command(InstanceId id, Process process, CommandOptions options) = 0;
  /// Brings the files of an instance's volumes to what `volumes` says; a reader sees all of the old ones or all of the
  /// new ones, as Kubernetes has it. `volumes` and `mounts` are those of its InstanceSpec, with other files. What is
  /// mounted by a sub-path stays as it is. Errors: conflict for one that is ending, io; the old files stay then.
  virtual awaitable<Result<void>> update_volumes(InstanceId id, std::vector<Volume> volumes,
                                                 std::vector<VolumeMount> mounts) = 0;
  virtual awaitable<Result<Usage>> usage(InstanceId id) = 0;
  virtual awaitable<Result<std::vector<Listening>>> listening(InstanceId id) = 0;
  /// Adds a callback: each is called once for every instance that ends by itself or by a signal, remove()'s included.
  /// They live as long as the Runner.
  virtual void on_exit(std::function<void(const Exit&)> callback) = 0;
  /// Called when the runner died and another one has taken its place: calls that were pending have failed with
  /// Errc::io, instances go on, but an end in between was told to nobody.
  virtual void on_restart(std::function<void()> /*callback*/) {}

  // --- layers: folders named by DiffID, immutable once published
  virtual awaitable<Result<bool>> has_layer(Digest layer) = 0;
  /// Unpacks a layer tar (an unprivileged child does) and publishes it as `layer`. The caller has verified that the tar
  /// hashes to it.
  virtual awaitable<Result<void>> import_layer(Digest layer, Fd tar) = 0;
  virtual awaitable<Result<std::vector<Digest>>> layers() = 0;
  /// Writes a layer as the tar that it was imported from or packed as: the bytes hash to `layer` again.
  virtual awaitable<Result<void>> pack_layer(Digest layer, Fd out) = 0;
  /// The bytes it had on disk. Errors: conflict while something that runs, or a step, stands on it.
  virtual awaitable<Result<std::uint64_t>> remove_layer(Digest layer) = 0;
  /// Writes `subpath` of the union of `layers` as a tar to `out` with names starting at `prefix` (COPY --from).
  virtual awaitable<Result<void>> pack(std::vector<Digest> layers, std::string subpath, std::string prefix, Fd out) = 0;
  /// "app", "1000", "app:staff" resolved by the /etc/passwd and /etc/group of the union of `layers`. not_found names
  /// the user.
  virtual awaitable<Result<UserIds>> resolve_user(std::vector<Digest> layers, std::string user) = 0;

  // --- build steps: a writable root over layers
  virtual awaitable<Result<void>> open_step(InstanceId step, std::vector<Digest> layers) = 0;
  enum class Clash : std::uint8_t { refuse, replace };  // of a file with a folder
  /// Unpacks a tar into the step's root: COPY, WORKDIR, ADD. Symlinks of lower layers are followed inside the root.
  virtual awaitable<Result<void>> unpack_into(InstanceId step, Fd tar, Clash clash) = 0;
  /// Writes what the step changed as a deterministic layer tar to `out`; the caller hashes it. mtimes are clamped to
  /// `clamp_mtime`, on disk too.
  virtual awaitable<Result<void>> pack_step(InstanceId step, Fd out, std::int64_t clamp_mtime) = 0;
  /// Renames the step's upper folder to be `layer` and ends the step. If the layer is there already the step is
  /// dropped.
  virtual awaitable<Result<void>> publish_step(InstanceId step, Digest layer) = 0;
  virtual awaitable<Result<void>> discard_step(InstanceId step) = 0;

  /// A Debian root as a layer tar to `out`: `mmdebstrap --variant=minbase SUITE`. SUITE is [a-z]{1,20}; minutes, needs
  /// the network.
  virtual awaitable<Result<void>> bootstrap(std::string suite, Fd out) = 0;
};

}  // namespace wick::container

// The words between the front and the runner. One message of the seqpacket socket is one request or one reply.
//
// The front may have been taken over by whoever sends it bytes, the runner is root: so a request is a fixed-size struct
// without padding, copied out and checked field by field before anything looks at it. Names are ids, digests and
// numbers; the few texts have bounds; the process to run comes in a sealed memfd. A message whose head is wrong ends
// the connection; a wrong body is answered with an error.
//
//   request = RequestHead, body of the verb        (+ descriptors)
//   reply   = ReplyHead, body of the verb, or the error's "message\0hint"
//   command = its end, from the runner, on the socket that came with the reply to begin_command: ExecutedBody, once
//   notice  = ReplyHead with Verb::exit_notice and request 0, ExitBody; or Verb::restart_notice, nothing
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "wick/container/runner.hpp"

namespace wick::container::protocol {

inline constexpr std::uint32_t magic = 0x384b4357;  // "WCK8"; changes with the layout of any struct below

inline constexpr std::size_t process_bytes_max = 256 << 10;
inline constexpr std::size_t process_strings_max = 4096;
inline constexpr std::size_t groups_max = 32;
inline constexpr std::size_t path_bytes_max = 1024;
inline constexpr std::size_t name_bytes_max = 128;
inline constexpr std::uint64_t memory_bytes_min = 4ull << 20;  // runc's own init needs about this much
inline constexpr std::uint64_t memory_bytes_max = 1ull << 44;
inline constexpr std::uint32_t cpu_millis_max = 1'000'000;
inline constexpr std::uint32_t pids_max = 32768;
inline constexpr std::uint64_t tmp_bytes_min = 64 << 10;
inline constexpr std::size_t runtime_name_bytes_max = 28;
inline constexpr std::size_t error_bytes_max = 4096;
inline constexpr std::uint32_t patience_ms_max = 60'000;
inline constexpr std::size_t listening_max = 256;

enum class Verb : std::uint16_t {
  prepare = 1,
  start,
  signal,
  remove,
  list,
  connect,
  usage,
  listening,
  has_layer,
  import_layer,
  layers,
  remove_layer,
  pack,
  resolve_user,
  open_step,
  unpack_into,
  pack_step,
  publish_step,
  discard_step,
  pack_layer,
  bootstrap,
  park,
  freeze,
  thaw,
  await_listening,
  listen_inside,
  execute,
  begin_command,
  update_volumes,
  open_pod,
  close_pod,
  exit_notice,     // runner to front only:
  restart_notice,  // the runner before this one died; what was asked of it is not answered
};

std::string_view to_string(Verb verb);

// --- on the wire

struct RequestHead {
  std::uint32_t magic = protocol::magic;
  std::uint16_t verb = 0;
  std::uint16_t reserved = 0;
  std::uint64_t request = 0;
};

struct ReplyHead {
  std::uint32_t magic = protocol::magic;
  std::uint16_t verb = 0;
  std::uint16_t error = 0;  // 0: ok; otherwise Errc + 1
  std::uint64_t request = 0;
};

struct IdBody {
  char id[InstanceId::size] = {};
};

struct NumberBody {  // signal number, clamp_mtime
  char id[InstanceId::size] = {};
  std::int64_t number = 0;
};

struct ConnectBody {
  char id[InstanceId::size] = {};
  std::uint32_t port = 0;
  std::uint32_t count = 0;
};

struct AwaitListeningBody {
  char id[InstanceId::size] = {};
  std::uint32_t port = 0;
  std::uint32_t patience_ms = 0;
};

struct ExecuteBody {
  char id[InstanceId::size] = {};
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t group_count = 0;
  std::uint32_t groups[groups_max] = {};
  std::uint32_t arguments = 0;    // strings in the memfd: these,
  std::uint32_t environment = 0;  // then these, then the working folder
  std::uint32_t limit_ms = 0;
};

/// The reply has no body but descriptors: the leash, then the terminal, or standard output, error and, where asked for,
/// input.
struct BeginCommandBody {
  char id[InstanceId::size] = {};
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t group_count = 0;
  std::uint32_t groups[groups_max] = {};
  std::uint32_t arguments = 0;    // strings in the memfd: these,
  std::uint32_t environment = 0;  // then these, then the working folder
  std::uint16_t terminal = 0;
  std::uint16_t input = 0;
};

struct DigestBody {
  std::uint8_t digest[Digest::size] = {};
};

struct IdDigestBody {
  char id[InstanceId::size] = {};
  std::uint8_t digest[Digest::size] = {};
};

template <std::size_t N>
struct Text {
  std::uint32_t length = 0;
  char bytes[N] = {};
};

struct LayerList {
  std::uint32_t count = 0;
  std::uint8_t digests[layers_max][Digest::size] = {};
};

struct EgressRecord {
  std::uint8_t address[4] = {};
  std::uint16_t port = 0;
  std::uint8_t prefix = 0;
  std::uint8_t reserved = 0;
};

struct EgressBody {
  std::uint32_t base = 0;
  std::uint32_t count = 0;
  EgressRecord allow[EgressPolicy::allow_max];
};

struct PrepareBody {
  char id[InstanceId::size] = {};
  char step[InstanceId::size] = {};  // all NUL: none
  char pod[InstanceId::size] = {};   // likewise
  std::uint32_t id_range = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t group_count = 0;
  std::uint32_t groups[groups_max] = {};
  std::uint64_t memory_bytes = 0;
  std::uint64_t tmp_bytes = 0;
  std::uint32_t cpu_millis = 0;
  std::uint32_t pids = 0;
  std::uint32_t arguments = 0;    // strings in the memfd: these,
  std::uint32_t environment = 0;  // then these, then the working folder,
  std::uint32_t mounts = 0;       // then these, mount_strings each
  std::uint32_t volumes = 0;      // bytes of the memfd's end: volumes.hpp
  std::uint8_t privileges = 0;
  std::uint8_t allow_root = 0;
  std::uint8_t parkable = 0;
  std::uint8_t reserved = 0;
  Text<runtime_name_bytes_max> runtime;
  EgressBody egress;
  LayerList layers;
};

/// The volumes are in the memfd. The reply has no body but three descriptors, as that to prepare.
struct OpenPodBody {
  char id[InstanceId::size] = {};
  std::uint32_t id_range = 0;
  EgressBody egress;
};

struct PackBody {
  LayerList layers;
  Text<path_bytes_max> subpath;
  Text<path_bytes_max> prefix;
};

struct ResolveUserBody {
  LayerList layers;
  Text<name_bytes_max> user;
};

struct OpenStepBody {
  char id[InstanceId::size] = {};
  LayerList layers;
};

struct BootstrapBody {
  Text<20> suite;
};

struct PreparedBody {
  std::int32_t pid = 0;
};

struct BytesBody {
  std::uint64_t bytes = 0;
};

struct BoolBody {
  std::uint32_t value = 0;
};

struct ExistingRecord {  // an array of these comes in a sealed memfd
  char id[InstanceId::size] = {};
  std::int32_t pid = 0;
  std::uint32_t id_range = 0;
  std::uint32_t state = 0;
};

struct UsageBody {
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_peak_bytes = 0;
  std::uint64_t memory_limit_bytes = 0;
  std::uint64_t cpu_usec = 0;
  std::uint64_t oom_kills = 0;
  std::uint64_t pids = 0;
};

struct ExecutedBody {  // and after it the output
  std::int32_t code = 0;
  std::int32_t signal = 0;
};

struct ListeningRecord {  // an array of these is the body
  std::uint8_t address[16] = {};
  std::uint16_t family = 0;  // 4 or 6
  std::uint16_t port = 0;
};

struct UserIdsBody {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t group_count = 0;
  std::uint32_t groups[groups_max] = {};
};

struct ExitBody {  // and after it the message
  char id[InstanceId::size] = {};
  std::int32_t code = 0;
  std::int32_t signal = 0;
  std::uint32_t known = 0;
  std::uint32_t out_of_memory = 0;
};

template <class T>
concept Plain = std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>;

template <Plain T>
std::string_view bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// The value when `bytes` has exactly its size.
template <Plain T>
Result<T> value_of(std::string_view bytes) {
  if (bytes.size() != sizeof(T))
    return fail(Errc::invalid, "a body of " + std::to_string(sizeof(T)) + " bytes was expected, " +
                                   std::to_string(bytes.size()) + " came");
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// --- requests as the runner sees them: every field is in its bounds

struct Prepare {
  InstanceSpec spec;
  Fd log;
};
struct Start {
  InstanceId id;
};
struct Signal {
  InstanceId id;
  int number = 0;
};
struct Remove {
  InstanceId id;
};
struct List {};
struct Connect {
  InstanceId id;
  std::uint16_t port = 0;
  std::size_t count = 1;
};
struct Park {
  InstanceId id;
};
struct Freeze {
  InstanceId id;
};
struct Thaw {
  InstanceId id;
};
struct AwaitListening {
  InstanceId id;
  std::uint16_t port = 0;
  std::chrono::milliseconds patience{0};
};
struct GetUsage {
  InstanceId id;
};
struct GetListening {
  InstanceId id;
};
struct HasLayer {
  Digest layer;
};
struct ImportLayer {
  Digest layer;
  Fd tar;
};
struct ListLayers {};
struct RemoveLayer {
  Digest layer;
};
struct Pack {
  std::vector<Digest> layers;
  std::string subpath;
  std::string prefix;
  Fd out;
};
struct ResolveUser {
  std::vector<Digest> layers;
  std::string user;
};
struct OpenStep {
  InstanceId step;
  std::vector<Digest> layers;
};
struct PackLayer {
  Digest layer;
  Fd out;
};
struct UnpackInto {
  InstanceId step;
  Fd tar;
  Runner::Clash clash = Runner::Clash::refuse;
};
struct PackStep {
  InstanceId step;
  Fd out;
  std::int64_t clamp_mtime = 0;
};
struct PublishStep {
  InstanceId step;
  Digest layer;
};
struct DiscardStep {
  InstanceId step;
};
struct Bootstrap {
  std::string suite;
  Fd out;
};

struct ListenInside {
  InstanceId id;
};

struct Execute {
  InstanceId id;
  Process process;
  std::chrono::milliseconds limit{0};
};

struct BeginCommand {
  InstanceId id;
  Process process;
  CommandOptions options;
};

struct UpdateVolumes {
  InstanceSpec spec;  // its id, volumes and mounts
};

struct OpenPod {
  InstanceSpec spec;  // its id, id range, egress and volumes
};

struct ClosePod {
  InstanceId pod;
};

using Request = std::variant<Prepare, Start, Signal, Remove, List, Connect, GetUsage, GetListening, HasLayer,
                             ImportLayer, ListLayers, RemoveLayer, Pack, ResolveUser, OpenStep, UnpackInto, PackStep,
                             PublishStep, DiscardStep, PackLayer, Bootstrap, Park, Freeze, Thaw, AwaitListening,
                             ListenInside, Execute, BeginCommand, UpdateVolumes, OpenPod, ClosePod>;

struct Received {
  std::uint64_t number = 0;  // the front's name for the request, echoed in the reply
  Verb verb = Verb::list;
  Result<Request> request;
};

/// Outer error: the head is not one of ours, the connection must end. Inner error: answer it.
Result<Received> parse_request(std::string_view bytes, std::vector<Fd> fds);

/// What the front sends; `bytes` without the head's number, which the client fills in.
struct Outgoing {
  Verb verb = Verb::list;
  std::string body;
  std::vector<Fd> fds;
};

/// Errors: invalid where a field does not fit, so that the front hears of it before the runner does.
Result<Outgoing> encode_prepare(const InstanceSpec& spec, Fd log);
Result<Outgoing> encode_pack(const std::vector<Digest>& layers, std::string_view subpath, std::string_view prefix,
                             Fd out);
Result<Outgoing> encode_resolve_user(const std::vector<Digest>& layers, std::string_view user);
Result<Outgoing> encode_open_step(const InstanceId& step, const std::vector<Digest>& layers);
Result<Outgoing> encode_bootstrap(std::string_view suite, Fd out);
Result<Outgoing> encode_connect(const InstanceId& id, std::uint16_t port, std::size_t count);
Result<Outgoing> encode_await_listening(const InstanceId& id, std::uint16_t port, std::chrono::milliseconds patience);
Result<Outgoing> encode_execute(const InstanceId& id, const Process& process, std::chrono::milliseconds limit);
Result<Outgoing> encode_begin_command(const InstanceId& id, const Process& process, CommandOptions options);
/// The body is an IdBody, the volumes are in the memfd.
Result<Outgoing> encode_update_volumes(const InstanceSpec& spec);
Result<Outgoing> encode_open_pod(const InstanceSpec& spec);
EgressBody egress_body(const EgressPolicy& policy);
Result<EgressPolicy> parse_egress_body(const EgressBody& body);
IdBody id_body(const InstanceId& id);
DigestBody digest_body(const Digest& digest);

void encode_address(const std::string& address, ListeningRecord& record);
std::string decode_address(const ListeningRecord& record);

/// "message\0hint", each cut to its bound.
std::string encode_error(const Error& error);
Error decode_error(std::uint16_t code, std::string_view bytes);

}  // namespace wick::container::protocol

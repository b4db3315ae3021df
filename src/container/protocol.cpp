#include "protocol.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "sealed_memory.hpp"
#include "step_mounts.hpp"
#include "volumes.hpp"
#include "wick/base/text.hpp"

namespace wick::container::protocol {

namespace {

using std::string_view;

Result<InstanceId> parse_id(const char (&bytes)[InstanceId::size]) {
  return InstanceId::parse({bytes, InstanceId::size});
}

bool is_blank(const char (&bytes)[InstanceId::size]) {
  return std::ranges::all_of(bytes, [](char c) { return c == '\0'; });
}

void put_id(char (&target)[InstanceId::size], const InstanceId& id) { std::ranges::copy(id.text(), target); }

Result<Digest> parse_digest(const std::uint8_t (&bytes)[Digest::size]) {
  Digest::Bytes copy;
  std::ranges::copy(bytes, copy.begin());
  const Digest digest(copy);
  if (digest.empty()) return fail(Errc::invalid, "an empty digest names no layer");
  return digest;
}

template <std::size_t N>
Result<std::string> parse_text(const Text<N>& text, string_view what) {
  if (text.length > N)
    return fail(Errc::invalid, fmt::format("{} claims {} bytes, at most {} fit", what, text.length, N));
  std::string out(text.bytes, text.length);
  if (out.find('\0') != std::string::npos) return fail(Errc::invalid, fmt::format("{} has a NUL inside", what));
  return out;
}

template <std::size_t N>
Result<void> put_text(Text<N>& target, string_view text, string_view what) {
  if (text.size() > N)
    return fail(Errc::invalid, fmt::format("{} is {} bytes long, at most {} are allowed", what, text.size(), N));
  if (text.find('\0') != string_view::npos) return fail(Errc::invalid, fmt::format("{} has a NUL inside", what));
  target.length = static_cast<std::uint32_t>(text.size());
  std::ranges::copy(text, target.bytes);
  return {};
}

Result<std::vector<Digest>> parse_layers(const LayerList& list) {
  if (list.count > layers_max)
    return fail(Errc::invalid, fmt::format("{} layers, at most {} are allowed", list.count, layers_max));
  std::vector<Digest> layers;
  for (std::size_t i = 0; i < list.count; ++i) {
    auto digest = parse_digest(list.digests[i]);
    if (!digest) return fail(std::move(digest.error()));
    layers.push_back(*digest);
  }
  return layers;
}

Result<void> put_layers(LayerList& target, const std::vector<Digest>& layers) {
  if (layers.size() > layers_max)
    return fail(Errc::invalid, fmt::format("an image may have {} layers, this one has {}", layers_max, layers.size()));
  target.count = static_cast<std::uint32_t>(layers.size());
  for (std::size_t i = 0; i < layers.size(); ++i) std::ranges::copy(layers[i].bytes(), target.digests[i]);
  return {};
}

/// "/a/b": absolute, no "..", not below /proc, so that no runtime resolves it outside of the root: CVE-2024-21626 began
/// with the working folder /proc/self/fd/8.
bool is_plain_absolute(string_view path) {
  if (path.empty() || path.front() != '/') return false;
  const auto parts = split(path, '/');
  const auto first = std::ranges::find_if(parts, [](string_view part) { return !part.empty() && part != "."; });
  if (first != parts.end() && *first == "proc") return false;
  return std::ranges::none_of(parts, [](string_view part) { return part == ".."; });
}

Result<void> check_process(const Process& process) {
  if (process.argv.empty() || process.argv.front().empty()) return fail(Errc::invalid, "the process has no command");
  for (const auto& pair : process.environment)
    if (pair.find('=') == std::string::npos || pair.front() == '=')
      return fail(Errc::invalid, fmt::format("an environment entry is NAME=value, not '{}'", printable(pair, 60)));
  if (!is_plain_absolute(process.working_folder))
    return fail(Errc::invalid,
                fmt::format("the working folder must be absolute, without '..' and outside of /proc, not '{}'",
                            printable(process.working_folder, 100)));
  if (process.uid >= id_range_size || process.gid >= id_range_size || process.groups.size() > groups_max ||
      std::ranges::any_of(process.groups, [](std::uint32_t group) { return group >= id_range_size; }))
    return fail(Errc::invalid, fmt::format("user and group ids go from 0 to {}, with at most {} groups",
                                           id_range_size - 1, groups_max));
  return {};
}

/// The process of a PrepareBody or an ExecuteBody out of the NUL-ended strings of its memfd; what stands after it
/// there, `more_count` strings, goes into `more`.
template <class Body>
Result<Process> parse_process(const Body& body, string_view bytes, std::size_t more_count,
                              std::vector<std::string>& more) {
  if (body.arguments > process_strings_max || body.environment > process_strings_max || body.group_count > groups_max)
    return fail(Errc::invalid, "the process has too many arguments, variables or groups");
  const std::size_t count = std::size_t{body.arguments} + body.environment + 1 + more_count;
  if (count > process_strings_max || bytes.empty() || bytes.back() != '\0' ||
      static_cast<std::size_t>(std::ranges::count(bytes, '\0')) != count)
    return fail(Errc::invalid, fmt::format("the process must be {} strings, each ended by a NUL", count));
  const auto strings = split(bytes.substr(0, bytes.size() - 1), '\0');
  Process process;
  process.argv.assign(strings.begin(), strings.begin() + body.arguments);
  const auto folder = strings.begin() + body.arguments + body.environment;
  process.environment.assign(strings.begin() + body.arguments, folder);
  process.working_folder = *folder;
  more.assign(folder + 1, strings.end());
  process.uid = body.uid;
  process.gid = body.gid;
  process.groups.assign(body.groups, body.groups + body.group_count);
  if (auto checked = check_process(process); !checked) return fail(std::move(checked.error()));
  return process;
}

Result<void> parse_mounts(const std::vector<std::string>& strings, InstanceSpec& spec) {
  const std::vector<string_view> views(strings.begin(), strings.end());
  for (std::size_t at = 0; at < views.size(); at += mount_strings) {
    auto mount = parse_mount(std::span(views).subspan(at, mount_strings));
    if (!mount) return fail(std::move(mount.error()));
    spec.mounts.push_back(std::move(*mount));
  }
  return {};
}

/// The memfd: the process, the mounts of a step, the volumes of a service.
Result<Process> parse_memory(const PrepareBody& body, const Fd& memory, InstanceSpec& spec) {
  if (body.mounts > step_mounts_max) return fail(Errc::invalid, "too many mounts");
  if (body.volumes > volumes_wire_max) return fail(Errc::invalid, "the volumes are too large");
  auto bytes = read_sealed(memory, process_bytes_max + body.volumes);
  if (!bytes) return fail(std::move(bytes.error()));
  if (body.volumes > bytes->size()) return fail(Errc::invalid, "the volumes are not there");
  const auto process_size = bytes->size() - body.volumes;
  if (auto parsed = parse_volumes(string_view(*bytes).substr(process_size), spec); !parsed)
    return fail(std::move(parsed.error()));
  std::vector<std::string> mounts;
  auto process = parse_process(body, string_view(*bytes).substr(0, process_size), body.mounts * mount_strings, mounts);
  if (!process) return process;
  if (auto parsed = parse_mounts(mounts, spec); !parsed) return fail(std::move(parsed.error()));
  return process;
}

Result<void> check_numbers(const InstanceSpec& spec) {
  if (spec.id_range >= id_ranges_max)
    return fail(Errc::invalid, fmt::format("id ranges go from 0 to {}, not {}", id_ranges_max - 1, spec.id_range));
  const auto& limits = spec.limits;
  if (limits.memory_bytes < memory_bytes_min || limits.memory_bytes > memory_bytes_max)
    return fail(Errc::invalid, fmt::format("a memory limit is at least {}, not {}", human_bytes(memory_bytes_min),
                                           human_bytes(limits.memory_bytes)));
  if ((limits.cpu_millis > 0 && limits.cpu_millis < 10) || limits.cpu_millis > cpu_millis_max)
    return fail(Errc::invalid,
                fmt::format("a cpu limit goes from 10m to {}m, not {}m", cpu_millis_max, limits.cpu_millis));
  if (limits.tmp_bytes < tmp_bytes_min || limits.tmp_bytes > memory_bytes_max)
    return fail(Errc::invalid, fmt::format("a /tmp is at least {}, not {}", human_bytes(tmp_bytes_min),
                                           human_bytes(limits.tmp_bytes)));
  if (limits.pids < 1 || limits.pids > pids_max)
    return fail(Errc::invalid, fmt::format("a process limit goes from 1 to {}, not {}", pids_max, limits.pids));
  return {};
}

Result<void> check_spec(const InstanceSpec& spec) {
  if (auto checked = check_numbers(spec); !checked) return checked;
  if (spec.layers.empty() == spec.step.empty())
    return fail(Errc::invalid, "an instance runs on layers or on a step, one of the two");
  if (!spec.step.empty() && spec.id_range != store_id_range)
    return fail(Errc::denied, "a step runs in the id range of the store");
  if (spec.step.empty() && spec.id_range == store_id_range)
    return fail(Errc::denied, "the id range of the store is for build steps");
  if (spec.privileges == Privileges::none && spec.process.uid == 0 && !spec.allow_root)
    return fail(Errc::denied, "a service does not run as root (user 0)",
                "set another USER in the image, or allow root for this service");
  if (!spec.mounts.empty() && spec.step.empty()) return fail(Errc::denied, "mounts are for steps");
  if (spec.mounts.size() > step_mounts_max)
    return fail(Errc::invalid, fmt::format("a step may have {} mounts", step_mounts_max));
  if (auto checked = check_volumes(spec); !checked) return checked;
  if (!spec.pod.empty() && (!spec.step.empty() || spec.privileges != Privileges::none || spec.parkable))
    return fail(Errc::denied, "pods are of services, and what runs in one is not parked");
  if (!spec.pod.empty() && !spec.volumes.empty())
    return fail(Errc::invalid, "what runs in a pod has the volumes of the pod");
  if (spec.is_pod()) return fail(Errc::invalid, "the runner takes one container at a time");
  if (spec.privileges == Privileges::build && spec.step.empty())
    return fail(Errc::denied, "build privileges are for steps");
  // It names no file: the runner knows the runtimes, the front only their names.
  if (!spec.runtime.empty() && (spec.runtime.size() > runtime_name_bytes_max || !is_dns_label(spec.runtime)))
    return fail(Errc::invalid, fmt::format("a runtime class is named by 1 to {} of [a-z0-9-], not '{}'",
                                           runtime_name_bytes_max, printable(spec.runtime)));
  if (spec.egress.allow.size() > EgressPolicy::allow_max)
    return fail(Errc::invalid, fmt::format("an allow-list has at most {} entries", EgressPolicy::allow_max));
  return {};
}

Result<InstanceSpec> parse_spec(const PrepareBody& body, const Fd& memory) {
  InstanceSpec spec;
  auto id = parse_id(body.id);
  if (!id) return fail(std::move(id.error()));
  spec.id = *id;
  if (!is_blank(body.step)) {
    auto step = parse_id(body.step);
    if (!step) return fail(std::move(step.error()));
    spec.step = *step;
  }
  if (!is_blank(body.pod)) {
    auto pod = parse_id(body.pod);
    if (!pod) return fail(std::move(pod.error()));
    spec.pod = *pod;
  }
  if (body.privileges > 1 || body.allow_root > 1 || body.parkable > 1 || body.reserved != 0)
    return fail(Errc::invalid, "a flag out of bounds");
  auto runtime = parse_text(body.runtime, "the runtime class");
  if (!runtime) return fail(std::move(runtime.error()));
  auto egress = parse_egress_body(body.egress);
  if (!egress) return fail(std::move(egress.error()));
  auto layers = parse_layers(body.layers);
  if (!layers) return fail(std::move(layers.error()));
  auto process = parse_memory(body, memory, spec);
  if (!process) return fail(std::move(process.error()));
  spec.id_range = body.id_range;
  spec.layers = std::move(*layers);
  spec.process = std::move(*process);
  spec.limits = {
      .memory_bytes = body.memory_bytes, .cpu_millis = body.cpu_millis, .pids = body.pids, .tmp_bytes = body.tmp_bytes};
  spec.egress = std::move(*egress);
  spec.runtime = std::move(*runtime);
  spec.privileges = static_cast<Privileges>(body.privileges);
  spec.allow_root = body.allow_root == 1;
  spec.parkable = body.parkable == 1;
  if (auto checked = check_spec(spec); !checked) return fail(std::move(checked.error()));
  return spec;
}

Result<void> check_pod(const InstanceSpec& spec) {
  if (spec.id_range >= id_ranges_max || spec.id_range == store_id_range)
    return fail(Errc::invalid,
                fmt::format("id ranges of pods go from 1 to {}, not {}", id_ranges_max - 1, spec.id_range));
  if (!spec.volume_mounts.empty() || !spec.message_path.empty())
    return fail(Errc::invalid, "volumes are mounted by what runs in the pod");
  return check_volumes(spec);
}

// --- one function a shape of body

Result<Request> parse_prepare(string_view bytes, std::vector<Fd>& fds) {
  auto body = value_of<PrepareBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto spec = parse_spec(*body, fds[0]);
  if (!spec) return fail(std::move(spec.error()));
  return Prepare{.spec = std::move(*spec), .log = std::move(fds[1])};
}

template <class T>
Result<Request> parse_with_id(string_view bytes) {
  auto body = value_of<IdBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  return T{*id};
}

struct IdAndNumber {
  InstanceId id;
  std::int64_t number = 0;
};
Result<IdAndNumber> parse_number(string_view bytes, std::int64_t least, std::int64_t most, string_view what) {
  auto body = value_of<NumberBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  if (body->number < least || body->number > most)
    return fail(Errc::invalid, fmt::format("a {} goes from {} to {}, not {}", what, least, most, body->number));
  return IdAndNumber{.id = *id, .number = body->number};
}

Result<Request> parse_signal(string_view bytes) {
  auto value = parse_number(bytes, 1, 64, "signal number");
  if (!value) return fail(std::move(value.error()));
  return Signal{.id = value->id, .number = static_cast<int>(value->number)};
}

Result<std::uint16_t> parse_port(std::uint32_t port) {
  if (port < 1 || port > 65535) return fail(Errc::invalid, fmt::format("a port goes from 1 to 65535, not {}", port));
  return static_cast<std::uint16_t>(port);
}

Result<Request> parse_connect(string_view bytes) {
  auto body = value_of<ConnectBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  auto port = parse_port(body->port);
  if (!port) return fail(std::move(port.error()));
  if (body->count < 1 || body->count > connect_count_max)
    return fail(Errc::invalid,
                fmt::format("1 to {} connections are made at once, not {}", connect_count_max, body->count));
  return Connect{.id = *id, .port = *port, .count = body->count};
}

Result<Request> parse_await_listening(string_view bytes) {
  auto body = value_of<AwaitListeningBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  auto port = parse_port(body->port);
  if (!port) return fail(std::move(port.error()));
  if (body->patience_ms > patience_ms_max)
    return fail(Errc::invalid, fmt::format("a patience goes to {} ms, not {}", patience_ms_max, body->patience_ms));
  return AwaitListening{.id = *id, .port = *port, .patience = std::chrono::milliseconds(body->patience_ms)};
}

Result<Request> parse_execute(string_view bytes, std::vector<Fd>& fds) {
  auto body = value_of<ExecuteBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  if (body->limit_ms < 1 || body->limit_ms > execute_limit_max.count())
    return fail(Errc::invalid,
                fmt::format("a limit goes from 1 to {} ms, not {}", execute_limit_max.count(), body->limit_ms));
  auto memory = read_sealed(fds[0], process_bytes_max);
  if (!memory) return fail(std::move(memory.error()));
  std::vector<std::string> nothing;
  auto process = parse_process(*body, *memory, 0, nothing);
  if (!process) return fail(std::move(process.error()));
  return Execute{.id = *id, .process = std::move(*process), .limit = std::chrono::milliseconds(body->limit_ms)};
}

Result<Request> parse_begin_command(string_view bytes, std::vector<Fd>& fds) {
  auto body = value_of<BeginCommandBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  if (body->terminal > 1 || body->input > 1) return fail(Errc::invalid, "a flag out of bounds");
  auto memory = read_sealed(fds[0], process_bytes_max);
  if (!memory) return fail(std::move(memory.error()));
  std::vector<std::string> nothing;
  auto process = parse_process(*body, *memory, 0, nothing);
  if (!process) return fail(std::move(process.error()));
  return BeginCommand{.id = *id,
                      .process = std::move(*process),
                      .options = {.terminal = body->terminal == 1, .input = body->input == 1}};
}

Result<Request> parse_pack_step(string_view bytes, std::vector<Fd>& fds) {
  constexpr std::int64_t year_9999 = 253402300799;
  auto value = parse_number(bytes, -1, year_9999, "clamp time");
  if (!value) return fail(std::move(value.error()));
  return PackStep{.step = value->id, .out = std::move(fds[0]), .clamp_mtime = value->number};
}

Result<Digest> parse_layer(string_view bytes) {
  auto body = value_of<DigestBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  return parse_digest(body->digest);
}

template <class T, class... More>
Result<Request> parse_with_layer(string_view bytes, More&&... more) {
  auto layer = parse_layer(bytes);
  if (!layer) return fail(std::move(layer.error()));
  return T{*layer, std::forward<More>(more)...};
}

Result<Request> parse_pack(string_view bytes, std::vector<Fd>& fds) {
  auto body = value_of<PackBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto layers = parse_layers(body->layers);
  if (!layers) return fail(std::move(layers.error()));
  auto subpath = parse_text(body->subpath, "the path to pack");
  if (!subpath) return fail(std::move(subpath.error()));
  auto prefix = parse_text(body->prefix, "the prefix");
  if (!prefix) return fail(std::move(prefix.error()));
  return Pack{.layers = std::move(*layers),
              .subpath = std::move(*subpath),
              .prefix = std::move(*prefix),
              .out = std::move(fds[0])};
}

Result<Request> parse_resolve_user(string_view bytes) {
  auto body = value_of<ResolveUserBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto layers = parse_layers(body->layers);
  if (!layers) return fail(std::move(layers.error()));
  auto user = parse_text(body->user, "the user");
  if (!user) return fail(std::move(user.error()));
  return ResolveUser{.layers = std::move(*layers), .user = std::move(*user)};
}

Result<Request> parse_open_step(string_view bytes) {
  auto body = value_of<OpenStepBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  auto layers = parse_layers(body->layers);
  if (!layers) return fail(std::move(layers.error()));
  return OpenStep{.step = *id, .layers = std::move(*layers)};
}

Result<Request> parse_publish_step(string_view bytes) {
  auto body = value_of<IdDigestBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  auto layer = parse_digest(body->digest);
  if (!layer) return fail(std::move(layer.error()));
  return PublishStep{.step = *id, .layer = *layer};
}

Result<Request> parse_unpack_into(string_view bytes, std::vector<Fd>& fds) {
  auto value = parse_number(bytes, 0, 1, "clash");
  if (!value) return fail(std::move(value.error()));
  return UnpackInto{.step = value->id, .tar = std::move(fds[0]), .clash = static_cast<Runner::Clash>(value->number)};
}

Result<Request> parse_bootstrap(string_view bytes, std::vector<Fd>& fds) {
  auto body = value_of<BootstrapBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto suite = parse_text(body->suite, "the suite");
  if (!suite) return fail(std::move(suite.error()));
  if (suite->empty() || !std::ranges::all_of(*suite, [](char c) { return c >= 'a' && c <= 'z'; }))
    return fail(Errc::invalid, fmt::format("a suite is 1 to 20 letters a to z, not '{}'", printable(*suite)));
  return Bootstrap{.suite = std::move(*suite), .out = std::move(fds[0])};
}

Result<Request> parse_update_volumes(string_view bytes, std::vector<Fd>& fds) {
  auto body = value_of<IdBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  auto memory = read_sealed(fds[0], volumes_wire_max);
  if (!memory) return fail(std::move(memory.error()));
  UpdateVolumes update{.spec = {.id = *id}};
  if (auto parsed = parse_volumes(*memory, update.spec); !parsed) return fail(std::move(parsed.error()));
  if (auto checked = check_volumes(update.spec); !checked) return fail(std::move(checked.error()));
  return update;
}

Result<Request> parse_open_pod(string_view bytes, std::vector<Fd>& fds) {
  auto body = value_of<OpenPodBody>(bytes);
  if (!body) return fail(std::move(body.error()));
  auto id = parse_id(body->id);
  if (!id) return fail(std::move(id.error()));
  auto egress = parse_egress_body(body->egress);
  if (!egress) return fail(std::move(egress.error()));
  auto memory = read_sealed(fds[0], volumes_wire_max);
  if (!memory) return fail(std::move(memory.error()));
  OpenPod open{.spec = {.id = *id, .id_range = body->id_range, .egress = std::move(*egress)}};
  if (auto parsed = parse_volumes(*memory, open.spec); !parsed) return fail(std::move(parsed.error()));
  if (auto checked = check_pod(open.spec); !checked) return fail(std::move(checked.error()));
  return open;
}

template <class T>
Result<Request> parse_empty(string_view bytes) {
  if (!bytes.empty()) return fail(Errc::invalid, "this verb has no body");
  return T{};
}

std::size_t fds_expected(Verb verb) {
  switch (verb) {
    case Verb::prepare:
      return 2;
    case Verb::import_layer:
    case Verb::pack:
    case Verb::unpack_into:
    case Verb::pack_step:
    case Verb::pack_layer:
    case Verb::bootstrap:
    case Verb::execute:
    case Verb::begin_command:
    case Verb::update_volumes:
    case Verb::open_pod:
      return 1;
    default:
      return 0;
  }
}

Result<Request> parse_body(Verb verb, string_view bytes, std::vector<Fd>& fds) {
  if (fds.size() != fds_expected(verb))
    return fail(Errc::invalid,
                fmt::format("{} comes with {} descriptors, not {}", to_string(verb), fds_expected(verb), fds.size()));
  switch (verb) {
    case Verb::prepare:
      return parse_prepare(bytes, fds);
    case Verb::start:
      return parse_with_id<Start>(bytes);
    case Verb::signal:
      return parse_signal(bytes);
    case Verb::remove:
      return parse_with_id<Remove>(bytes);
    case Verb::list:
      return parse_empty<List>(bytes);
    case Verb::connect:
      return parse_connect(bytes);
    case Verb::usage:
      return parse_with_id<GetUsage>(bytes);
    case Verb::listening:
      return parse_with_id<GetListening>(bytes);
    case Verb::has_layer:
      return parse_with_layer<HasLayer>(bytes);
    case Verb::import_layer:
      return parse_with_layer<ImportLayer>(bytes, std::move(fds[0]));
    case Verb::layers:
      return parse_empty<ListLayers>(bytes);
    case Verb::remove_layer:
      return parse_with_layer<RemoveLayer>(bytes);
    case Verb::pack:
      return parse_pack(bytes, fds);
    case Verb::resolve_user:
      return parse_resolve_user(bytes);
    case Verb::open_step:
      return parse_open_step(bytes);
    case Verb::unpack_into:
      return parse_unpack_into(bytes, fds);
    case Verb::pack_step:
      return parse_pack_step(bytes, fds);
    case Verb::publish_step:
      return parse_publish_step(bytes);
    case Verb::discard_step:
      return parse_with_id<DiscardStep>(bytes);
    case Verb::pack_layer:
      return parse_with_layer<PackLayer>(bytes, std::move(fds[0]));
    case Verb::bootstrap:
      return parse_bootstrap(bytes, fds);
    case Verb::park:
      return parse_with_id<Park>(bytes);
    case Verb::freeze:
      return parse_with_id<Freeze>(bytes);
    case Verb::thaw:
      return parse_with_id<Thaw>(bytes);
    case Verb::await_listening:
      return parse_await_listening(bytes);
    case Verb::listen_inside:
      return parse_with_id<ListenInside>(bytes);
    case Verb::execute:
      return parse_execute(bytes, fds);
    case Verb::begin_command:
      return parse_begin_command(bytes, fds);
    case Verb::update_volumes:
      return parse_update_volumes(bytes, fds);
    case Verb::open_pod:
      return parse_open_pod(bytes, fds);
    case Verb::close_pod:
      return parse_with_id<ClosePod>(bytes);
    case Verb::exit_notice:
    case Verb::restart_notice:
      break;
  }
  return fail(Errc::invalid, "not a verb of the front");
}

}  // namespace

std::string_view to_string(Verb verb) {
  static constexpr std::array names{"",
                                    "prepare",
                                    "start",
                                    "signal",
                                    "remove",
                                    "list",
                                    "connect",
                                    "usage",
                                    "listening",
                                    "has_layer",
                                    "import_layer",
                                    "layers",
                                    "remove_layer",
                                    "pack",
                                    "resolve_user",
                                    "open_step",
                                    "unpack_into",
                                    "pack_step",
                                    "publish_step",
                                    "discard_step",
                                    "pack_layer",
                                    "bootstrap",
                                    "park",
                                    "freeze",
                                    "thaw",
                                    "await_listening",
                                    "listen_inside",
                                    "execute",
                                    "begin_command",
                                    "update_volumes",
                                    "open_pod",
                                    "close_pod",
                                    "exit_notice",
                                    "restart_notice"};
  const auto index = static_cast<std::size_t>(verb);
  return index < names.size() ? names[index] : "unknown";
}

Result<Received> parse_request(std::string_view bytes, std::vector<Fd> fds) {
  if (bytes.size() < sizeof(RequestHead)) return fail(Errc::invalid, "a message shorter than its head");
  auto head = value_of<RequestHead>(bytes.substr(0, sizeof(RequestHead)));
  if (!head) return fail(std::move(head.error()));
  if (head->magic != magic || head->reserved != 0) return fail(Errc::invalid, "a message that is not ours");
  if (head->verb < static_cast<int>(Verb::prepare) || head->verb >= static_cast<int>(Verb::exit_notice))
    return fail(Errc::invalid, fmt::format("verb {} does not exist", head->verb));
  const auto verb = static_cast<Verb>(head->verb);
  auto request = parse_body(verb, bytes.substr(sizeof(RequestHead)), fds);
  return Received{.number = head->request, .verb = verb, .request = std::move(request)};
}

EgressBody egress_body(const EgressPolicy& policy) {
  EgressBody body;
  body.base = static_cast<std::uint32_t>(policy.base);
  body.count = static_cast<std::uint32_t>(policy.allow.size());
  for (std::size_t i = 0; i < policy.allow.size(); ++i) {
    std::ranges::copy(policy.allow[i].address, body.allow[i].address);
    body.allow[i].port = policy.allow[i].port;
    body.allow[i].prefix = policy.allow[i].prefix;
  }
  return body;
}

Result<EgressPolicy> parse_egress_body(const EgressBody& body) {
  if (body.base > static_cast<std::uint32_t>(Egress::open) || body.count > EgressPolicy::allow_max)
    return fail(Errc::invalid, "an egress policy out of bounds");
  EgressPolicy policy{.base = static_cast<Egress>(body.base), .allow = {}};
  for (std::size_t i = 0; i < body.count; ++i) {
    const auto& record = body.allow[i];
    if (record.prefix > 32 || record.reserved != 0) return fail(Errc::invalid, "an egress rule out of bounds");
    policy.allow.push_back({.address = std::to_array(record.address), .prefix = record.prefix, .port = record.port});
  }
  return policy;
}

IdBody id_body(const InstanceId& id) {
  IdBody body;
  put_id(body.id, id);
  return body;
}

DigestBody digest_body(const Digest& digest) {
  DigestBody body;
  std::ranges::copy(digest.bytes(), body.digest);
  return body;
}

namespace {

/// `process` and `more` as NUL-ended strings.
Result<std::string> process_strings(const Process& process, const std::vector<std::string>& more) {
  std::string strings;
  const auto add = [&strings](const std::string& text) { strings.append(text.c_str(), text.size() + 1); };
  for (const auto& argument : process.argv) add(argument);
  for (const auto& pair : process.environment) add(pair);
  add(process.working_folder);
  for (const auto& text : more) add(text);
  const std::size_t count = process.argv.size() + process.environment.size() + 1 + more.size();
  if (strings.size() > process_bytes_max || count > process_strings_max)
    return fail(Errc::too_large,
                fmt::format("command and environment are {} in {} strings; at most {} in {} are allowed",
                            human_bytes(strings.size()), count, human_bytes(process_bytes_max), process_strings_max));
  if (static_cast<std::size_t>(std::ranges::count(strings, '\0')) != count)
    return fail(Errc::invalid, "a NUL inside the command or the environment");
  return strings;
}

template <class Body>
void put_process(Body& body, const Process& process) {
  body.uid = process.uid;
  body.gid = process.gid;
  body.group_count = static_cast<std::uint32_t>(process.groups.size());
  std::ranges::copy(process.groups, body.groups);
  body.arguments = static_cast<std::uint32_t>(process.argv.size());
  body.environment = static_cast<std::uint32_t>(process.environment.size());
}

}  // namespace

Result<Outgoing> encode_execute(const InstanceId& id, const Process& process, std::chrono::milliseconds limit) {
  if (auto checked = check_process(process); !checked) return fail(std::move(checked.error()));
  ExecuteBody body;
  put_id(body.id, id);
  put_process(body, process);
  body.limit_ms = static_cast<std::uint32_t>(std::clamp<std::int64_t>(limit.count(), 1, execute_limit_max.count()));
  auto strings = process_strings(process, {});
  if (!strings) return fail(std::move(strings.error()));
  auto memory = seal(*strings);
  if (!memory) return fail(std::move(memory.error()));
  Outgoing out{.verb = Verb::execute, .body = std::string(bytes_of(body)), .fds = {}};
  out.fds.push_back(std::move(*memory));
  return out;
}

Result<Outgoing> encode_begin_command(const InstanceId& id, const Process& process, CommandOptions options) {
  if (auto checked = check_process(process); !checked) return fail(std::move(checked.error()));
  BeginCommandBody body;
  put_id(body.id, id);
  put_process(body, process);
  body.terminal = options.terminal ? 1 : 0;
  body.input = options.input ? 1 : 0;
  auto strings = process_strings(process, {});
  if (!strings) return fail(std::move(strings.error()));
  auto memory = seal(*strings);
  if (!memory) return fail(std::move(memory.error()));
  Outgoing out{.verb = Verb::begin_command, .body = std::string(bytes_of(body)), .fds = {}};
  out.fds.push_back(std::move(*memory));
  return out;
}

Result<Outgoing> encode_update_volumes(const InstanceSpec& spec) {
  if (auto checked = check_volumes(spec); !checked) return fail(std::move(checked.error()));
  auto memory = seal(bytes_of_volumes(spec));
  if (!memory) return fail(std::move(memory.error()));
  Outgoing out{.verb = Verb::update_volumes, .body = std::string(bytes_of(id_body(spec.id))), .fds = {}};
  out.fds.push_back(std::move(*memory));
  return out;
}

Result<Outgoing> encode_open_pod(const InstanceSpec& spec) {
  const InstanceSpec pod{.id = spec.id, .id_range = spec.id_range, .egress = spec.egress, .volumes = spec.volumes};
  if (auto checked = check_pod(pod); !checked) return fail(std::move(checked.error()));
  if (pod.egress.allow.size() > EgressPolicy::allow_max)
    return fail(Errc::invalid, fmt::format("an allow-list has at most {} entries", EgressPolicy::allow_max));
  OpenPodBody body;
  put_id(body.id, pod.id);
  body.id_range = pod.id_range;
  body.egress = egress_body(pod.egress);
  auto memory = seal(bytes_of_volumes(pod));
  if (!memory) return fail(std::move(memory.error()));
  Outgoing out{.verb = Verb::open_pod, .body = std::string(bytes_of(body)), .fds = {}};
  out.fds.push_back(std::move(*memory));
  return out;
}

Result<Outgoing> encode_prepare(const InstanceSpec& spec, Fd log) {
  if (auto checked = check_process(spec.process); !checked) return fail(std::move(checked.error()));
  if (auto checked = check_spec(spec); !checked) return fail(std::move(checked.error()));
  PrepareBody body;
  put_id(body.id, spec.id);
  put_id(body.step, spec.step);
  put_id(body.pod, spec.pod);
  body.id_range = spec.id_range;
  put_process(body, spec.process);
  body.memory_bytes = spec.limits.memory_bytes;
  body.cpu_millis = spec.limits.cpu_millis;
  body.pids = spec.limits.pids;
  body.privileges = static_cast<std::uint8_t>(spec.privileges);
  body.allow_root = spec.allow_root ? 1 : 0;
  body.parkable = spec.parkable ? 1 : 0;
  body.egress = egress_body(spec.egress);
  body.tmp_bytes = spec.limits.tmp_bytes;
  if (auto put = put_text(body.runtime, spec.runtime, "the runtime class"); !put) return fail(std::move(put.error()));
  if (auto put = put_layers(body.layers, spec.layers); !put) return fail(std::move(put.error()));

  std::vector<std::string> mounts;
  body.mounts = static_cast<std::uint32_t>(spec.mounts.size());
  for (const auto& mount : spec.mounts)
    for (const auto& text : strings_of(mount)) mounts.push_back(text);
  auto strings = process_strings(spec.process, mounts);
  if (!strings) return fail(std::move(strings.error()));
  const auto volumes = bytes_of_volumes(spec);
  body.volumes = static_cast<std::uint32_t>(volumes.size());
  auto memory = seal(*strings + volumes);
  if (!memory) return fail(std::move(memory.error()));
  Outgoing out{.verb = Verb::prepare, .body = std::string(bytes_of(body)), .fds = {}};
  out.fds.push_back(std::move(*memory));
  out.fds.push_back(std::move(log));
  return out;
}

Result<Outgoing> encode_pack(const std::vector<Digest>& layers, std::string_view subpath, std::string_view prefix,
                             Fd out_fd) {
  PackBody body;
  if (auto put = put_layers(body.layers, layers); !put) return fail(std::move(put.error()));
  if (auto put = put_text(body.subpath, subpath, "the path to pack"); !put) return fail(std::move(put.error()));
  if (auto put = put_text(body.prefix, prefix, "the prefix"); !put) return fail(std::move(put.error()));
  Outgoing out{.verb = Verb::pack, .body = std::string(bytes_of(body)), .fds = {}};
  out.fds.push_back(std::move(out_fd));
  return out;
}

Result<Outgoing> encode_resolve_user(const std::vector<Digest>& layers, std::string_view user) {
  ResolveUserBody body;
  if (auto put = put_layers(body.layers, layers); !put) return fail(std::move(put.error()));
  if (auto put = put_text(body.user, user, "the user"); !put) return fail(std::move(put.error()));
  return Outgoing{.verb = Verb::resolve_user, .body = std::string(bytes_of(body)), .fds = {}};
}

Result<Outgoing> encode_open_step(const InstanceId& step, const std::vector<Digest>& layers) {
  OpenStepBody body;
  put_id(body.id, step);
  if (auto put = put_layers(body.layers, layers); !put) return fail(std::move(put.error()));
  return Outgoing{.verb = Verb::open_step, .body = std::string(bytes_of(body)), .fds = {}};
}

Result<Outgoing> encode_connect(const InstanceId& id, std::uint16_t port, std::size_t count) {
  ConnectBody body;
  put_id(body.id, id);
  body.port = port;
  body.count = static_cast<std::uint32_t>(std::clamp<std::size_t>(count, 1, connect_count_max));
  return Outgoing{.verb = Verb::connect, .body = std::string(bytes_of(body)), .fds = {}};
}

Result<Outgoing> encode_await_listening(const InstanceId& id, std::uint16_t port, std::chrono::milliseconds patience) {
  AwaitListeningBody body;
  put_id(body.id, id);
  body.port = port;
  body.patience_ms = static_cast<std::uint32_t>(std::clamp<std::int64_t>(patience.count(), 0, patience_ms_max));
  return Outgoing{.verb = Verb::await_listening, .body = std::string(bytes_of(body)), .fds = {}};
}

Result<Outgoing> encode_bootstrap(std::string_view suite, Fd out_fd) {
  BootstrapBody body;
  if (auto put = put_text(body.suite, suite, "the suite"); !put) return fail(std::move(put.error()));
  Outgoing out{.verb = Verb::bootstrap, .body = std::string(bytes_of(body)), .fds = {}};
  out.fds.push_back(std::move(out_fd));
  return out;
}

void encode_address(const std::string& address, ListeningRecord& record) {
  record.family = address.find(':') == std::string::npos ? 4 : 6;
  ::inet_pton(record.family == 4 ? AF_INET : AF_INET6, address.c_str(), record.address);
}

std::string decode_address(const ListeningRecord& record) {
  char text[INET6_ADDRSTRLEN] = {};
  ::inet_ntop(record.family == 4 ? AF_INET : AF_INET6, record.address, text, sizeof text);
  return text;
}

std::string encode_error(const Error& error) {
  return error.what().substr(0, error_bytes_max) + '\0' + error.hint().substr(0, error_bytes_max);
}

Error decode_error(std::uint16_t code, std::string_view bytes) {
  const auto last = static_cast<std::uint16_t>(Errc::not_ready) + 1;
  const Errc kind = code <= last ? static_cast<Errc>(code - 1) : Errc::internal;
  const auto end = bytes.find('\0');
  Error error(kind, std::string(bytes.substr(0, end)));
  if (end != std::string_view::npos && end + 1 < bytes.size())
    return std::move(error).hint(std::string(bytes.substr(end + 1)));
  return error;
}

}  // namespace wick::container::protocol

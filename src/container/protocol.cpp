// What the runner hears: each request is checked field by field before anything looks at it.
#include "protocol.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "protocol_fields.hpp"
#include "sealed_memory.hpp"
#include "step_mounts.hpp"
#include "volumes.hpp"
#include "wick/base/text.hpp"

namespace wick::container::protocol {

namespace {

using std::string_view;

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

}  // namespace wick::container::protocol

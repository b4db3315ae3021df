// What the front says: the structs of a request and what goes with them. The runner reads them in protocol.cpp.
#include <arpa/inet.h>

#include <algorithm>

#include "protocol_fields.hpp"
#include "sealed_memory.hpp"
#include "step_mounts.hpp"
#include "volumes.hpp"
#include "wick/base/text.hpp"

namespace wick::container::protocol {

using std::string_view;

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

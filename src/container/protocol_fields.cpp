#include "protocol_fields.hpp"

#include "step_mounts.hpp"
#include "volumes.hpp"
#include "wick/base/text.hpp"

namespace wick::container::protocol {

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

namespace {

/// "/a/b": absolute, no "..", not below /proc, so that no runtime resolves it outside of the root: CVE-2024-21626 began
/// with the working folder /proc/self/fd/8.
bool is_plain_absolute(string_view path) {
  if (path.empty() || path.front() != '/') return false;
  const auto parts = split(path, '/');
  const auto first = std::ranges::find_if(parts, [](string_view part) { return !part.empty() && part != "."; });
  if (first != parts.end() && *first == "proc") return false;
  return std::ranges::none_of(parts, [](string_view part) { return part == ".."; });
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

}  // namespace

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

Result<void> check_pod(const InstanceSpec& spec) {
  if (spec.id_range >= id_ranges_max || spec.id_range == store_id_range)
    return fail(Errc::invalid,
                fmt::format("id ranges of pods go from 1 to {}, not {}", id_ranges_max - 1, spec.id_range));
  if (!spec.volume_mounts.empty() || !spec.message_path.empty())
    return fail(Errc::invalid, "volumes are mounted by what runs in the pod");
  return check_volumes(spec);
}

}  // namespace wick::container::protocol

// A front that was taken over: any bytes as a request, the rest of the input as the memfd that comes with it. Must
// never crash; what is accepted must be in bounds (the runner acts on it without looking again).
#include <fcntl.h>

#include <cstdint>
#include <cstdlib>

#include "container/protocol.hpp"
#include "container/sealed_memory.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::container;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check_volumes_of(const InstanceSpec& spec) {
  require(spec.volumes.size() <= volumes_max && spec.volume_mounts.size() <= volumes_max);
  for (const auto& volume : spec.volumes)
    for (const auto& file : volume.files)
      require(!file.path.empty() && file.path[0] != '/' && !file.path.starts_with("..") && file.mode <= 0777);
  for (const auto& mount : spec.volume_mounts) {
    require(spec.pod.empty() ? mount.volume < spec.volumes.size() : mount.volume <= volumes_max);  // Pods::enter
    require(mount.target.starts_with('/') && mount.target.size() > 1);
    require(mount.target.find("/../") == std::string::npos && mount.sub_path.find("/../") == std::string::npos);
  }
}

void check(const protocol::Prepare& prepare) {
  const auto& spec = prepare.spec;
  require(!spec.id.empty() && spec.id_range < id_ranges_max && spec.layers.size() <= layers_max);
  require(!spec.process.argv.empty() && spec.process.working_folder.starts_with('/'));
  require(spec.process.working_folder.find("/../") == std::string::npos);
  require(spec.process.uid < id_range_size && spec.process.gid < id_range_size);
  require(spec.egress.allow.size() <= EgressPolicy::allow_max);
  for (const auto& rule : spec.egress.allow) require(rule.prefix <= 32);
  check_volumes_of(spec);
  if (!spec.pod.empty()) require(spec.volumes.empty() && spec.step.empty() && !spec.parkable);
}

void check(const protocol::OpenPod& open) {
  require(!open.spec.id.empty() && open.spec.id_range > store_id_range && open.spec.id_range < id_ranges_max);
  require(open.spec.volume_mounts.empty() && open.spec.egress.allow.size() <= EgressPolicy::allow_max);
  check_volumes_of(open.spec);
}

void check(const protocol::Execute& execute) {
  require(!execute.id.empty() && !execute.process.argv.empty() && !execute.process.argv.front().empty());
  require(execute.process.working_folder.starts_with('/') && execute.process.uid < id_range_size);
  require(execute.limit >= std::chrono::milliseconds(1) && execute.limit <= execute_limit_max);
}

void check(const protocol::BeginCommand& begin) {
  require(!begin.id.empty() && !begin.process.argv.empty() && !begin.process.argv.front().empty());
  require(begin.process.working_folder.starts_with('/') && begin.process.uid < id_range_size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::size_t split = std::min<std::size_t>(size - 2, data[0] << 8 | data[1]);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  std::vector<Fd> fds;
  if (auto memory = seal(bytes.substr(split))) fds.push_back(std::move(*memory));
  // prepare takes two descriptors, the verbs with a file one: try what the verb wants.
  if (size > 6 && data[6] == static_cast<std::uint8_t>(protocol::Verb::prepare))
    if (auto null = open_file("/dev/null", O_RDWR)) fds.push_back(std::move(*null));
  // The magic changes with every layout: seeds of an older one would be of no use.
  std::string request(bytes.substr(0, split));
  if (request.size() >= sizeof protocol::magic)
    request.replace(0, sizeof protocol::magic, protocol::bytes_of(protocol::magic));
  auto received = protocol::parse_request(request, std::move(fds));
  if (!received || !received->request) return 0;
  if (const auto* prepare = std::get_if<protocol::Prepare>(&*received->request)) check(*prepare);
  if (const auto* update = std::get_if<protocol::UpdateVolumes>(&*received->request)) check_volumes_of(update->spec);
  if (const auto* open = std::get_if<protocol::OpenPod>(&*received->request)) check(*open);
  if (const auto* execute = std::get_if<protocol::Execute>(&*received->request)) check(*execute);
  if (const auto* begin = std::get_if<protocol::BeginCommand>(&*received->request)) check(*begin);
  return 0;
}

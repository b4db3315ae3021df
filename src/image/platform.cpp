#include "platform.hpp"

#include <sys/utsname.h>

#include "json_fields.hpp"

namespace wick::image {

std::string machine_architecture() {
  utsname name{};
  ::uname(&name);
  const std::string_view machine = name.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return std::string(machine);
}

bool runs_here(const boost::json::object& entry) {
  JsonFields fields(entry, "index");
  const auto platform = fields.object("platform");
  if (!platform) return true;
  JsonFields of_platform(*platform, "index: platform");
  return of_platform.string("os") == "linux" && of_platform.string("architecture") == machine_architecture();
}

std::string platform_of(const boost::json::object& entry) {
  JsonFields fields(entry, "index");
  const auto platform = fields.object("platform");
  if (!platform) return {};
  JsonFields of_platform(*platform, "index: platform");
  const auto variant = of_platform.string("variant");
  return of_platform.string("os") + "/" + of_platform.string("architecture") + (variant.empty() ? "" : "/" + variant);
}

}  // namespace wick::image

#include "api/push_options.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"
#include "wick/model/preview.hpp"

namespace wick::api {

Result<PushOptions> parse_push_options(const std::vector<std::string>& options) {
  constexpr std::string_view env = "env=", builder = "builder=";
  const auto refuse = [](std::string because) {
    return fail(Errc::invalid, std::move(because), "known push options: preview, no-deploy, env=K=V, builder=NAME");
  };
  PushOptions wanted;
  for (const auto& option : options) {
    if (option == "preview") {
      wanted.preview = true;
    } else if (option == "no-deploy") {
      wanted.no_deploy = true;
    } else if (option.starts_with(env)) {
      auto change = option.substr(env.size());
      if (!model::is_environment_change(change))
        return refuse(fmt::format("the push option '{}' sets no variable", printable(option, 80)));
      wanted.env.push_back(std::move(change));
    } else if (option.starts_with(builder)) {
      wanted.builder = option.substr(builder.size());
      if (!is_dns_label(wanted.builder))
        return refuse(fmt::format("the push option '{}' names no builder", printable(option, 80)));
    } else {
      return refuse(fmt::format("the push option '{}' is not known", printable(option, 80)));
    }
  }
  if (wanted.preview && wanted.no_deploy) return refuse("the push options preview and no-deploy exclude each other");
  return wanted;
}

}  // namespace wick::api

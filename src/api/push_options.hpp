// What `git push wick main -o OPTION` asks for, each as often as one likes:
//
//   preview        the branch becomes a preview, whatever the Service's wick.dev/previews says
//   no-deploy      it is built, to see whether it can be; nothing is deployed and the branch does not move
//   env=K=V        sets a variable (K- removes it), as wick deploy --env does
//   builder=NAME   builds with this builder, as wick deploy --builder does
#pragma once

#include <string>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::api {

struct PushOptions {
  bool preview = false;
  bool no_deploy = false;
  std::vector<std::string> env;
  std::string builder;
};

/// Pure. Errors: invalid, with the option and the known ones.
Result<PushOptions> parse_push_options(const std::vector<std::string>& options);

}  // namespace wick::api

// The files of runtime/, compiled in: the runner reads no template from disk.
#pragma once

#include <string_view>

namespace wick::container::embedded {

extern const std::string_view config;         // runtime/config.json
extern const std::string_view process;        // runtime/process.json
extern const std::string_view seccomp;        // runtime/seccomp.json
extern const std::string_view seccomp_build;  // runtime/seccomp-build.json
extern const std::string_view park_node;      // runtime/park/node.cjs
extern const std::string_view park_python;    // runtime/park/python/sitecustomize.py
extern const std::string_view egress;         // runtime/egress.nft

}  // namespace wick::container::embedded

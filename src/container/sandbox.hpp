// Short-lived children that read hostile bytes: forked from `wick helper serve` (helper_source.hpp) into a sandbox that
// has nothing to lose. The child enters new mount, pid, network, IPC and UTS namespaces, makes `root` its "/",
// joins the store's user namespace, drops what capabilities unpacking does not need, and only then looks at anything.
// (helper.cpp is the child's side.)
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "roots.hpp"
#include "wick/os/clock.hpp"

namespace wick::container {

inline constexpr int helper_namespace_fd = 3;  // the user namespace to join
inline constexpr int helper_data_fd = 4;       // the tar to read or to write

struct HelperCall {
  std::string name;
  std::filesystem::path root;
  std::vector<std::string> arguments;
  int data = -1;
  Duration limit = 30min;  // a big image from a slow disk
};

/// What the helper answered after "ok ". Errors: the helper's own; internal when it died without a word; timed_out.
awaitable<Result<std::string>> call_helper(Executor executor, Roots& roots, HelperCall call);

/// The last line of the form "ok TEXT" or "error CODE TEXT"; what a sanitizer prints around it is passed over. Pure.
Result<std::string> parse_answer(std::string_view output);
std::string write_answer(const Result<std::string>& answer);

}  // namespace wick::container

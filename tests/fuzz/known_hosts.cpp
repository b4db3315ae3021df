// known_hosts of a Secret, and the URL it is asked for.
#include <cstddef>
#include <cstdint>

#include "build/git_tree.hpp"
#include "build/known_hosts.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::build;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto end = text.find('\n');
  const auto url = text.substr(0, end);
  (void)check_git_url(url, false);
  const auto host = git_host(url);
  (void)check_host_key(text, {.host = host.host, .port = host.port, .key = text.substr(0, 40)});
  return 0;
}

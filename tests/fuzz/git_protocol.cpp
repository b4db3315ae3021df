// The head of a git push, and git's report on it: what is read is written back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "wick/build/git_protocol.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::build;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  (void)parse_report(bytes);
  (void)is_pushable_ref(bytes);
  const auto push = parse_push(bytes);
  if (!push || !*push) return 0;
  if ((*push)->request.options.size() > PushLimits::options_max) std::abort();
  if ((*push)->bytes > size || (*push)->request.commands.size() > PushLimits::commands_max) std::abort();
  const auto again = parse_push(to_wire((*push)->request));
  if (!again || !*again || (*again)->request.commands.size() != (*push)->request.commands.size()) std::abort();
  std::vector<RefReport> refs;
  for (const auto& command : (*push)->request.commands)
    refs.push_back({command.ref, is_pushable_ref(command.ref) ? "" : "no"});
  for (const auto& ref : refs)
    if (ref.reason.empty() && !parse_report(push_report("", {ref}))) std::abort();
  return 0;
}

#include "helper_source.hpp"

#include "wick/os/rights.hpp"

namespace wick::container {

Result<void> HelperSource::start(Executor executor) {
  process_.reset();
  socket_.reset();
  auto ends = Seqpacket::pair();
  if (!ends) return fail(std::move(ends.error()));
  const ProcessOptions options{.argv = {"/proc/self/exe", "helper", "serve", "/"},
                               .environment = std::vector<std::string>{"PATH=/usr/bin:/bin"},
                               .stderr_fd = 2,
                               .extra_fds = {{ends->second.get(), 3}}};
  auto started = ChildProcess::spawn(executor, options);
  if (!started) return fail(std::move(started.error()));
  process_.emplace(std::move(*started));
  socket_ = std::move(ends->first);
  return {};
}

Result<void> HelperSource::call(Executor executor, const std::vector<std::string>& arguments, int output,
                                const std::vector<int>& descriptors) {
  std::string bytes;
  for (const auto& argument : arguments) bytes.append(argument.c_str(), argument.size() + 1);
  if (bytes.size() > helper_call_bytes_max) return fail(Errc::too_large, "the arguments of a helper are too long");
  std::vector<int> sent{output};
  sent.insert(sent.end(), descriptors.begin(), descriptors.end());

  for (int tries = 0; tries < 2; ++tries) {
    if (!socket_)
      if (auto started = start(executor); !started) return started;
    if (send_rights(socket_.get(), bytes, sent, 0)) return {};
    socket_.reset();  // it has ended: a new one
  }
  return fail(system_error("call a helper", errno));
}

}  // namespace wick::container

#include "helper_source.hpp"

#include <sys/socket.h>

#include <cstring>

namespace wick::container {

Result<void> HelperSource::start(Executor executor) {
  process_.reset();
  socket_.reset();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(system_error("socketpair", errno));
  socket_ = Fd(ends[0]);
  const Fd theirs(ends[1]);
  const ProcessOptions options{.argv = {"/proc/self/exe", "helper", "serve", "/"},
                               .environment = std::vector<std::string>{"PATH=/usr/bin:/bin"},
                               .stderr_fd = 2,
                               .extra_fds = {{theirs.get(), 3}}};
  auto started = ChildProcess::spawn(executor, options);
  if (!started) return fail(std::move(started.error()));
  process_.emplace(std::move(*started));
  return {};
}

Result<void> HelperSource::call(Executor executor, const std::vector<std::string>& arguments, int output,
                                const std::vector<int>& descriptors) {
  std::string bytes;
  for (const auto& argument : arguments) bytes.append(argument.c_str(), argument.size() + 1);
  if (bytes.size() > helper_call_bytes_max) return fail(Errc::too_large, "the arguments of a helper are too long");
  std::vector<int> sent{output};
  sent.insert(sent.end(), descriptors.begin(), descriptors.end());

  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * helper_descriptors_max)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * sent.size());
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int) * sent.size());
  std::memcpy(CMSG_DATA(head), sent.data(), sizeof(int) * sent.size());

  for (int tries = 0; tries < 2; ++tries) {
    if (!socket_)
      if (auto started = start(executor); !started) return started;
    if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) >= 0) return {};
    socket_.reset();  // it has ended: a new one
  }
  return fail(system_error("call a helper", errno));
}

}  // namespace wick::container

#include "bootstrap.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace {

constexpr auto bootstrap_limit = 20min;

// mmdebstrap resolves the name of its target, which a descriptor has none of: "-" is its standard output, and that is
// ours.
constexpr const char* with_tar_to_descriptor_3 = R"(exec "$0" "$@" - >&3)";

std::vector<std::string> command(const std::string& suite) {
  return {
      "/bin/sh", "-c", with_tar_to_descriptor_3, "mmdebstrap", "--quiet", "--mode=root", "--format=tar",
      "--variant=minbase",
      // What the runtime gives: devices by /dev, names by /etc/resolv.conf and /etc/hosts.
      "--skip=output/dev",
      // mmdebstrap copies the host's; an image has none of its own.
      R"(--customize-hook=rm -f "$1/etc/resolv.conf" "$1/etc/hostname")",
      // Caches and logs only; the sources stay, so that `apt-get update` works in a later step.
      R"(--customize-hook=rm -rf "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/var/cache/ldconfig)",
      R"(--customize-hook=find "$1/var/log" -type f -delete)", R"(--customize-hook=: > "$1/etc/machine-id")",
      R"(--dpkgopt=path-exclude=/usr/share/man/*)", R"(--dpkgopt=path-exclude=/usr/share/doc/*)",
      R"(--dpkgopt=path-include=/usr/share/doc/*/copyright)", R"(--dpkgopt=path-exclude=/usr/share/locale/*)", suite};
}

}  // namespace

awaitable<Result<void>> bootstrap_debian(Executor, std::string suite, Fd out, std::filesystem::path state) {
  auto folder = TemporaryFolder::make(state, "bootstrap-");
  if (!folder) co_return fail(std::move(folder.error()));
  ProcessOptions options;
  options.argv = command(suite);
  options.environment = std::vector<std::string>{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                                 "LC_ALL=C.UTF-8", "TMPDIR=" + folder->path().string()};
  options.extra_fds = {{out.get(), 3}};
  SteadyClock clock;
  try {
    auto running = run_process(std::move(options));
    auto finished = co_await with_deadline(clock, bootstrap_limit, std::move(running));
    if (!finished) co_return fail(std::move(finished.error()));
    if (finished->status.code == 127)
      co_return fail(Errc::unsupported, "mmdebstrap is not installed", "apt-get install mmdebstrap");
    if (!finished->status.ok()) {
      const std::size_t shown = std::min<std::size_t>(finished->output.size(), 600);
      co_return fail(Errc::io, fmt::format("mmdebstrap {}: {}", suite,
                                           printable(finished->output.substr(finished->output.size() - shown), 600)));
    }
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out,
                   fmt::format("mmdebstrap {} took longer than {} minutes", suite, bootstrap_limit.count()));
  }
  co_return Result<void>{};
}

}  // namespace wick::container

#include "wick/build/git_repository.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>

#include "git_child.hpp"
#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

constexpr std::size_t gathered_bytes_max = 1 << 20;
constexpr std::size_t chunk_bytes_of_git = 64 << 10;
constexpr std::size_t complaint_bytes_max = 4 << 10;

std::vector<std::string> environment_of_git(const std::string& protocol) {
  // No HOME: no configuration of anybody.
  std::vector<std::string> environment{"PATH=/usr/bin:/bin",      "LC_ALL=C",
                                       "GIT_CONFIG_NOSYSTEM=1",   "GIT_CONFIG_GLOBAL=/dev/null",
                                       "GIT_ATTR_NOSYSTEM=1",     "GIT_TERMINAL_PROMPT=0",
                                       "GIT_COMMITTER_NAME=wick", "GIT_COMMITTER_EMAIL=wick@localhost"};
  if (protocol == "version=2" || protocol == "version=1") environment.push_back("GIT_PROTOCOL=" + protocol);
  return environment;
}

/// Of every command, whatever the repository's own file says.
std::vector<std::string> settings_of_git(std::uint64_t push_bytes_max) {
  std::vector<std::string> flags;
  for (const auto& setting :
       {std::string("core.hooksPath=/dev/null"), std::string("core.fsmonitor=false"),
        std::string("core.logAllRefUpdates=false"), std::string("gc.autoDetach=false"), std::string("pack.threads=1"),
        std::string("index.threads=1"), std::string("receive.autogc=false"), std::string("receive.fsckObjects=true"),
        std::string("receive.shallowUpdate=false"),
        // What old histories have here and there, and harms nobody.
        std::string("receive.fsck.zeroPaddedFilemode=ignore"), std::string("receive.fsck.badTimezone=ignore"),
        std::string("receive.fsck.missingSpaceBeforeDate=ignore"),
        std::string("receive.fsck.missingSpaceBeforeEmail=ignore"), std::string("uploadpack.hideRefs=refs/wick"),
        fmt::format("receive.maxInputSize={}", push_bytes_max)}) {
    flags.emplace_back("-c");
    flags.push_back(setting);
  }
  return flags;
}

/// The last line that says what was wrong.
std::string complaint_in(int file) {
  std::string text(complaint_bytes_max, '\0');
  const auto size = ::lseek(file, 0, SEEK_END);
  const auto from = std::max<off_t>(0, size - static_cast<off_t>(text.size()));
  const auto got = ::pread(file, text.data(), text.size(), from);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  std::string said;
  for (const auto line : split(text, '\n')) {
    auto words = trim(line);
    for (const std::string_view prefix : {"fatal: ", "error: "})
      if (words.starts_with(prefix)) words.remove_prefix(prefix.size());
    if (!words.empty() && (said.empty() || line.starts_with("fatal: ") || line.starts_with("error: "))) {
      // The first error is the cause; what follows says that there was one.
      if (said.empty() || said.starts_with("warning")) said = words;
    }
  }
  return printable(said, 300);
}

}  // namespace

struct GitRepository::Command {
  std::vector<std::string> arguments;
  int input = -1;
  int output = -1;  // -1: gathered, or for the sink
  bool is_gzip = false;
  std::string protocol{};
  Sink sink{};
};

namespace {

awaitable<Result<std::string>> run_git_child(const ProcessOptions& wanted, const GitRepository::Sink& sink) {
  auto executor = co_await asio::this_coro::executor;
  auto options = wanted;
  Fd complaints(::memfd_create("git-stderr", MFD_CLOEXEC));
  if (!complaints) co_return fail(system_error("memfd", errno));
  options.stderr_fd = complaints.get();
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  if (options.stdout_fd < 0) options.stdout_fd = pipe->second.get();
  auto child = ChildProcess::spawn(executor, options);
  if (!child) co_return fail(std::move(child.error()));
  pipe->second.reset();
  asio::posix::stream_descriptor reader(executor, pipe->first.release());
  std::string gathered;
  std::string chunk(chunk_bytes_of_git, '\0');
  while (true) {
    auto got = co_await reader.async_read_some(asio::buffer(chunk), asio::as_tuple(use_awaitable));
    auto& [error, bytes] = got;
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) break;
    const auto part = std::string_view(chunk).substr(0, bytes);
    if (sink) {
      auto taken = co_await sink(part);
      if (!taken) co_return fail(std::move(taken.error()));
      continue;
    }
    if (gathered.size() + part.size() > gathered_bytes_max)
      co_return fail(Errc::too_large, fmt::format("git said more than {}", human_bytes(gathered_bytes_max)));
    gathered += part;
  }
  const auto status = co_await child->wait();
  if (status.ok()) co_return gathered;
  if (status.code == git_missing_code)
    co_return fail(Errc::unsupported, "git is not installed on the machine of the daemon", "apt-get install git");
  auto complaint = complaint_in(complaints.get());
  co_return fail(Errc::invalid, complaint.empty() ? fmt::format("git ended with {}", status.text()) : complaint);
}

}  // namespace

awaitable<Result<std::string>> GitRepository::run(Command command) {
  std::vector<std::string> argv{"/proc/self/exe", "helper", "fetch",
                                "git-run",        folder_,  command.is_gzip ? "gzip" : "plain"};
  for (auto& flag : settings_of_git(limits_.push_bytes_max)) argv.push_back(std::move(flag));
  argv.insert(argv.end(), command.arguments.begin(), command.arguments.end());
  const ProcessOptions options{.argv = std::move(argv),
                               .environment = environment_of_git(command.protocol),
                               .working_folder = folder_,
                               .stdin_fd = command.input,
                               .stdout_fd = command.output,
                               .stderr_fd = -1};
  try {
    auto child = run_git_child(options, command.sink);
    co_return co_await with_deadline(clock_, limits_.time, std::move(child));
  } catch (const DeadlineExceeded&) {
    const auto minutes = std::chrono::duration<double, std::ratio<60>>(limits_.time).count();
    co_return fail(Errc::timed_out, fmt::format("git did not end within {:.3g} minutes", minutes));
  }
}

bool GitRepository::exists() const {
  std::error_code none;
  return std::filesystem::exists(folder_ / "HEAD", none);
}

awaitable<Result<void>> GitRepository::create() {
  if (exists()) co_return Result<void>();
  if (auto made = make_folders(folder_, 0700); !made) co_return made;
  Command init{.arguments = {"init", "--quiet", "--bare", "--template=", "--initial-branch=main", "."}};
  auto made = co_await run(std::move(init));
  if (!made) co_return fail(std::move(made.error()).within("make the repository"));
  if (auto folder = make_folders(folder_ / "info", 0700); !folder) co_return folder;
  // Before every attribute of a tree: an archive of a commit is what was committed.
  co_return write_file(folder_ / "info" / "attributes",
                       "* -export-ignore -export-subst -text -ident !eol !filter !working-tree-encoding\n", 0600);
}

awaitable<Result<std::vector<AdvertisedRef>>> GitRepository::refs() {
  Command list{.arguments = {"for-each-ref", fmt::format("--count={}", limits_.refs_max + 1),
                             "--format=%(objectname) %(refname)", "refs/heads", "refs/tags", "refs/wick"}};
  auto listed = co_await run(std::move(list));
  if (!listed) co_return fail(std::move(listed.error()).within("list the refs"));
  std::vector<AdvertisedRef> refs;
  for (const auto line : split(*listed, '\n')) {
    const auto space = line.find(' ');
    if (space == line.npos) continue;
    refs.push_back({.id = std::string(line.substr(0, space)), .name = std::string(line.substr(space + 1))});
  }
  if (refs.size() > limits_.refs_max)
    co_return fail(Errc::too_large, fmt::format("the repository has more than {} refs", limits_.refs_max),
                   "delete some: git push wick --delete NAME");
  co_return refs;
}

awaitable<Result<ParsedReport>> GitRepository::receive(int input) {
  Command take{.arguments = {"receive-pack", "--stateless-rpc", "."}, .input = input};
  auto said = co_await run(std::move(take));
  if (!said) co_return fail(std::move(said.error()));
  co_return parse_report(*said);
}

awaitable<Result<void>> GitRepository::update(std::vector<RefCommand> commands) {
  std::string script = "start\n";
  for (const auto& command : commands)
    script += command.deletes()   ? fmt::format("delete {} {}\n", command.ref, command.old_id)
              : command.creates() ? fmt::format("create {} {}\n", command.ref, command.new_id)
                                  : fmt::format("update {} {} {}\n", command.ref, command.new_id, command.old_id);
  script += "prepare\ncommit\n";
  Fd input(::memfd_create("git-stdin", MFD_CLOEXEC));
  if (!input) co_return fail(system_error("memfd", errno));
  if (auto written = write_all(input.get(), script); !written) co_return written;
  ::lseek(input.get(), 0, SEEK_SET);
  Command move{.arguments = {"update-ref", "--stdin"}, .input = input.get()};
  auto moved = co_await run(std::move(move));
  if (!moved) co_return fail(std::move(moved.error()));
  co_return Result<void>();
}

awaitable<Result<void>> GitRepository::set_head(std::string branch) {
  Command point{.arguments = {"symbolic-ref", "HEAD", std::move(branch)}};
  auto pointed = co_await run(std::move(point));
  if (!pointed) co_return fail(std::move(pointed.error()));
  co_return Result<void>();
}

awaitable<Result<std::string>> GitRepository::commit_of(std::string object) {
  Command look{.arguments = {"rev-parse", "--verify", "--quiet", "--end-of-options", object + "^{commit}"}};
  auto found = co_await run(std::move(look));
  const auto id = found ? trim(*found) : std::string_view();
  if (!is_object_id(id)) co_return fail(Errc::not_found, fmt::format("{} is no commit", printable(object, 60)));
  co_return std::string(id);
}

awaitable<Result<void>> GitRepository::archive(std::string commit, int output) {
  Command write{.arguments = {"archive", "--format=tar", std::move(commit)}, .output = output};
  auto written = co_await run(std::move(write));
  if (!written) co_return fail(std::move(written.error()).within("read the commit"));
  co_return Result<void>();
}

awaitable<Result<void>> GitRepository::tidy() {
  Command tidy{.arguments = {"gc", "--auto", "--quiet"}};
  auto tidied = co_await run(std::move(tidy));
  if (!tidied) co_return fail(std::move(tidied.error()));
  co_return Result<void>();
}

awaitable<Result<void>> GitRepository::advertise_fetch(std::string protocol, Sink sink) {
  Command list{.arguments = {"upload-pack", "--http-backend-info-refs", "."},
               .protocol = std::move(protocol),
               .sink = std::move(sink)};
  auto listed = co_await run(std::move(list));
  if (!listed) co_return fail(std::move(listed.error()));
  co_return Result<void>();
}

awaitable<Result<void>> GitRepository::serve_fetch(int input, bool is_gzip, std::string protocol, Sink sink) {
  Command serve{.arguments = {"upload-pack", "--stateless-rpc", "."},
                .input = input,
                .is_gzip = is_gzip,
                .protocol = std::move(protocol),
                .sink = std::move(sink)};
  auto served = co_await run(std::move(serve));
  if (!served) co_return fail(std::move(served.error()));
  co_return Result<void>();
}

}  // namespace wick::build

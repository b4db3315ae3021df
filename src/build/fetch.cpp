#include "fetch.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>

#include "credentials_wire.hpp"
#include "fetch_events.hpp"
#include "git_tree.hpp"
#include "patterns.hpp"
#include "wick/base/text.hpp"
#include "wick/build/git_look.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

constexpr std::size_t line_bytes_max = 8 << 10;

struct Heard {
  std::optional<Error> error;
  std::optional<FetchedCommit> commit;
};

Result<void> hear(std::string_view line, Heard& heard, Fetched& out, const std::function<void(std::string)>& on_line) {
  auto event = parse_fetch_event(line);
  if (!event) return fail(std::move(event.error()));
  if (auto* progress = std::get_if<FetchProgress>(&*event)) on_line(progress->text);
  if (auto* warning = std::get_if<FetchWarning>(&*event)) out.warnings.push_back(warning->text);
  if (auto* commit = std::get_if<FetchedCommit>(&*event)) heard.commit = *commit;
  if (auto* error = std::get_if<Error>(&*event)) heard.error = *error;
  return {};
}

awaitable<Result<void>> run_child(std::vector<std::string> argv, Fd input, bool wants_commit, Fetched& out,
                                  std::function<void(std::string)> on_line) {
  auto executor = co_await asio::this_coro::executor;
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  ProcessOptions options{.argv = std::move(argv),
                         .environment = std::vector<std::string>{"PATH=/usr/bin:/bin",
                                                                 "LC_ALL=C"},  // no HOME: no configuration of anybody
                         .stdin_fd = input.get(),
                         .stdout_fd = pipe->second.get(),
                         .stderr_fd = STDERR_FILENO};
  auto child = ChildProcess::spawn(executor, options);
  if (!child) co_return fail(std::move(child.error()));
  pipe->second.reset();
  input.reset();
  asio::posix::stream_descriptor reader(executor, pipe->first.release());
  Heard heard;
  std::string pending;
  std::array<char, 4096> chunk;
  while (true) {
    auto got = co_await reader.async_read_some(asio::buffer(chunk), asio::as_tuple(use_awaitable));
    auto& [error, bytes] = got;
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    pending.append(chunk.data(), bytes);
    for (auto end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      auto understood = hear(std::string_view(pending).substr(0, end), heard, out, on_line);
      if (!understood) co_return understood;
      pending.erase(0, end + 1);
    }
    if (pending.size() > line_bytes_max) co_return fail(Errc::corrupt, "the fetching child said a line without an end");
    if (error) break;
  }
  const auto status = co_await child->wait();
  if (heard.error) co_return fail(std::move(*heard.error));
  if (!status.ok()) co_return fail(Errc::internal, fmt::format("the fetching child ended with {}", status.text()));
  if (wants_commit && !heard.commit) co_return fail(Errc::internal, "the fetching child named no commit");
  if (heard.commit) {
    out.commit = heard.commit->id;
    out.commit_time = heard.commit->time;
  }
  co_return Result<void>{};
}

/// A descriptor that gives the credentials and then ends.
Result<Fd> readable(const GitCredentials& credentials) {
  const auto bytes = to_wire(credentials);
  if (!bytes) return fail(bytes.error());
  auto pipe = make_pipe();
  if (!pipe) return fail(std::move(pipe.error()));
  if (auto written = write_all(pipe->second.get(), *bytes); !written) return fail(std::move(written.error()));
  return std::move(pipe->first);
}

}  // namespace

awaitable<void> drop(WorkerPool& workers, std::unique_ptr<Fetched> fetched) {
  auto remove = [holder = std::move(fetched)]() mutable { holder.reset(); };
  co_await workers.run(std::move(remove));
}

awaitable<Result<std::unique_ptr<Fetched>>> fetch(Clock& clock, WorkerPool& workers,
                                                  std::variant<GitSource, ArchiveSource, UrlSource> source,
                                                  std::filesystem::path work, FetchLimits limits,
                                                  std::function<void(std::string)> on_line) {
  auto holder = TemporaryFolder::make(work, "fetch-");
  if (!holder) co_return fail(std::move(holder.error()));
  const auto folder = holder->path() / "source";
  const auto repository = holder->path() / "objects";
  for (const auto& path : {folder, repository})
    if (auto made = make_folders(path, 0700); !made) co_return fail(std::move(made.error()));
  auto out = std::make_unique<Fetched>(Fetched{.holder = std::move(*holder), .folder = folder});

  std::vector<std::string> argv{"/proc/self/exe", "helper", "fetch"};
  Fd input;
  const auto* git = std::get_if<GitSource>(&source);
  if (git) {
    if (auto checked = check_git_url(git->url, git->allow_local); !checked) co_return fail(std::move(checked.error()));
    auto credentials = readable(git->credentials);
    if (!credentials) co_return fail(std::move(credentials.error()));
    input = std::move(*credentials);
    argv.insert(argv.end(), {"git", folder, repository, git->url, git->ref, std::to_string(limits.bytes_max)});
    if (git->allow_local) argv.emplace_back("--allow-local");
  } else if (const auto* url = std::get_if<UrlSource>(&source)) {
    argv.insert(argv.end(), {"url", folder / base_name(url->file_name), url->url, std::to_string(limits.bytes_max)});
  } else {
    const auto& archive = std::get<ArchiveSource>(source);
    auto opened = open_file(archive.path, O_RDONLY);
    if (!opened) co_return fail(std::move(opened.error()));
    input = std::move(*opened);
    argv.insert(argv.end(), {"archive", folder, std::to_string(limits.bytes_max)});
  }
  Result<void> fetched;
  try {
    auto child = run_child(std::move(argv), std::move(input), !std::holds_alternative<ArchiveSource>(source), *out,
                           std::move(on_line));
    fetched = co_await with_deadline(clock, limits.time, std::move(child));
  } catch (const DeadlineExceeded&) {
    const auto minutes = std::chrono::duration<double, std::ratio<60>>(limits.time).count();
    fetched = fail(Errc::timed_out, fmt::format("the source was not fetched within {:.3g} minutes", minutes),
                   "is the server slow, or the repository very large?");
  }
  if (!fetched) {
    co_await drop(workers, std::move(out));
    co_return fail(std::move(fetched.error()));
  }
  co_return std::move(out);
}

awaitable<Result<std::string>> look_at_branch(Clock& clock, GitSource source, std::filesystem::path work,
                                              milliseconds limit) {
  if (auto checked = check_git_url(source.url, source.allow_local); !checked)
    co_return fail(std::move(checked.error()));
  auto holder = TemporaryFolder::make(work, "look-");
  if (!holder) co_return fail(std::move(holder.error()));
  const auto repository = holder->path() / "objects";
  if (auto made = make_folders(repository, 0700); !made) co_return fail(std::move(made.error()));
  auto credentials = readable(source.credentials);
  if (!credentials) co_return fail(std::move(credentials.error()));
  std::vector<std::string> argv{"/proc/self/exe", "helper",   "fetch",    "git-look", holder->path() / "source",
                                repository,       source.url, source.ref, "0"};
  if (source.allow_local) argv.emplace_back("--allow-local");
  Fetched out{.holder = std::move(*holder), .folder = {}};
  const auto nobody = [](const std::string&) {};
  try {
    auto child = run_child(std::move(argv), std::move(*credentials), true, out, nobody);
    auto looked = co_await with_deadline(clock, limit, std::move(child));
    if (!looked) co_return fail(std::move(looked.error()));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, fmt::format("the server did not answer within {} s", limit.count() / 1000));
  }
  co_return out.commit;
}

}  // namespace wick::build

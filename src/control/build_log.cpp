#include "wick/control/build_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::control {

namespace {

namespace json = boost::json;

constexpr std::size_t chunk_bytes = 64 << 10;

std::string_view to_string(build::Progress::Kind kind) {
  switch (kind) {
    case build::Progress::Kind::started:
      return "started";
    case build::Progress::Kind::output:
      return "output";
    case build::Progress::Kind::cached:
      return "cached";
    case build::Progress::Kind::finished:
      return "finished";
    case build::Progress::Kind::failed:
      break;
  }
  return "failed";
}

}  // namespace

BuildLogs::BuildLogs(Executor executor, Clock& clock, std::filesystem::path folder)
    : executor_(executor), clock_(clock), folder_(std::move(folder)) {
  if (auto made = make_folders(folder_, 0700); !made)
    log::warn("no folder for build logs", {{"error", made.error().what()}});
}

BuildLogs::~BuildLogs() = default;

std::filesystem::path BuildLogs::path_of(const std::string& uid) const { return folder_ / (uid + ".ndjson"); }

Result<void> BuildLogs::open(const std::string& uid) {
  auto file = open_file(path_of(uid), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (!file) return fail(std::move(file.error()));
  live_[uid] = std::make_shared<Live>(
      Live{.file = std::move(*file), .grown = asio::steady_timer(executor_, asio::steady_timer::time_point::max())});
  return {};
}

void BuildLogs::append(const std::string& uid, const build::Progress& progress) {
  const auto found = live_.find(uid);
  if (found == live_.end()) return;
  auto& live = *found->second;
  // The end of a step is told whatever the size; its output is what grows without bound.
  if (live.bytes > bytes_max && progress.kind == build::Progress::Kind::output) {
    if (live.cut) return;
    live.cut = true;
    write_line(live, {.kind = progress.kind,
                      .step = progress.step,
                      .text = "… the output goes on; only the first 16 MB of a build are kept",
                      .elapsed = progress.elapsed});
    return;
  }
  write_line(live, progress);
}

void BuildLogs::write_line(Live& live, const build::Progress& progress) {
  const json::object line{{"ts", to_rfc3339_nano(clock_.wall())},
                          {"kind", to_string(progress.kind)},
                          {"step", progress.step},
                          {"text", printable(progress.text, 4096)},
                          {"elapsedMs", progress.elapsed.count()}};
  const auto text = json::serialize(line) + "\n";
  if (auto written = write_all(live.file.get(), text); !written)
    log::warn("build log not written", {{"error", written.error().what()}});
  live.bytes += text.size();
  live.grown.cancel();
}

void BuildLogs::close(const std::string& uid) {
  const auto found = live_.find(uid);
  if (found == live_.end()) return;
  const auto live = found->second;
  live_.erase(found);
  live->grown.cancel();
}

void BuildLogs::remove(const std::string& uid) {
  close(uid);
  std::error_code ignored;
  std::filesystem::remove(path_of(uid), ignored);
}

awaitable<Result<void>> BuildLogs::read(std::string uid, bool follow,
                                        std::function<awaitable<bool>(std::string_view)> on_lines) {
  auto file = open_file(path_of(uid), O_RDONLY | O_CLOEXEC);
  if (!file) {
    if (file.error().code() == Errc::not_found) co_return Result<void>();
    co_return fail(std::move(file.error()));
  }
  std::string buffer;
  while (true) {
    // Whether more can come is asked before the read: what was written until close() is seen by it.
    const auto found = live_.find(uid);
    const auto live = found == live_.end() ? nullptr : found->second;
    const auto before = buffer.size();
    buffer.resize(before + chunk_bytes);
    const auto count = ::read(file->get(), buffer.data() + before, chunk_bytes);
    buffer.resize(before + (count > 0 ? static_cast<std::size_t>(count) : 0));
    if (const auto end = buffer.rfind('\n'); end != buffer.npos) {
      const auto lines = buffer.substr(0, end + 1);
      buffer.erase(0, end + 1);
      if (!co_await on_lines(lines)) co_return Result<void>();
    }
    if (count > 0) continue;
    if (!follow || !live) co_return Result<void>();
    auto waited = co_await live->grown.async_wait(asio::as_tuple(use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(std::get<0>(waited));
  }
}

}  // namespace wick::control

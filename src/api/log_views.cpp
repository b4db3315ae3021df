// Logs as lines of JSON: of build runs and of a service's instances, ended ones included.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <map>

#include "api/answer.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/files.hpp"

namespace wick::api {

namespace {

constexpr auto poll_period = 200ms;  // how late a line may be seen
constexpr std::size_t chunk_bytes = 64 << 10;
constexpr std::size_t line_bytes_max = 16 << 10;  // longer lines come in pieces
constexpr std::uint64_t tail_lines_max = 100'000;

std::string query(const http::Exchange& exchange, std::string_view name) {
  return http::query_value(exchange.head().query(), name).value_or(std::string());
}

bool is_true(std::string_view text) { return text == "true" || text == "1"; }

/// Bytes that are no UTF-8 become U+FFFD: a JSON string holds nothing else.
std::string to_utf8(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    bool good = length > 0 && i + length <= bytes.size();
    for (std::size_t n = 1; good && n < length; ++n) good = (static_cast<unsigned char>(bytes[i + n]) & 0xc0) == 0x80;
    if (good) {
      text += bytes.substr(i, length);
      i += length;
    } else {
      text += "\xef\xbf\xbd";
      ++i;
    }
  }
  return text;
}

/// One instance's file, read as it grows.
class LogReader {
 public:
  LogReader(std::string path, std::string revision, std::string instance)
      : path_(std::move(path)), revision_(std::move(revision)), instance_(std::move(instance)) {}

  /// What came since the last read, at most a chunk, as JSON lines; blocks on disk. `more`: the chunk was full.
  std::string read(bool& more) {
    more = false;
    auto file = open_file(path_, O_RDONLY | O_CLOEXEC);
    if (!file) return {};
    const auto size = ::lseek(file->get(), 0, SEEK_END);
    // The older half of a full log is dropped: what is left starts over.
    if (size >= 0 && static_cast<std::uint64_t>(size) < offset_) offset_ = 0;
    std::string chunk(chunk_bytes, '\0');
    const auto count = ::pread(file->get(), chunk.data(), chunk.size(), static_cast<off_t>(offset_));
    if (count <= 0) return {};
    offset_ += static_cast<std::uint64_t>(count);
    more = static_cast<std::size_t>(count) == chunk_bytes;
    pending_.append(chunk, 0, static_cast<std::size_t>(count));
    return take_lines();
  }

  /// Starts at the last `lines` lines of what is there; blocks on disk.
  void skip_to_tail(std::uint64_t lines) {
    auto file = open_file(path_, O_RDONLY | O_CLOEXEC);
    if (!file) return;
    auto at = static_cast<std::uint64_t>(std::max<off_t>(::lseek(file->get(), 0, SEEK_END), 0));
    std::uint64_t seen = 0;
    bool at_end = true;
    while (at > 0) {
      const auto length = std::min<std::uint64_t>(at, chunk_bytes);
      std::string chunk(length, '\0');
      if (::pread(file->get(), chunk.data(), length, static_cast<off_t>(at - length)) != static_cast<ssize_t>(length))
        return;
      for (auto i = length; i-- > 0;) {
        if (chunk[i] != '\n') {
          at_end = false;
          continue;
        }
        // The newline at the very end closes the last line, it does not begin one.
        if (!at_end && ++seen == lines) {
          offset_ = at - length + i + 1;
          return;
        }
        if (at_end) at_end = false;
      }
      at -= length;
    }
    if (lines == 0) offset_ = static_cast<std::uint64_t>(::lseek(file->get(), 0, SEEK_END));
  }

  /// A last line without newline, once nothing more can come.
  std::string rest() {
    if (pending_.empty()) return {};
    pending_ += '\n';
    return take_lines();
  }

 private:
  std::string take_lines() {
    std::string text;
    std::size_t begin = 0;
    while (true) {
      auto end = pending_.find('\n', begin);
      const bool cut = end == pending_.npos && pending_.size() - begin >= line_bytes_max;
      if (cut) end = begin + line_bytes_max;
      if (end == pending_.npos) break;
      const json::object line{{"revision", revision_},
                              {"instance", instance_},
                              {"line", to_utf8(std::string_view(pending_).substr(begin, end - begin))}};
      text += json::serialize(line) + "\n";
      begin = cut ? end : end + 1;
    }
    pending_.erase(0, begin);
    return text;
  }

  std::string path_;
  std::string revision_;
  std::string instance_;
  std::uint64_t offset_ = 0;
  std::string pending_;
};

/// The logs of one service's instances, with those that join while they are followed.
class ServiceLogs {
 public:
  ServiceLogs(const Doors& doors, std::string name_space, std::string name, bool failed,
              std::optional<std::uint64_t> tail)
      : doors_(doors), name_space_(std::move(name_space)), name_(std::move(name)), failed_(failed), tail_(tail) {}

  awaitable<Result<void>> write_new(http::Exchange& exchange) {
    co_await find_files();
    for (auto& [path, reader] : readers_) {
      bool more = true;
      while (more) {
        const auto shared = reader;
        auto read = [shared] {
          std::pair<std::string, bool> got;
          got.first = shared->read(got.second);
          return got;
        };
        auto got = co_await doors_.workers.run(read);
        more = got.second;
        if (got.first.empty()) continue;
        auto written = co_await exchange.write(got.first);
        if (!written) co_return written;
      }
    }
    co_return Result<void>();
  }

  awaitable<Result<void>> write_rest(http::Exchange& exchange) {
    for (auto& [path, reader] : readers_)
      if (const auto text = reader->rest(); !text.empty()) {
        auto written = co_await exchange.write(text);
        if (!written) co_return written;
      }
    co_return Result<void>();
  }

 private:
  std::vector<std::string> revisions() const {
    std::vector<std::string> names;
    for (const auto& revision : doors_.objects.list(model::revision_kind().resource(), name_space_)) {
      if (model::text_at(*revision, {"metadata", "labels", model::names::service}) != name_) continue;
      if (failed_ && model::find_condition(*revision, "Ready").status != model::Truth::no) continue;
      names.push_back(model::text_at(*revision, {"metadata", "name"}));
    }
    // `--failed` means the last one that failed.
    if (failed_ && names.size() > 1) names.erase(names.begin(), names.end() - 1);
    return names;
  }

  awaitable<void> find_files() {
    const bool first = !looked_;
    looked_ = true;
    for (const auto& revision : revisions()) {
      auto files = doors_.logs(name_space_ + "/" + revision);
      std::ranges::reverse(files);  // oldest first
      for (const auto& file : files) {
        if (known_.contains(file.path)) continue;
        known_.insert(file.path);
        auto reader = std::make_shared<LogReader>(file.path, revision, std::string(file.id.text()));
        if (first && tail_) {
          auto skip = [reader, lines = *tail_] { reader->skip_to_tail(lines); };
          co_await doors_.workers.run(skip);
        }
        readers_.emplace_back(file.path, reader);
      }
    }
  }

  const Doors& doors_;
  std::string name_space_;
  std::string name_;
  bool failed_;
  std::optional<std::uint64_t> tail_;
  bool looked_ = false;
  std::set<std::string> known_;
  std::vector<std::pair<std::string, std::shared_ptr<LogReader>>> readers_;
};

}  // namespace

awaitable<void> service_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  if (!doors.objects.find({model::service_kind().resource(), name_space, name})) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(model::service_kind(), name));
    co_return;
  }
  const bool follow = is_true(query(exchange, "follow"));
  const auto tail_text = query(exchange, "tail");
  auto tail = parse_unsigned(tail_text);
  if (!tail_text.empty() && (!tail || *tail > tail_lines_max)) {
    co_await respond_error(exchange, Error(Errc::invalid, fmt::format("tail must be 0..{}, not '{}'", tail_lines_max,
                                                                      printable(tail_text))));
    co_return;
  }
  ServiceLogs logs(doors, std::move(name_space), std::move(name), is_true(query(exchange, "failed")), tail);
  auto started = co_await start_lines(exchange);
  if (!started) co_return;
  auto body = [&](Wakeup& wakeup) -> awaitable<void> {
    while (true) {
      auto written = co_await logs.write_new(exchange);
      if (!written || !follow || wakeup.ended()) break;
      co_await doors.clock.sleep(poll_period);
    }
    if (follow || wakeup.ended()) co_return;
    auto written = co_await logs.write_rest(exchange);
    if (written) co_await exchange.finish();
  };
  co_await while_connected(exchange, doors.clock, std::nullopt, body);
}

awaitable<void> build_run_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  const store::ObjectKey key{model::build_run_kind().resource(), name_space, name};
  auto run = doors.objects.find(key);
  if (!run) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(model::build_run_kind(), name));
    co_return;
  }
  const bool follow = is_true(query(exchange, "follow"));
  const auto uid = model::text_at(*run, {"metadata", "uid"});
  auto& logs = doors.control.build_logs();
  auto started = co_await start_lines(exchange);
  if (!started) co_return;
  auto body = [&](Wakeup& wakeup) -> awaitable<void> {
    // The run may not have begun: its log comes with it.
    while (follow && !wakeup.ended() && !logs.is_open(uid)) {
      run = doors.objects.find(key);
      if (!run || model::find_condition(*run, "Succeeded").status != model::Truth::unknown) break;
      co_await doors.clock.sleep(20ms);
    }
    auto write = [&](std::string_view lines) -> awaitable<bool> {
      auto written = co_await exchange.write(lines);
      co_return written.has_value() && !wakeup.ended();
    };
    auto read = co_await logs.read(uid, follow, write);
    if (read) co_await exchange.finish();
  };
  co_await while_connected(exchange, doors.clock, std::nullopt, body);
}

}  // namespace wick::api

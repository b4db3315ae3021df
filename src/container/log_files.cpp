#include "log_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::size_t tail_bytes = 64 << 10;
constexpr std::size_t record_bytes_max = 1 << 20;
// Of all owners, the oldest go first: a job for every event makes an owner for every event.
constexpr std::size_t ended_logs_max = 2000;

Result<std::string> read_at(int fd, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, '\0');
  std::size_t used = 0;
  while (used < size) {
    const auto got = ::pread(fd, bytes.data() + used, size - used, static_cast<off_t>(offset + used));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read", errno));
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
  }
  bytes.resize(used);
  return bytes;
}

json::object describe(const InstanceSpec& spec, const LogFiles::Record& record) {
  json::array layers;
  for (const auto& layer : spec.layers) layers.emplace_back(layer.text());
  json::array argv;
  for (const auto& argument : spec.process.argv) argv.emplace_back(argument);
  // No environment: it holds secrets.
  json::object described{{"id", record.id.text()},
                         {"owner", record.owner},
                         {"started", to_rfc3339_nano(record.started)},
                         {"idRange", record.id_range},
                         {"layers", std::move(layers)},
                         {"argv", std::move(argv)},
                         {"uid", spec.process.uid},
                         {"memoryBytes", spec.limits.memory_bytes},
                         {"cpuMillis", spec.limits.cpu_millis}};
  if (!record.pod.empty()) described["pod"] = record.pod.text();
  if (!record.container.empty()) described["container"] = record.container;
  return described;
}

std::optional<LogFiles::Record> parse_record(std::string_view text) {
  boost::system::error_code error;
  const auto value = json::parse(text, error);
  if (error || !value.is_object()) return std::nullopt;
  const auto& object = value.get_object();
  const auto text_at = [&](const char* key) -> std::string_view {
    const auto* found = object.if_contains(key);
    return found && found->is_string() ? std::string_view(found->get_string()) : std::string_view();
  };
  auto id = InstanceId::parse(text_at("id"));
  auto started = parse_rfc3339(text_at("started"));
  const auto* range = object.if_contains("idRange");
  if (!id || !started || !range || !range->is_int64()) return std::nullopt;
  return LogFiles::Record{.id = *id,
                          .owner = std::string(text_at("owner")),
                          .started = *started,
                          .id_range = static_cast<std::uint32_t>(range->get_int64()),
                          .running = false,
                          .pod = InstanceId::parse(text_at("pod")).value_or(InstanceId()),
                          .container = std::string(text_at("container")),
                          .waiting = {}};
}

}  // namespace

Result<std::uint64_t> shorten_log(const fs::path& file, std::uint64_t bytes_max) {
  struct stat info{};
  // Nearly always that is all: it is asked of every instance, twice a second.
  if (::stat(file.c_str(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) <= bytes_max) return 0;
  auto fd = open_file(file, O_RDWR);
  if (!fd) return fail(std::move(fd.error()));
  if (::fstat(fd->get(), &info) != 0) return fail(system_error("fstat", errno));
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size <= bytes_max) return 0;
  const std::uint64_t block = std::max<std::uint64_t>(4096, static_cast<std::uint64_t>(info.st_blksize));
  const std::uint64_t dropped = (size - bytes_max / 2) / block * block;
  if (dropped == 0) return 0;
  // ext4 and xfs take the range out in one step: what is written meanwhile lands behind it, nothing is lost.
  if (::fallocate(fd->get(), FALLOC_FL_COLLAPSE_RANGE, 0, static_cast<off_t>(dropped)) == 0) return dropped;
  auto kept = read_at(fd->get(), dropped, size - dropped);
  if (!kept) return fail(std::move(kept.error()));
  // Elsewhere lines written between these two calls come before the older ones.
  if (::ftruncate(fd->get(), 0) != 0) return fail(system_error("shorten " + file.string(), errno));
  auto appender = open_file(file, O_WRONLY | O_APPEND);
  if (!appender) return fail(std::move(appender.error()));
  if (auto written = write_all(appender->get(), *kept); !written) return fail(std::move(written.error()));
  return dropped;
}

std::vector<std::string> tail_of(const fs::path& file, std::size_t lines) {
  auto fd = open_file(file, O_RDONLY);
  struct stat info{};
  if (!fd || ::fstat(fd->get(), &info) != 0) return {};
  const auto size = static_cast<std::uint64_t>(info.st_size);
  const std::uint64_t from = size > tail_bytes ? size - tail_bytes : 0;
  auto bytes = read_at(fd->get(), from, static_cast<std::size_t>(size - from));
  if (!bytes || bytes->empty()) return {};
  std::string_view text = *bytes;
  if (text.ends_with('\n')) text.remove_suffix(1);
  auto parts = split(text, '\n');
  if (from > 0 && parts.size() > 1) parts.erase(parts.begin());  // begins in the middle of a line
  const std::size_t skipped = parts.size() > lines ? parts.size() - lines : 0;
  return {parts.begin() + static_cast<std::ptrdiff_t>(skipped), parts.end()};
}

LogFiles::LogFiles(fs::path folder, LogOptions options) : folder_(std::move(folder)), options_(options) {
  if (auto made = make_folders(folder_, 0750); !made)
    log::error("no folder for logs", {{"error", made.error().what()}});
  load();
}

fs::path LogFiles::path_of(const InstanceId& id) const { return folder_ / (std::string(id.text()) + ".log"); }
fs::path LogFiles::record_of(const InstanceId& id) const { return folder_ / (std::string(id.text()) + ".json"); }

void LogFiles::load() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_, error)) {
    // A log without a record is of one that never began.
    if (entry.path().extension() == ".log" && !fs::exists(fs::path(entry.path()).replace_extension(".json"), error))
      fs::remove(entry.path(), error);
    if (entry.path().extension() != ".json") continue;
    auto text = read_file(entry.path(), record_bytes_max);
    auto record = text ? parse_record(*text) : std::nullopt;
    if (record) records_.emplace(record->id, std::move(*record));
  }
}

LogFiles::Record LogFiles::record_for(const InstanceSpec& spec, std::string owner) {
  return {.id = spec.id,
          .owner = std::move(owner),
          .started = {},
          .id_range = spec.id_range,
          .running = true,
          .pod = spec.pod,
          .container = spec.name,
          .waiting = {}};
}

Result<Fd> LogFiles::open(const InstanceSpec& spec, std::string owner, WallTime now) {
  Record record = record_for(spec, std::move(owner));
  record.started = now;
  if (auto written = write_file(record_of(spec.id), json::serialize(describe(spec, record)), 0640); !written)
    return fail(std::move(written.error()));
  return open_log(std::move(record));
}

Result<Fd> LogFiles::open_waiting(const InstanceSpec& spec, std::string owner) {
  Record record = record_for(spec, std::move(owner));
  record.waiting = json::serialize(describe(spec, record));
  return open_log(std::move(record));
}

Result<Fd> LogFiles::open_log(Record record) {
  auto log = open_file(path_of(record.id), O_WRONLY | O_APPEND | O_CREAT, 0640);
  if (!log) return fail(std::move(log.error()));
  const InstanceId id = record.id;
  records_.insert_or_assign(id, std::move(record));
  return log;
}

void LogFiles::begin(const InstanceId& id, WallTime now) {
  const auto found = records_.find(id);
  if (found == records_.end() || found->second.waiting.empty()) return;
  auto& record = found->second;
  record.started = now;
  auto value = json::parse(std::exchange(record.waiting, {}));
  value.as_object()["started"] = to_rfc3339_nano(now);
  if (auto written = write_file(record_of(id), json::serialize(value), 0640); !written)
    log::warn("no record of an instance", {{"instance", id.text()}, {"error", written.error().what()}});
}

void LogFiles::forget(const InstanceId& id) {
  ::unlink(path_of(id).c_str());
  records_.erase(id);
}

const LogFiles::Record* LogFiles::find(const InstanceId& id) const {
  auto found = records_.find(id);
  return found == records_.end() ? nullptr : &found->second;
}

void LogFiles::set_running(const InstanceId& id) {
  if (auto found = records_.find(id); found != records_.end()) found->second.running = true;
}

void LogFiles::set_ended(const InstanceId& id, const Exit& exit) {
  auto found = records_.find(id);
  if (found == records_.end()) return;
  found->second.running = false;
  if (auto text = read_file(record_of(id), record_bytes_max)) {
    boost::system::error_code error;
    auto value = json::parse(*text, error);
    if (!error && value.is_object()) {
      value.get_object()["ended"] = to_rfc3339_nano(wall_now());
      value.get_object()["status"] = exit.known ? exit.status.text() : "unknown";
      value.get_object()["outOfMemory"] = exit.out_of_memory;
      (void)write_file(record_of(id), json::serialize(value), 0640);
    }
  }
  prune(found->second);
}

int LogFiles::ended_runs(const InstanceId& pod, std::string_view container) const {
  return static_cast<int>(std::ranges::count_if(records_, [&](const auto& pair) {
    const auto& record = pair.second;
    return record.pod == pod && record.container == container && !record.running;
  }));
}

/// Containers of one name are kept apart from those of another: one that ends all the time takes nobody's place.
void LogFiles::prune(const Record& one) {
  const std::string owner = one.owner;
  const std::string container = one.container;
  std::vector<const Record*> ended;
  for (const auto& [id, record] : records_)
    if (record.owner == owner && record.container == container && !record.running) ended.push_back(&record);
  const auto keep_newest = [&](std::size_t count) {
    std::ranges::sort(ended, std::ranges::greater(), &Record::started);
    for (std::size_t i = count; i < ended.size(); ++i) {
      const InstanceId id = ended[i]->id;
      ::unlink(path_of(id).c_str());
      ::unlink(record_of(id).c_str());
      records_.erase(id);
    }
  };
  keep_newest(options_.keep_ended);
  ended.clear();
  if (records_.size() <= ended_logs_max) return;
  for (const auto& [id, record] : records_)
    if (!record.running && record.waiting.empty()) ended.push_back(&record);
  keep_newest(ended_logs_max);
}

std::vector<RunnerLauncher::LogFile> LogFiles::of(std::string_view owner) const {
  std::vector<const Record*> mine;
  for (const auto& [id, record] : records_)
    if (record.owner == owner && record.waiting.empty()) mine.push_back(&record);
  std::ranges::sort(mine, std::ranges::greater(), &Record::started);
  std::vector<RunnerLauncher::LogFile> out;
  for (const auto* record : mine)
    out.push_back({.id = record->id,
                   .owner = record->owner,
                   .path = path_of(record->id).string(),
                   .running = record->running,
                   .pod = record->pod,
                   .container = record->container});
  return out;
}

bool LogFiles::shorten() const {
  bool is_flooded = false;
  for (const auto& [id, record] : records_) {
    if (!record.running) continue;
    auto dropped = shorten_log(path_of(id), options_.bytes_max);
    if (!dropped || *dropped == 0) continue;
    // What came in since the last look is more than a program that only tells what it does ever writes.
    is_flooded = is_flooded || *dropped > options_.bytes_max / 2;
    log::warn("instance log too long, its older half is dropped",
              {{"instance", id.text()}, {"owner", record.owner}, {"bytes", *dropped}});
    if (auto file = open_file(path_of(id), O_WRONLY | O_APPEND))
      (void)write_all(file->get(), fmt::format("\nwick: the log grew past {}, its oldest {} are dropped\n",
                                               human_bytes(options_.bytes_max), human_bytes(*dropped)));
  }
  return is_flooded;
}

}  // namespace wick::container

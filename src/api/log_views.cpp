// Logs as lines of JSON: of build runs and of a service's instances, ended ones included.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <map>

#include "api/answer.hpp"
#include "api/log_reader.hpp"
#include "api/views.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/files.hpp"

namespace wick::api {

namespace {

std::string query(const http::Exchange& exchange, std::string_view name) {
  return http::query_value(exchange.head().query(), name).value_or(std::string());
}

/// The logs of one service's instances, with those that join while they are followed.
class ServiceLogs {
 public:
  ServiceLogs(const Doors& doors, std::string name_space, std::string name, bool failed,
              std::optional<std::uint64_t> tail, std::string revision, std::string container)
      : doors_(doors),
        name_space_(std::move(name_space)),
        name_(std::move(name)),
        failed_(failed),
        tail_(tail),
        revision_(std::move(revision)),
        container_(std::move(container)) {}

  /// Errors: invalid for a container that no revision has, with those there are.
  Result<void> check() const {
    Result<void> checked;
    for (const auto& name : revisions()) {
      const auto revision = doors_.objects.find({model::revision_kind().resource(), name_space_, name});
      if (!revision) continue;
      checked = check_container(*revision, container_, name);
      if (checked) break;
    }
    return checked;
  }

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
    if (!doors_.objects.find({model::service_kind().resource(), name_space_, name_}))
      return control::owners_beside_services(doors_.objects, name_space_, name_);
    for (const auto& revision : doors_.objects.list(model::revision_kind().resource(), name_space_)) {
      if (model::text_at(*revision, {"metadata", "labels", model::names::service}) != name_) continue;
      if (failed_ && model::find_condition(*revision, "Ready").status != model::Truth::no) continue;
      auto name = model::text_at(*revision, {"metadata", "name"});
      if (revision_.empty() || name == revision_) names.push_back(std::move(name));
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
        if (known_.contains(file.path) || !is_of(file)) continue;
        known_.insert(file.path);
        auto reader = std::make_shared<LogReader>(
            file.path, [revision, instance = std::string(file.id.text())](std::string_view line) {
              const json::object object{{"revision", revision}, {"instance", instance}, {"line", to_utf8(line)}};
              return json::serialize(object) + "\n";
            });
        if (first && tail_) {
          auto skip = [reader, lines = *tail_] { reader->skip_to_tail(lines); };
          co_await doors_.workers.run(skip);
        }
        readers_.emplace_back(file.path, reader);
      }
    }
  }

  /// Of several containers it is the one that serves, where none is named; of one that failed it is all.
  bool is_of(const container::RunnerLauncher::LogFile& file) const {
    if (container_.empty()) return failed_ || file.pod.empty() || file.pod == file.id;
    return file.container == container_;
  }

  const Doors& doors_;
  std::string name_space_;
  std::string name_;
  bool failed_;
  std::optional<std::uint64_t> tail_;
  std::string revision_;   // only this one's; empty: all
  std::string container_;  // only its
  bool looked_ = false;
  std::set<std::string> known_;
  std::vector<std::pair<std::string, std::shared_ptr<LogReader>>> readers_;
};

}  // namespace

awaitable<void> service_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  if (!doors.objects.find({model::service_kind().resource(), name_space, name}) &&
      !control::runs_beside_services(doors.objects, name_space, name)) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(model::service_kind(), name));
    co_return;
  }
  const bool follow = is_true(query(exchange, "follow"));
  const auto tail_text = query(exchange, "tail");
  auto tail = parse_unsigned(tail_text);
  if (!tail_text.empty() && (!tail || *tail > LogReader::tail_lines_max)) {
    co_await respond_error(
        exchange, Error(Errc::invalid,
                        fmt::format("tail must be 0..{}, not '{}'", LogReader::tail_lines_max, printable(tail_text))));
    co_return;
  }
  ServiceLogs logs(doors, std::move(name_space), std::move(name), is_true(query(exchange, "failed")), tail,
                   query(exchange, "revision"), query(exchange, "container"));
  if (const auto checked = logs.check(); !checked) {
    co_await respond_error(exchange, checked.error());
    co_return;
  }
  auto started = co_await start_lines(exchange);
  if (!started) co_return;
  auto body = [&](Wakeup& wakeup) -> awaitable<void> {
    while (true) {
      auto written = co_await logs.write_new(exchange);
      if (!written || !follow || wakeup.ended()) break;
      co_await doors.clock.sleep(LogReader::poll_period);
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

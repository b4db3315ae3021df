// Two states, in turn:
//   saved → deploying   (settle, list, deploy_folder; a save meanwhile gives it up and begins anew)
//   deploying → idle    (logs of what serves are followed until a save wakes us)
#include "app/cli/dev.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <map>

#include "app/cli/folder_watch.hpp"
#include "app/cli/watch.hpp"

namespace wick::app::cli {

namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

constexpr milliseconds settle_step{15};    // an editor's rename, backup and write lie closer together
constexpr milliseconds settle_limit{500};  // a checkout goes on longer: what it leaves half done is built twice
constexpr milliseconds retry_delay{500};   // until a daemon that restarts is asked again
constexpr std::size_t names_shown = 3;

class Dev {
 public:
  Dev(Session& session, std::string name, std::filesystem::path root, DeployOptions options, FolderWatch watch)
      : session_(session),
        name_(std::move(name)),
        root_(std::move(root)),
        options_(std::move(options)),
        watch_(std::move(watch)),
        progress_(session, name_) {
    options_.superseded = [this] { return look(); };
  }

  Outcome<void> run() {
    auto ended = loop();
    if (ended || ended.error().exit != ExitCode::interrupted) return ended;
    if (session_.json) progress_.document("ended", {});
    session_.terminal.say(revision_.empty()
                              ? fmt::format("{} was not served yet", name_)
                              : fmt::format("{} goes on serving {}; wick rm {} removes it", name_, revision_, name_));
    return {};
  }

 private:
  Outcome<void> loop() {
    for (bool first = true;; first = false) {
      const auto saved = std::chrono::steady_clock::now();
      auto changes = take_in();
      if (!changes) return stop_with(std::move(changes.error()));
      if (first || !changes->empty()) {
        if (!first) progress_.note("changed", names_of(*changes));
        if (auto done = deploy_now(saved, first); !done) return done;
      }
      if (!saved_)
        if (auto waited = follow_logs(); !waited) return waited;
    }
  }

  /// Takes what the watch has. True from a save on until take_in().
  bool look() {
    auto any = watch_.take();
    if (!any) gone_ = problem_of(any.error());
    saved_ = saved_ || !any || *any;
    return saved_;
  }

  /// Waits until nothing is being saved, lists the folder as it is then and says what differs from the last time.
  Outcome<std::vector<std::string>> take_in() {
    for (auto waited = milliseconds(0); waited < settle_limit; waited += settle_step) {
      const bool busy = std::exchange(saved_, false) || look();
      if (!busy) break;
      saved_ = false;
      if (auto paused = session_.client.pause(settle_step); !paused) return stop_with(std::move(paused.error()));
    }
    while (true) {
      if (gone_) return stop_with(std::move(*gone_));
      auto listed = list_folder(root_, options_.build.dockerfile);
      if (!listed) return stop_with(std::move(listed.error()));
      auto some_new = watch_.cover(*listed);
      if (!some_new) return stop_with(problem_of(some_new.error()));
      if (*some_new) continue;
      std::erase_if(listed->entries, [](const auto& entry) {
        return is_editor_file(std::filesystem::path(entry.path).filename().native());
      });
      folder_ = std::move(*listed);
      FolderStamp now(folder_);
      auto changes = now.changes_since(stamp_);
      stamp_ = std::move(now);
      return changes;
    }
  }

  /// A failure is shown, and is none of ours: the next save may mend it. Errors: those that no save mends.
  Outcome<void> deploy_now(SteadyTime saved, bool first) {
    auto done = deploy_folder(session_, progress_, name_, folder_, options_);
    if (done) {
      revision_ = done->revision;
      const auto took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - saved);
      if (first)
        progress_.note("watching", fmt::format("{} at {}; Ctrl-C ends it", root_.string(), done->url));
      else
        progress_.finished("live", revision_, took);
      return {};
    }
    auto& problem = done.error();
    if (look()) return {};  // given up for something newer, or a file went while it was read: begin anew
    const bool hopeless =
        problem.exit == ExitCode::usage || problem.exit == ExitCode::refused || problem.exit == ExitCode::unreachable;
    if (problem.exit == ExitCode::interrupted || (first && hopeless)) return stop_with(std::move(problem));
    if (session_.json) progress_.document("failed", json_of(problem));
    session_.terminal.say(problem);
    // A save that was given up may have come to serve meanwhile.
    if (auto service = session_.client.find(service_path(session_.name_space, name_)); service && *service)
      revision_ = text_at(**service, "/status/latestReadyRevisionName");
    progress_.note("watching", revision_.empty() ? "for the save that mends it"
                                                 : fmt::format("{} goes on serving meanwhile", revision_));
    return {};
  }

  /// What the serving revision prints, until something was saved.
  Outcome<void> follow_logs() {
    if (revision_.empty()) return await_save();
    std::map<std::string, std::size_t> lines;  // of this look, by instance
    const auto on_line = [&](const json::value& line) {
      const auto instance = text_at(line, "/instance");
      const auto count = ++lines[instance];
      if (count <= printed_[instance]) return Client::Next::go_on;  // of an earlier look
      printed_[instance] = count;
      return print(line) ? Client::Next::go_on : Client::Next::stop;
    };
    const auto on_tick = [&] { return look() ? Client::Next::stop : Client::Next::go_on; };
    const auto target = fmt::format("services/{}/log?follow=true&revision={}", http::percent_encode(name_),
                                    http::percent_encode(revision_));
    auto followed =
        session_.client.follow(wick_path(session_.name_space, target), on_line, on_tick, watch_.descriptor());
    if (saved_) return {};
    if (!followed && followed.error().exit == ExitCode::interrupted) return followed;
    // The daemon restarts, or somebody removed the service: the next save finds out.
    return session_.client.pause(retry_delay);
  }

  Outcome<void> await_save() {
    while (!look())
      if (auto paused = session_.client.pause(settle_step); !paused) return paused;
    return {};
  }

  bool print(const json::value& line) {
    if (session_.json) {
      json::object same{{"kind", "line"}};
      if (line.is_object())
        for (const auto& [key, value] : line.get_object()) same[key] = value;
      return session_.terminal.result(json::serialize(same));
    }
    const auto text = text_at(line, "/line");
    return session_.terminal.result(session_.terminal.out_is_terminal() ? safe_line(text) : text);
  }

  static std::string names_of(const std::vector<std::string>& paths) {
    std::string text;
    for (std::size_t i = 0; i < std::min(paths.size(), names_shown); ++i) text += (i ? ", " : "") + paths[i];
    if (paths.size() > names_shown) text += fmt::format(" and {} more", paths.size() - names_shown);
    return text;
  }

  Session& session_;
  std::string name_;
  std::filesystem::path root_;
  DeployOptions options_;
  FolderWatch watch_;
  Progress progress_;
  Folder folder_;
  FolderStamp stamp_;
  bool saved_ = false;
  std::optional<Problem> gone_;
  std::string revision_;                        // the one that serves
  std::map<std::string, std::size_t> printed_;  // lines of each instance
};

}  // namespace

Outcome<void> develop(Session& session, DeployOptions options) {
  auto source = parse_source(options.source);
  if (!source) return stop_with(std::move(source.error()));
  const auto* folder = std::get_if<FolderSource>(&*source);
  if (!folder)
    return stop_with(usage_problem(fmt::format("'{}' is not a folder of this machine", options.source),
                                   "wick dev watches a folder; wick deploy takes git URLs and images"));
  auto name = service_name(*source, options);
  if (!name) return stop_with(std::move(name.error()));
  auto watch = FolderWatch::open();
  if (!watch) return stop_with(problem_of(watch.error()));
  return Dev(session, std::move(*name), folder->path, std::move(options), std::move(*watch)).run();
}

}  // namespace wick::app::cli

#include "wick/api/followed_branches.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "api/ordered_deploy.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/build.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/task_group.hpp"

namespace wick::api {

namespace {

constexpr std::size_t looks_at_once = 2;
constexpr std::size_t looks_waiting_max = 1'000;
constexpr milliseconds idle_pause{3'600'000};  // a change of a Build ends it
constexpr std::string_view followed_condition = "Followed";

/// What a look came to, for the condition.
struct LookOutcome {
  model::Truth followed = model::Truth::yes;
  std::string reason = "UpToDate";
  std::string message;
  std::string commit;  // that was acted upon
};

LookOutcome not_followed(std::string reason, std::string message) {
  return {.followed = model::Truth::no, .reason = std::move(reason), .message = std::move(message), .commit = {}};
}

std::string service_of_build(const json::object& build) {
  auto named = model::text_at(build, {"metadata", "labels", "wick.dev/service"});
  return named.empty() ? model::text_at(build, {"metadata", "name"}) : named;
}

std::string interval_of(const json::object& build) {
  return model::text_at(build, {"metadata", "annotations", follow_annotation});
}

}  // namespace

milliseconds pause_after(milliseconds interval, int failures) {
  auto pause = std::max(interval, follow_interval_min);
  for (int i = 0; i < failures && pause < follow_pause_max; ++i) pause *= 2;
  return failures == 0 ? pause : std::max(std::min(pause, follow_pause_max), interval);
}

class FollowedBranches::Impl {
 public:
  Impl(Doors doors, Look look)
      : doors_(std::move(doors)),
        look_(std::move(look)),
        slots_(doors_.executor, looks_at_once, looks_waiting_max),
        news_(doors_.executor),
        tasks_(doors_.executor) {}

  awaitable<void> run() {
    const auto builds = model::build_kind().resource();
    const auto subscription = doors_.objects.subscribe([this, &builds](const store::Change& change) {
      if (change.key.resource == builds) news_.notify();
    });
    try {
      while (true) {
        const auto next = begin_due();
        try {
          auto waited = news_.wait();
          co_await with_deadline(doors_.clock, std::max<Duration>(next - doors_.clock.now(), 1ms), std::move(waited));
        } catch (const DeadlineExceeded&) {
        }
      }
    } catch (...) {
      tasks_.close();
      failure_ = std::current_exception();
    }
    co_await asio::this_coro::reset_cancellation_state();
    co_await tasks_.join();
    std::rethrow_exception(failure_);
  }

 private:
  struct Followed {
    std::string text;  // of the annotation
    milliseconds interval{0};
    TimePoint due{};
    int failures = 0;
    bool looking = false;
  };

  /// Starts every look whose time has come; when the next one is due.
  TimePoint begin_due() {
    const auto now = doors_.clock.now();
    auto next = now + idle_pause;
    std::erase_if(followed_, [this](const auto& entry) {
      const auto build = doors_.objects.find(entry.first);
      return !entry.second.looking && (!build || interval_of(*build).empty());
    });
    for (const auto& build : doors_.objects.list(model::build_kind().resource())) {
      const auto text = interval_of(*build);
      if (text.empty()) continue;
      const store::ObjectKey key{model::build_kind().resource(), model::text_at(*build, {"metadata", "namespace"}),
                                 model::text_at(*build, {"metadata", "name"})};
      auto& followed = followed_[key];
      if (followed.looking) continue;
      if (followed.text != text) followed = {.text = text, .interval = {}, .due = now};
      if (followed.due <= now) {
        followed.looking = true;
        tasks_.spawn("look at " + key.name, look_at(key));
      } else {
        next = std::min(next, followed.due);
      }
    }
    return next;
  }

  awaitable<void> look_at(store::ObjectKey key) {
    struct Done {
      Impl& impl;
      store::ObjectKey key;
      ~Done() {
        impl.followed_[key].looking = false;
        impl.news_.notify();
      }
    } done{*this, key};
    auto interval = parse_go_duration(followed_[key].text);
    if (interval && *interval < follow_interval_min)
      interval = fail(Errc::invalid, fmt::format("it must be at least {} s", follow_interval_min.count() / 1000));
    auto& followed = followed_[key];
    followed.interval = interval ? *interval : milliseconds(0);
    followed.due = doors_.clock.now() + idle_pause;
    if (!interval) {
      auto seen = not_followed("InvalidInterval", fmt::format("{}: {}", follow_annotation, interval.error().what()));
      co_return co_await show(key, std::move(seen));
    }
    auto slot = co_await slots_.acquire();
    auto seen = slot ? co_await look_once(key) : not_followed("Overloaded", slot.error().what());
    auto& again = followed_[key];
    again.failures = seen.followed == model::Truth::no ? again.failures + 1 : 0;
    const auto pause = pause_after(again.interval, again.failures);
    again.due = doors_.clock.now() + pause;
    if (seen.followed == model::Truth::no)
      seen.message += fmt::format("; failed {} times, the next look is in {} s", again.failures, pause.count() / 1000);
    co_await show(key, std::move(seen));
  }

  awaitable<LookOutcome> look_once(store::ObjectKey key) {
    const auto build = doors_.objects.find(key);
    if (!build) co_return not_followed("Gone", "the Build was removed");
    model::FieldErrors ignored;
    const auto spec = model::decode_build_spec(model::ObjectReader(build->if_contains("spec"), "spec", ignored));
    if (spec.git_url.empty()) co_return not_followed("NoGitSource", "the Build has no git source");
    const auto service = service_of_build(*build);
    if (!doors_.objects.find({model::service_kind().resource(), key.name_space, service}))
      co_return not_followed("ServiceGone", fmt::format("there is no service {}", service));
    auto credentials = control::git_credentials(doors_.objects, key.name_space, spec.git_secret);
    if (!credentials) co_return not_followed("NoCredentials", credentials.error().what());
    build::GitSource source{.url = spec.git_url,
                            .ref = spec.git_revision,
                            .allow_local = spec.allow_local,
                            .credentials = std::move(*credentials)};
    auto head = co_await look_(std::move(source));
    if (!head) co_return not_followed("LookFailed", head.error().what());
    const auto where = spec.git_revision.empty() ? std::string("HEAD") : spec.git_revision;
    LookOutcome seen{.message = fmt::format("{} is at {}", where, *head), .commit = *head};
    const auto acted = model::text_at(*build, {"status", "commit"});
    if (acted == *head || !run_of_commit(doors_, key.name_space, service, *head).empty()) co_return seen;
    DeployOrder order{.name_space = key.name_space,
                      .name = service,
                      .build = build->at("spec").get_object(),
                      .commit = *head,
                      .user = "follow"};
    auto ordered = co_await order_deploy(doors_, std::move(order));
    if (!ordered) co_return not_followed("NotDeployed", ordered.error().what());
    log::info("a followed branch has moved",
              {{"service", key.name_space + "/" + service}, {"commit", *head}, {"run", ordered->run.name}});
    seen.reason = "Moved";
    seen.message += ": the build run " + ordered->run.name + " deploys it";
    co_return seen;
  }

  /// Writes what has changed.
  awaitable<void> show(store::ObjectKey key, LookOutcome seen) {
    const auto build = doors_.objects.find(key);
    if (!build) co_return;
    const auto before = model::find_condition(*build, followed_condition);
    const auto known = model::text_at(*build, {"status", "commit"});
    // What is deployed stays said until the branch moves again.
    const bool same_commit = seen.followed == model::Truth::yes && seen.commit == known;
    if (same_commit && before.status == seen.followed) co_return;
    if (before.status == seen.followed && before.message == seen.message && before.reason == seen.reason &&
        (seen.commit.empty() || seen.commit == known))
      co_return;
    json::object status;
    if (const auto* old = build->if_contains("status"); old && old->is_object()) status = old->get_object();
    model::Conditions conditions(std::string(followed_condition), {std::string(followed_condition)}, *build,
                                 doors_.clock.wall());
    if (!seen.commit.empty()) status["commit"] = seen.commit;
    conditions.mark(followed_condition, seen.followed, std::move(seen.reason), std::move(seen.message));
    status["conditions"] = conditions.to_json();
    auto written = co_await doors_.objects.update_status(key, std::move(status));
    if (!written && written.error().code() != Errc::not_found)
      log::warn("status of a followed build not written", {{"build", key.name}, {"error", written.error().what()}});
  }

  const Doors doors_;
  Look look_;
  Slots slots_;
  std::map<store::ObjectKey, Followed> followed_;
  Wakeup news_;
  std::exception_ptr failure_;
  TaskGroup tasks_;
};

FollowedBranches::FollowedBranches(Doors doors, Look look)
    : impl_(std::make_unique<Impl>(std::move(doors), std::move(look))) {}
FollowedBranches::~FollowedBranches() = default;

awaitable<void> FollowedBranches::run() { return impl_->run(); }

}  // namespace wick::api

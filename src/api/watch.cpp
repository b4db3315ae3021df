// Watching a resource: what is there or what changed since a version, then every change as it is committed.
#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <set>

#include "api/answer.hpp"
#include "api/resources.hpp"
#include "api/selectors.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/task_group.hpp"

namespace wick::api {

namespace {

constexpr auto bookmark_period = std::chrono::seconds(60);

std::string_view event_type(store::Change::Type type) {
  switch (type) {
    case store::Change::Type::added:
      return "ADDED";
    case store::Change::Type::modified:
      return "MODIFIED";
    case store::Change::Type::deleted:
      break;
  }
  return "DELETED";
}

/// What one watcher still has to be told. A change that makes an object leave the selection is a deletion for this
/// watcher.
class WatchQueue {
 public:
  static constexpr std::size_t queue_max = 10'000;  // a watcher that slow is cut and lists again

  WatchQueue(const model::Kind& kind, std::string name_space, Selector selector, Representation shown, Clock& clock,
             LastEvent& last)
      : kind_(kind),
        resource_(kind.resource()),
        name_space_(std::move(name_space)),
        selector_(std::move(selector)),
        shown_(shown),
        clock_(clock),
        last_(last) {}

  void already_known(const store::ObjectKey& key) { selected_.insert(key); }
  bool selects(const json::object& object) const { return selector_.matches(object); }

  void add(const store::Change& change) {
    version_ = std::max(version_, change.version);
    if (change.key.resource != resource_ || (!name_space_.empty() && change.key.name_space != name_space_)) return;
    const bool was = selected_.contains(change.key);
    const bool is = change.type != store::Change::Type::deleted && selector_.matches(*change.object);
    if (!was && !is) return;
    is ? (void)selected_.insert(change.key) : (void)selected_.erase(change.key);
    push(!was ? "ADDED" : !is ? "DELETED" : event_type(change.type), change.object);
  }

  void push(std::string_view type, const ObjectValue& object) {
    if (lines_.size() >= queue_max) overflowed_ = true;
    if (!overflowed_) lines_.push_back(line_of(type, object));
  }

  /// Where the watcher stands, without an object.
  void bookmark(std::uint64_t version, bool initial_events_end) {
    json::object metadata{{"resourceVersion", std::to_string(version)}, {"creationTimestamp", nullptr}};
    if (initial_events_end) metadata["annotations"] = {{"k8s.io/initial-events-end", "true"}};
    json::object object{{"kind", kind_.kind}, {"apiVersion", kind_.api_version()}, {"metadata", std::move(metadata)}};
    if (shown_.form() != Representation::Form::whole)
      object = shown_.empty_list(kind_, std::move(object["metadata"].get_object()));
    lines_.push_back(std::make_shared<const std::string>(
        json::serialize(json::object{{"type", "BOOKMARK"}, {"object", std::move(object)}}) + "\n"));
  }

  bool overflowed() const { return overflowed_; }
  std::uint64_t version() const { return version_; }
  std::string take() {
    std::string text;
    for (const auto& line : lines_) text += *line;
    lines_.clear();
    return text;
  }

 private:
  using Line = std::shared_ptr<const std::string>;

  /// Watchers of a whole kind all say the same of a change: it is serialized once.
  Line line_of(std::string_view type, const ObjectValue& object) {
    const bool whole = shown_.form() == Representation::Form::whole;
    if (whole && last_.object == object && last_.kind == &kind_ && last_.type == type) return last_.line;
    json::object changed = *object;
    if (!kind_.stored) model::from_stored(kind_, changed);
    auto line = std::make_shared<const std::string>(
        json::serialize(json::object{{"type", type}, {"object", shown_.show(kind_, changed, clock_.wall())}}) + "\n");
    shown_.columns_are_known();
    if (whole) last_ = {object, &kind_, std::string(type), line};
    return line;
  }

  const model::Kind& kind_;
  std::string resource_;
  std::string name_space_;
  Selector selector_;
  Representation shown_;
  Clock& clock_;
  LastEvent& last_;
  std::set<store::ObjectKey> selected_;
  std::vector<Line> lines_;
  std::uint64_t version_ = 0;
  bool overflowed_ = false;
};

/// What was there at the version the changes begin at: what is there now, but for what they brought, and with what they
/// took.
void replay(WatchQueue& queue, Collection& source, std::string_view name_space,
            const std::vector<store::Change>& changes) {
  std::set<store::ObjectKey> seen;
  for (const auto& change : changes)
    if (seen.insert(change.key).second && change.type != store::Change::Type::added) queue.already_known(change.key);
  for (const auto& object : source.list(name_space)) {
    const auto key = key_of(source.kind(), *object);
    if (!seen.contains(key) && queue.selects(*object)) queue.already_known(key);
  }
  for (const auto& change : changes) queue.add(change);
}

awaitable<void> poll_for_ever(Collection& source, Clock& clock) {
  while (true) {
    co_await clock.sleep(source.poll_period());
    source.poll();
  }
}

awaitable<void> bookmark_for_ever(Collection& source, Clock& clock, WatchQueue& queue, Wakeup& wakeup) {
  while (true) {
    co_await clock.sleep(bookmark_period);
    queue.bookmark(source.version(), false);
    wakeup.notify();
  }
}

}  // namespace

awaitable<void> Resources::watch(Call call) {
  auto selector = Selector::parse(call.query("labelSelector"), call.query("fieldSelector"), call.kind.resource());
  if (!selector) {
    co_await respond_error(call.exchange, selector.error());
    co_return;
  }
  auto& source = collection(call.kind);
  const auto shown =
      Representation::of(call.exchange.head().fields.find("Accept").value_or(""), call.query("includeObject"));
  WatchQueue queue(call.kind, call.path.name_space, std::move(*selector), shown, clock_, last_event_);
  const bool bookmarks = call.asks("allowWatchBookmarks");
  const bool initial = call.asks("sendInitialEvents");
  const auto version = parse_unsigned(call.query("resourceVersion")).value_or(0);
  if (version == 0 || initial) {
    for (const auto& object : source.list(call.path.name_space))
      if (queue.selects(*object)) {
        queue.already_known(key_of(call.kind, *object));
        queue.push("ADDED", object);
      }
    if (initial && bookmarks) queue.bookmark(source.version(), true);
  } else {
    const auto changes = source.changes_since(version);
    if (!changes) {
      co_await respond_failure(call.exchange, 410, "Expired",
                               fmt::format("too old resource version: {} ({})", version, source.version()));
      co_return;
    }
    replay(queue, source, call.path.name_space, *changes);
  }

  std::optional<Duration> limit;
  if (const auto seconds = parse_unsigned(call.query("timeoutSeconds")); seconds && *seconds > 0)
    limit = std::chrono::seconds(std::min<std::uint64_t>(*seconds, 86'400));
  auto stream = [&](Wakeup& wakeup) -> awaitable<void> {
    const auto subscription = source.subscribe([&](const store::Change& change) {
      queue.add(change);
      wakeup.notify();
    });
    auto started = co_await start_lines(call.exchange);
    while (started && !queue.overflowed()) {
      if (wakeup.ended() && bookmarks) queue.bookmark(source.version(), false);
      const auto text = queue.take();
      if (!text.empty()) started = co_await call.exchange.write(text);
      if (wakeup.ended()) break;
      if (text.empty()) co_await wakeup.wait();
    }
    if (started && queue.overflowed()) {
      const auto status = status_object(410, "Expired", Error(Errc::conflict, "too slow: changes were dropped"), {});
      started =
          co_await call.exchange.write(json::serialize(json::object{{"type", "ERROR"}, {"object", status}}) + "\n");
    }
    if (started) co_await call.exchange.finish();
  };
  auto beside = [&](TaskGroup& tasks, Wakeup& wakeup) {
    if (source.poll_period() > Duration::zero()) tasks.spawn("poll a view", poll_for_ever(source, clock_));
    if (bookmarks) tasks.spawn("bookmarks", bookmark_for_ever(source, clock_, queue, wakeup));
  };
  co_await while_connected(call.exchange, clock_, limit, stream, beside);
}

}  // namespace wick::api

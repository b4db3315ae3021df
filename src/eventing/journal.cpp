#include "journal.hpp"

#include <algorithm>

namespace wick::eventing {

namespace {

/// A place in a list of watchers for as long as the watcher watches.
class Watching {
 public:
  Watching(std::list<Signal*>& watchers, Signal& signal)
      : watchers_(watchers), place_(watchers.insert(watchers.end(), &signal)) {}
  Watching(const Watching&) = delete;
  ~Watching() { watchers_.erase(place_); }

 private:
  std::list<Signal*>& watchers_;
  std::list<Signal*>::iterator place_;
};

}  // namespace

void Journal::add(EventRecord record) {
  Records& records = brokers_[record.name_space + "/" + record.broker];
  records.kept.push_back(std::move(record));
  if (records.kept.size() > records_kept_) {
    records.kept.pop_front();
    ++records.first;
  }
  for (Signal* watcher : records.watchers) watcher->notify();
}

std::vector<EventRecord> Journal::of(const std::string& broker, const std::string& id,
                                     const std::string& source) const {
  std::vector<EventRecord> found;
  const auto records = brokers_.find(broker);
  if (records == brokers_.end()) return found;
  for (const EventRecord& record : records->second.kept)
    if (record.event_id == id && record.source == source) found.push_back(record);
  return found;
}

awaitable<void> Journal::follow(std::string broker, std::size_t count,
                                std::function<bool(const EventRecord&)> on_record) {
  Records& records = brokers_[broker];  // map nodes stay
  Signal signal(co_await asio::this_coro::executor);
  const Watching watching(records.watchers, signal);
  std::uint64_t next = records.first + records.kept.size() - std::min(count, records.kept.size());
  while (true) {
    for (next = std::max(next, records.first); next < records.first + records.kept.size(); ++next) {
      const EventRecord record = records.kept[next - records.first];
      if (!on_record(record)) co_return;
    }
    co_await signal.wait();
  }
}

}  // namespace wick::eventing

// One instance in the runner's table, and the turn of a verb on it.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>
#include <string>
#include <vector>

#include "instances.hpp"
#include "wick/os/deadline.hpp"

namespace wick::container {

inline constexpr std::size_t turns_waiting_max = 64;
inline constexpr std::string_view message_path_file = "message-path";  // beside an instance's record, where it has one
inline constexpr std::string_view pod_file = "pod";                    // likewise: the pod that it runs in

struct Instances::Entry {
  Entry(Executor executor, const InstanceId& id)
      : id(id), turn(executor, 1, turns_waiting_max), end(executor, asio::steady_timer::time_point::max()) {}

  InstanceId id;
  InstanceRecord record;
  Slots turn;  // invariant 3
  Fd pidfd;
  std::optional<asio::posix::stream_descriptor> watched;
  std::optional<asio::posix::stream_descriptor> fifo;  // while start() waits for the exec
  Network own_network;
  Pods::Hold pod;         // where it runs in one …
  bool is_guest = false;  // … that has another one's id
  Network& network() { return pod ? pod->network : own_network; }
  const Network& network() const { return pod ? pod->network : own_network; }
  Inside inside;                                             // until prepare() has answered
  Fd log;                                                    // until the exec: the message of a failed one goes there
  std::optional<asio::local::stream_protocol::socket> door;  // parkable ones: until it was opened
  std::string command;
  LayerFolders::Hold step;
  Life life;
  Fd message;  // InstanceSpec::message_path, to read at the end
  std::vector<LayerFolders::Hold> mounted_steps;
  bool quiet = true;  // its end is answered by the verb under way, not by a notice
  Exit exit;
  std::string last_name;
  asio::steady_timer end;  // cancelled when the life has ended

  bool ended() const { return life.has_ended(); }

  awaitable<bool> wait_end(Duration limit) {
    if (ended()) co_return true;
    SteadyClock clock;
    try {
      auto waited = wait_end();
      co_await with_deadline(clock, limit, std::move(waited));
    } catch (const DeadlineExceeded&) {
    }
    co_return ended();
  }

 private:
  awaitable<void> wait_end() { co_await end.async_wait(asio::as_tuple(use_awaitable)); }
};

/// A verb's turn: nobody else touches the instance until it is dropped.
struct Instances::Turn {
  EntryPointer entry;
  Slots::Slot slot;
};

/// For programs that we start.
std::string path_of(const Fd& fd);

/// A look costs about 10 us. At most a thirty-second of the time waited is lost to the pause, and many waiters share
/// one thread: 64 of them look every 0.8 ms each.
inline Duration pause_between_looks(Duration waited, int waiters) {
  const Duration least = 50us * std::max(1, waiters / 4);
  return std::clamp<Duration>(waited / 32, least, std::max<Duration>(least, 10ms));
}

/// One that waits, while it is in scope.
struct Counted {
  explicit Counted(int& count) : count(count) { ++count; }
  Counted(const Counted&) = delete;
  ~Counted() { --count; }
  int& count;
};

}  // namespace wick::container

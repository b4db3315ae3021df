// Readiness of sockets for the data path: one edge-triggered epoll set, itself watched by the loop.
//
// Why not Asio's own sockets: each of their waits either tries the system call first (one EAGAIN per message and
// direction) or re-arms the descriptor (one epoll_ctl per message and direction). Registered once and edge-triggered,
// with the readiness kept beside the socket, a keep-alive request costs one read and one write a side. Asio still runs
// the loop and the coroutines.
//
// Between events the set is asked again a while before the thread goes to sleep in Asio's wait: waking a sleeping core
// costs more than answering a request. The looking is bounded (spin.hpp) and goes through the loop's queue, so nothing
// else waits for it.
//
//   asleep --event--> turn --events--> turn (posted) --none, worth a look--> turn (posted) --none--> asleep
#pragma once

#include <sys/epoll.h>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "spin.hpp"
#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/loop.hpp"

namespace wick::http {

class Stream;

/// One coroutine's place to wait. At most one waits at a time.
class Waiter {
 public:
  bool waiting() const { return static_cast<bool>(resume_); }

 private:
  friend class Poller;
  std::move_only_function<void()> resume_;
};

/// Blocks of 32 KB and a bit for heads and bodies, recycled. Only connections with a message under way hold one.
class Blocks {
 public:
  static constexpr std::size_t block_bytes = 33 << 10;  // a head of 32 KB, and room to see that it is longer
  static constexpr std::size_t kept_max = 256;

  std::unique_ptr<char[]> take();
  void give(std::unique_ptr<char[]> block);

 private:
  std::vector<std::unique_ptr<char[]>> free_;
};

/// Memory for an operation of Asio's that is pending once at a time. Asio recycles two blocks a thread, of whatever
/// size was freed last, so that without this the poller's wait allocates now and then.
class OperationMemory {
 public:
  template <class T>
  struct Allocator {
    using value_type = T;
    explicit Allocator(OperationMemory& memory) : memory(&memory) {}
    template <class U>
    Allocator(const Allocator<U>& other) : memory(other.memory) {}
    T* allocate(std::size_t count) { return static_cast<T*>(memory->take(count * sizeof(T))); }
    void deallocate(T* place, std::size_t) { memory->give(place); }
    bool operator==(const Allocator&) const = default;
    OperationMemory* memory;
  };
  Allocator<void> allocator() { return Allocator<void>(*this); }

 private:
  void* take(std::size_t bytes) {
    if (taken_ || bytes > sizeof block_) return ::operator new(bytes);  // a cancelled one waits for its end still
    taken_ = true;
    return block_;
  }
  void give(void* place) {
    if (place == block_)
      taken_ = false;
    else
      ::operator delete(place);
  }

  alignas(std::max_align_t) char block_[256];
  bool taken_ = false;
};

/// One for each io_context, made on first use.
class Poller : public asio::execution_context::service {
 public:
  using key_type = Poller;
  static inline asio::execution_context::id id;

  static Poller& of(const Executor& executor);

  explicit Poller(asio::execution_context& context);
  ~Poller() override;

  struct Registration {
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
  };
  Result<Registration> add(Stream& stream, int fd);
  void remove(Registration registration);
  /// As remove(), of a socket that stays open.
  void release(Registration registration, int fd);
  /// False once that stream was removed.
  bool holds(Registration registration) const {
    const auto& slot = slots_[registration.index];
    return slot.stream && slot.generation == registration.generation;
  }

  /// Suspends the calling coroutine until wake(waiter). Cancelling wakes it too; its next wait then throws.
  auto wait(Waiter& waiter) {
    auto begin = [this, &waiter](auto&& handler) {
      auto slot = asio::get_associated_cancellation_slot(handler);
      waiter.resume_ = [handler = std::move(handler)]() mutable { handler(); };
      waits_ += 1;
      if (!asleep_ && !turning_) sleep();
      if (slot.is_connected()) slot.assign([this, &waiter](asio::cancellation_type) { wake_soon(waiter); });
    };
    return asio::async_initiate<const asio::deferred_t, void()>(std::move(begin), asio::deferred);
  }
  /// Runs the waiting coroutine now, to its next wait. The caller's own object may be gone afterwards.
  void wake(Waiter& waiter);
  /// The same from the loop's next turn: for callers that are coroutines themselves.
  void wake_soon(Waiter& waiter);

  /// Requests that are being answered: what the next event may belong to.
  void count_requests(int by) { requests_ += by; }

  Blocks& blocks() { return blocks_; }
  asio::io_context& loop() { return loop_; }

 private:
  void shutdown() override;
  void sleep();
  void turn();
  void turn_soon();
  bool run_ready();

  struct Slot {
    Stream* stream = nullptr;
    std::uint32_t generation = 0;
  };

  asio::io_context& loop_;
  asio::posix::stream_descriptor epoll_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::size_t waits_ = 0;
  bool asleep_ = false;   // an Asio wait for the set is pending
  bool turning_ = false;  // turn() runs or is posted
  Spin spin_;
  int requests_ = 0;
  bool shut_down_ = false;
  Blocks blocks_;
  OperationMemory wait_memory_;
  OperationMemory turn_memory_;
};

}  // namespace wick::http

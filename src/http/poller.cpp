#include "poller.hpp"

#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <cerrno>

#include "stream.hpp"

namespace wick::http {

std::unique_ptr<char[]> Blocks::take() {
  if (free_.empty()) return std::make_unique_for_overwrite<char[]>(block_bytes);
  auto block = std::move(free_.back());
  free_.pop_back();
  return block;
}

void Blocks::give(std::unique_ptr<char[]> block) {
  if (block && free_.size() < kept_max) free_.push_back(std::move(block));
}

Poller& Poller::of(const Executor& executor) {
  return asio::use_service<Poller>(asio::query(executor, asio::execution::context));
}

Poller::Poller(asio::execution_context& context)
    : service(context), loop_(static_cast<asio::io_context&>(context)), epoll_(loop_, epoll_create1(EPOLL_CLOEXEC)) {}

Poller::~Poller() = default;

void Poller::shutdown() {
  shut_down_ = true;
  // Coroutines that still wait hold streams, whose destructors come back here: take them out first, then let them go.
  std::vector<std::move_only_function<void()>> waiting;
  for (auto& slot : slots_) {
    if (!slot.stream) continue;
    for (auto* waiter : {&slot.stream->read_waiter_, &slot.stream->write_waiter_, &slot.stream->gone_waiter_})
      if (waiter->resume_) waiting.push_back(std::exchange(waiter->resume_, nullptr));
  }
  waiting.clear();
}

Result<Poller::Registration> Poller::add(Stream& stream, int fd) {
  std::uint32_t index;
  if (free_slots_.empty()) {
    index = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_slots_.back();
    free_slots_.pop_back();
  }
  auto& slot = slots_[index];
  slot.stream = &stream;
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    .data = {.u64 = index | (std::uint64_t{slot.generation} << 32)}};
  if (epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, fd, &event) < 0) {
    const int error = errno;
    slot.stream = nullptr;
    free_slots_.push_back(index);
    return fail(system_error("watch a socket", error));
  }
  return Registration{index, slot.generation};
}

void Poller::remove(Registration registration) {
  if (!holds(registration)) return;
  auto& slot = slots_[registration.index];
  slot.stream = nullptr;
  ++slot.generation;
  free_slots_.push_back(registration.index);
}

void Poller::release(Registration registration, int fd) {
  if (holds(registration)) epoll_ctl(epoll_.native_handle(), EPOLL_CTL_DEL, fd, nullptr);
  remove(registration);
}

void Poller::wake(Waiter& waiter) {
  if (!waiter.resume_) return;
  auto resume = std::exchange(waiter.resume_, nullptr);
  waits_ -= 1;
  resume();
  if (waits_ == 0 && asleep_ && !shut_down_) epoll_.cancel();
}

void Poller::wake_soon(Waiter& waiter) {
  if (!waiter.resume_ || shut_down_) return;
  auto resume = std::exchange(waiter.resume_, nullptr);
  waits_ -= 1;
  asio::post(loop_, std::move(resume));
  if (waits_ == 0 && asleep_) epoll_.cancel();
}

void Poller::sleep() {
  if (shut_down_) return;
  asleep_ = true;
  auto woken = [this](boost::system::error_code error) {
    asleep_ = false;
    if (shut_down_ || waits_ == 0) return;
    if (error) return sleep();  // cancelled when nobody waited; somebody does again
    turn();
  };
  epoll_.async_wait(asio::posix::stream_descriptor::wait_read, asio::bind_allocator(wait_memory_.allocator(), woken));
}

void Poller::turn_soon() {
  turning_ = true;
  asio::post(loop_, asio::bind_allocator(turn_memory_.allocator(), [this] { turn(); }));
}

void Poller::turn() {
  constexpr int rounds_max = 4;  // until the loop's other work gets its turn
  turning_ = true;
  int round = 0;
  while (round < rounds_max && waits_ > 0 && run_ready()) ++round;
  turning_ = false;
  if (waits_ == 0) return;
  if (round > 0) spin_.found();
  if (round == rounds_max || spin_.go_on(requests_ > 0 ? Spin::Gap::in_flight : Spin::Gap::between_requests))
    turn_soon();
  else
    sleep();
}

/// False when nothing was ready.
bool Poller::run_ready() {
  constexpr int events_max = 256;
  epoll_event events[events_max];
  const int count = epoll_wait(epoll_.native_handle(), events, events_max, 0);
  for (int i = 0; i < count; ++i) {
    const auto index = static_cast<std::uint32_t>(events[i].data.u64);
    const auto generation = static_cast<std::uint32_t>(events[i].data.u64 >> 32);
    if (holds({index, generation})) slots_[index].stream->ready(events[i].events);
  }
  return count > 0;
}

}  // namespace wick::http

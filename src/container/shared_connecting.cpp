#include "shared_connecting.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/system/system_error.hpp>

#include "wick/container/runner.hpp"

namespace wick::container {

/// A waiter's place in its line. Whoever leaves it while leading, cancelled or served, makes the next one lead.
class SharedConnecting::Place {
 public:
  Place(Line& line, Waiter& waiter) : line_(line), waiter_(waiter) {
    waiter.leads = line.empty();
    line.push_back(&waiter);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    line_.remove(&waiter_);
    if (!waiter_.leads || line_.empty()) return;
    for (auto* left : line_) left->shares = false;
    line_.front()->leads = true;
    line_.front()->told.cancel();
  }

 private:
  Line& line_;
  Waiter& waiter_;
};

awaitable<Result<Fd>> SharedConnecting::connect(std::uint16_t port) {
  auto& line = lines_[port];
  Waiter me(executor_);
  const Place place(line, me);
  if (!me.leads) {
    auto waited = co_await me.told.async_wait(asio::as_tuple(use_awaitable));
    if (me.answer) co_return std::move(*me.answer);
    if (!me.leads) throw boost::system::system_error(std::get<0>(waited));  // cancelled
  }
  std::size_t count = 0;
  for (auto each = line.begin(); each != line.end() && count < connect_count_max; ++each, ++count)
    (*each)->shares = true;
  auto made = co_await make_(port, count);
  share_out(line, std::move(made));
  co_return std::move(*me.answer);
}

/// The leader is first in line, so it has an answer afterwards. Who gets none shares the next.
void SharedConnecting::share_out(Line& line, Result<std::vector<Fd>> made) {
  std::size_t next = 0;
  for (auto each = line.begin(); each != line.end();) {
    auto* waiter = *each;
    if (!waiter->shares || (made && next == made->size())) {
      ++each;
      continue;
    }
    if (made)
      waiter->answer.emplace(std::move((*made)[next++]));
    else
      waiter->answer.emplace(fail(Error(made.error())));
    each = waiter->leads ? std::next(each) : line.erase(each);
    waiter->told.cancel();
  }
}

}  // namespace wick::container

// Connections shared between those who ask at the same moment, with a maker whose answers come when the test says so.
#include "container/shared_connecting.hpp"

#include <fcntl.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/system/system_error.hpp>
#include <catch2/catch.hpp>
#include <memory>

#include "wick/container/runner.hpp"

using namespace wick;
using namespace wick::container;

namespace {

struct Fixture {
  ~Fixture() {
    for (std::size_t i = 0; i < ends.size(); ++i)
      if (ends[i] == "waits") cancel(i);
  }

  struct Asked {
    std::uint16_t port;
    std::size_t count;
    asio::steady_timer answered;
    std::optional<Result<std::vector<Fd>>> answer;
  };

  awaitable<Result<std::vector<Fd>>> make(std::uint16_t port, std::size_t count) {
    auto mine = std::make_shared<Asked>(
        Asked{port, count, asio::steady_timer(loop, asio::steady_timer::time_point::max()), std::nullopt});
    asked.push_back(mine);
    auto waited = co_await mine->answered.async_wait(asio::as_tuple(use_awaitable));
    if (!mine->answer) throw boost::system::system_error(std::get<0>(waited));
    co_return std::move(*mine->answer);
  }

  void settle() {
    loop.restart();
    loop.poll();
  }

  /// The number of a caller whose end shows in `ends`.
  std::size_t ask(std::uint16_t port = 8080) {
    const auto number = ends.size();
    ends.push_back("waits");
    cancels.push_back(std::make_unique<asio::cancellation_signal>());
    auto one = [](Fixture& self, std::size_t me, std::uint16_t to) -> awaitable<void> {
      auto connected = co_await self.connecting.connect(to);
      self.ends[me] = connected ? "connected" : connected.error().message();
    };
    asio::co_spawn(
        loop, one(*this, number, port),
        asio::bind_cancellation_slot(cancels.back()->slot(), [this, number](const std::exception_ptr& error) {
          if (error) ends[number] = "cancelled";
        }));
    settle();
    return number;
  }
  void cancel(std::size_t number) {
    cancels[number]->emit(asio::cancellation_type::terminal);
    settle();
  }
  void answer(std::size_t number, std::size_t sockets) {
    std::vector<Fd> made;
    while (made.size() < sockets) made.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    asked.at(number)->answer.emplace(std::move(made));
    asked[number]->answered.cancel();
    settle();
  }
  void refuse(std::size_t number, std::string why) {
    asked.at(number)->answer.emplace(fail(Errc::unavailable, std::move(why)));
    asked[number]->answered.cancel();
    settle();
  }
  std::size_t with_end(std::string_view end) const { return static_cast<std::size_t>(std::ranges::count(ends, end)); }

  asio::io_context loop{1};
  std::vector<std::shared_ptr<Asked>> asked;
  std::vector<std::string> ends;
  std::vector<std::unique_ptr<asio::cancellation_signal>> cancels;
  SharedConnecting connecting{loop.get_executor(),
                              [this](std::uint16_t port, std::size_t count) { return make(port, count); }};
};

}  // namespace

TEST_CASE("the first has a connection made at once, those who come meanwhile share the next") {
  Fixture fixture;
  for (int i = 0; i < 6; ++i) fixture.ask();
  REQUIRE(fixture.asked.size() == 1);
  CHECK(fixture.asked[0]->count == 1);
  fixture.answer(0, 1);
  CHECK(fixture.with_end("connected") == 1);
  REQUIRE(fixture.asked.size() == 2);
  CHECK(fixture.asked[1]->count == 5);
  fixture.answer(1, 5);
  CHECK(fixture.with_end("connected") == 6);
  CHECK(fixture.asked.size() == 2);
}

TEST_CASE("no more than the most of one go are asked for") {
  Fixture fixture;
  for (std::size_t i = 0; i < 2 * connect_count_max; ++i) fixture.ask();
  fixture.answer(0, 1);
  CHECK(fixture.asked.at(1)->count == connect_count_max);
  fixture.answer(1, connect_count_max);
  CHECK(fixture.asked.at(2)->count == connect_count_max - 1);
  fixture.answer(2, connect_count_max - 1);
  CHECK(fixture.with_end("connected") == 2 * connect_count_max);
}

TEST_CASE("who got none of what was made shares the next") {
  Fixture fixture;
  for (int i = 0; i < 4; ++i) fixture.ask();
  fixture.answer(0, 1);
  fixture.answer(1, 1);
  CHECK(fixture.ends == std::vector<std::string>{"connected", "connected", "waits", "waits"});
  CHECK(fixture.asked.at(2)->count == 2);
  fixture.answer(2, 2);
  CHECK(fixture.with_end("connected") == 4);
}

TEST_CASE("all who shared a failure get its cause, later ones ask anew") {
  Fixture fixture;
  for (int i = 0; i < 3; ++i) fixture.ask();
  fixture.answer(0, 1);
  fixture.ask();
  fixture.refuse(1, "nobody listens");
  CHECK(fixture.ends == std::vector<std::string>{"connected", "nobody listens", "nobody listens", "waits"});
  fixture.answer(2, 1);
  CHECK(fixture.ends[3] == "connected");
}

TEST_CASE("one that is cancelled while it makes them leaves that to the next") {
  Fixture fixture;
  for (int i = 0; i < 3; ++i) fixture.ask();
  fixture.cancel(0);
  CHECK(fixture.ends[0] == "cancelled");
  REQUIRE(fixture.asked.size() == 2);
  CHECK(fixture.asked[1]->count == 2);
  fixture.answer(1, 2);
  CHECK(fixture.with_end("connected") == 2);
}

TEST_CASE("one that is cancelled while it waits leaves its connection unused") {
  Fixture fixture;
  for (int i = 0; i < 3; ++i) fixture.ask();
  fixture.answer(0, 1);
  REQUIRE(fixture.asked.at(1)->count == 2);
  fixture.cancel(2);
  fixture.answer(1, 2);
  CHECK(fixture.ends == std::vector<std::string>{"connected", "connected", "cancelled"});
  fixture.ask();
  CHECK(fixture.asked.size() == 3);
}

TEST_CASE("ports do not wait for each other") {
  Fixture fixture;
  fixture.ask(8080);
  fixture.ask(9090);
  REQUIRE(fixture.asked.size() == 2);
  CHECK(fixture.asked[1]->port == 9090);
  fixture.answer(1, 1);
  CHECK(fixture.ends == std::vector<std::string>{"waits", "connected"});
}

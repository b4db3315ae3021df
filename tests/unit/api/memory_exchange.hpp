// An exchange without a socket: a request given whole, an answer collected.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/system/system_error.hpp>
#include <cstring>

#include "wick/http/handler.hpp"

namespace wick {

namespace json = boost::json;

class MemoryExchange final : public http::Exchange {
 public:
  MemoryExchange(Executor executor, std::string method, std::string target, std::string body = {},
                 http::Fields fields = {})
      : body_(std::move(body)), gone_(executor, asio::steady_timer::time_point::max()) {
    head_.method = std::move(method);
    head_.target = std::move(target);
    head_.authority = "localhost";
    head_.fields = std::move(fields);
  }

  const http::RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return "unix"; }
  long peer_uid() const override { return uid; }
  std::string_view id() const override { return "test"; }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override {
    if (status() == 101 && read_ == body_.size()) {  // an upgraded connection stays
      co_await wait_gone();
      co_return 0;
    }
    if (fail_after && read_ >= *fail_after) co_return fail(Errc::unavailable, "client gone");
    const auto count = std::min({into.size(), body_.size() - read_, fail_after ? *fail_after - read_ : body_.size()});
    std::memcpy(into.data(), body_.data() + read_, count);
    read_ += count;
    co_return count;
  }
  awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
    answer = std::move(head);
    text = std::move(body);
    finished = true;
    co_return Result<void>();
  }
  awaitable<Result<void>> start(http::ResponseHead head) override {
    answer = std::move(head);
    co_return Result<void>();
  }
  awaitable<Result<void>> write(std::string_view bytes) override {
    if (is_gone_) co_return fail(Errc::unavailable, "client gone");
    text += bytes;
    co_return Result<void>();
  }
  awaitable<Result<void>> finish() override {
    finished = true;
    co_return Result<void>();
  }
  bool started() const override { return answer.has_value(); }
  awaitable<void> wait_gone() override {
    auto waited = co_await gone_.async_wait(asio::as_tuple(use_awaitable));
    if (!is_gone_) throw boost::system::system_error(std::get<0>(waited));
  }

  /// The client hangs up.
  void hang_up() {
    is_gone_ = true;
    gone_.cancel();
  }
  int status() const { return answer ? answer->status : 0; }
  json::object json() const { return json::parse(text).as_object(); }
  std::vector<json::object> lines() const {
    std::vector<json::object> all;
    for (std::size_t begin = 0; begin < text.size();) {
      const auto end = text.find('\n', begin);
      if (end == text.npos) break;
      all.push_back(json::parse(text.substr(begin, end - begin)).as_object());
      begin = end + 1;
    }
    return all;
  }

  std::optional<http::ResponseHead> answer;
  std::string text;
  bool finished = false;
  std::optional<std::size_t> fail_after;  // body bytes, then the client is gone
  long uid = 0;                           // -1: over TCP

 private:
  http::RequestHead head_;
  std::string body_;
  std::size_t read_ = 0;
  bool is_gone_ = false;
  asio::steady_timer gone_;
};

}  // namespace wick

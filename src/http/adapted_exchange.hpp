// Any Exchange as a WireExchange, so that there is one relay: for exchanges that are not a connection of our server.
#pragma once

#include <array>
#include <string>

#include "wire_exchange.hpp"

namespace wick::http {

class AdaptedExchange final : public WireExchange {
 public:
  explicit AdaptedExchange(Exchange& inner);

  const RequestHead& head() const override { return inner_.head(); }
  std::string_view peer() const override { return inner_.peer(); }
  long peer_uid() const override { return inner_.peer_uid(); }
  bool secure() const override { return inner_.secure(); }
  std::string_view id() const override { return inner_.id(); }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override { return inner_.read_some(into); }
  awaitable<Result<void>> respond(ResponseHead head, std::string body) override {
    return inner_.respond(std::move(head), std::move(body));
  }
  awaitable<Result<void>> start(ResponseHead head) override { return inner_.start(std::move(head)); }
  awaitable<Result<void>> write(std::string_view bytes) override { return inner_.write(bytes); }
  awaitable<Result<void>> finish() override { return inner_.finish(); }
  bool started() const override { return inner_.started(); }
  awaitable<void> wait_gone() override { return inner_.wait_gone(); }

  const Framing& body_framing() const override { return framing_; }
  std::string_view buffered_body() override { return slice_; }
  void consume_body(std::size_t bytes) override { slice_.remove_prefix(bytes); }
  bool body_finished() override { return slice_.empty() && ended_; }
  awaitable<Result<void>> fill_body() override;
  void begin(const ResponseView& head, std::string_view body, bool last) override;
  void put(std::string_view body, bool last) override;
  void put_informational(int, std::span<const FieldView>) override {}
  bool needs_flush() const override { return pending_head_ || !pending_.empty() || pending_last_ || cut_; }
  awaitable<Result<void>> flush() override;
  void cut() override { cut_ = true; }
  bool wants_websocket() const override { return false; }
  Stream* tunnel(std::string&) override { return nullptr; }
  void tunnel_active(Duration) override {}
  void guard(Interruptible*, TimePoint) override {}
  void release() override {}

 private:
  Exchange& inner_;
  Framing framing_;
  bool ended_ = false;
  std::array<char, 16 << 10> buffer_;
  std::string_view slice_;
  bool pending_head_ = false;
  ResponseHead head_;
  std::string pending_;
  bool pending_last_ = false;
  bool cut_ = false;
};

}  // namespace wick::http

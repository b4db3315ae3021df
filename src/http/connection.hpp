// One client connection of the server: reads heads, runs the handler once a request, writes answers, decides whether to
// go on.
//
//   accepted --header of the PROXY protocol, where the listener wants one--> accepted
//   accepted --TLS handshake, where the listener wants one--> idle
//   idle --first byte--> head --complete--> exchange --answered, body read--> idle
//   head --the preface of HTTP/2, or that by ALPN--> http2_server.hpp
//   head --refused or too slow--> answer, lingering close
//   exchange --Connection: close, or body left unread--> (lingering) close
//
// Times: one deadline for the phase the connection is in, checked by the server's sweep; no timer is armed per request.
#pragma once

#include <optional>
#include <string>

#include "head_parser.hpp"
#include "input.hpp"
#include "server_state.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

class Http2Server;

class Connection final : public WireExchange {
 public:
  Connection(ServerState& server, Fd socket, std::string peer, long peer_uid, Listening how = {});
  ~Connection() override;

  awaitable<void> run();
  /// Called by the server's sweep.
  void check_limits(TimePoint now);
  /// Between requests, with nothing received of the next.
  bool idle() const { return idle_ && !http2_; }
  bool speaks_http2() const { return http2_ != nullptr; }
  /// In a tunnel, or in an answer that has begun (over HTTP/2: in all of them).
  bool flows() const;
  void interrupt(int error) { stream_.interrupt(error); }
  bool has_input() { return stream_.has_input(); }

  // Exchange
  const RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return peer_; }
  long peer_uid() const override { return peer_uid_; }
  bool secure() const override { return secure_; }
  bool from_trusted_proxy() const override { return trusted_; }
  std::string_view id() const override { return id_; }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override;
  awaitable<Result<void>> respond(ResponseHead head, std::string body) override;
  awaitable<Result<void>> start(ResponseHead head) override;
  awaitable<Result<void>> write(std::string_view bytes) override;
  awaitable<Result<void>> finish() override;
  bool started() const override { return started_; }
  awaitable<void> wait_gone() override;

  // WireExchange
  std::shared_ptr<const VerifiedClient> verified_client() const override { return verified_; }
  const Framing& body_framing() const override { return parser_.framing(); }
  std::string_view buffered_body() override { return input_.slice(); }
  void consume_body(std::size_t bytes) override { input_.consume(bytes); }
  bool body_finished() override { return input_.finished(); }
  awaitable<Result<void>> fill_body() override;
  void begin(const ResponseView& head, std::string_view body, bool last) override;
  void put(std::string_view body, bool last) override;
  bool wants_trailers() const override;
  void set_trailers(std::string lines) override { trailers_ = std::move(lines); }
  void put_informational(int status, std::span<const FieldView> fields) override;
  bool needs_flush() const override { return !out_.empty() || write_error_ != 0 || stream_.holds_back(); }
  awaitable<Result<void>> flush() override;
  void cut() override;
  bool wants_websocket() const override { return parser_.wants_websocket(); }
  Stream* tunnel(std::string& already_received) override;
  void tunnel_active(Duration idle_limit) override;
  void guard(Interruptible* upstream, TimePoint until) override;
  void release() override;

 private:
  awaitable<bool> read_proxy();
  awaitable<std::optional<bool>> begins_in_clear();
  awaitable<bool> shake_hands();
  awaitable<void> run_http2();
  enum class HeadStep { wait, complete, refused, http2, ended };
  void begin_head();
  HeadStep step_head();
  void begin_exchange();
  void begin_upgraded();
  awaitable<Result<std::size_t>> read_upgraded(std::span<char> into);
  bool ends_at_once();
  awaitable<bool> end_exchange();
  awaitable<void> refuse();
  awaitable<void> linger();
  void send(std::string_view first, std::string_view second = {}, std::string_view third = {});
  void begin_own(const ResponseHead& head, std::optional<std::uint64_t> length, std::string_view body, bool last);
  void drop_buffered_body();
  Error write_failure() const;

  ServerState& server_;
  Stream stream_;
  std::string peer_;
  long peer_uid_;
  bool trusted_;
  Listening how_;
  bool secure_ = false;
  std::shared_ptr<const VerifiedClient> verified_;
  std::string id_;

  Input input_;
  RequestParser parser_;
  RequestHead head_;
  bool head_request_ = false;
  bool continue_wanted_ = false;  // the client waits for "100 Continue"

  // output
  std::string out_;  // what the socket did not take yet; its capacity is kept
  std::string scratch_;
  std::string trailers_;
  int write_error_ = 0;
  BodyKind answer_kind_ = BodyKind::none;
  std::uint64_t answer_left_ = 0;
  bool started_ = false;
  bool answered_ = false;
  bool keep_ = false;  // the connection may serve another request
  bool tunnelled_ = false;
  bool upgraded_ = false;  // the connection's bytes are the handler's

  bool idle_ = true;
  bool in_exchange_ = false;
  bool served_ = false;
  Refusal refusal_;                              // of a head, once step_head() says so
  TimePoint read_deadline_ = TimePoint::max();   // of the phase: idle, head, body, linger
  TimePoint write_deadline_ = TimePoint::max();  // the client must take some of the answer until then
  TimePoint request_deadline_ = TimePoint::max();
  Interruptible* guarded_ = nullptr;

  /// What waiting for the client brought: bytes and time since the last look.
  struct Pace {
    std::size_t bytes = 0;
    Duration waited{0};
  };
  bool too_slow(Pace& pace, TimePoint since, std::size_t bytes);
  Pace body_pace_;
  Pace answer_pace_;
  std::unique_ptr<Http2Server> http2_;
};

}  // namespace wick::http

#include "http2_server.hpp"

#include <algorithm>

#include "http2_exchange.hpp"
#include "server_answers.hpp"
#include "wick/base/log.hpp"

namespace wick::http {

namespace {

constexpr std::size_t acknowledgements_max = 64;  // of pings and settings, that the client does not take
constexpr std::uint64_t resets_at_once = 200;     // rapid reset (CVE-2023-44487): a burst, and …
constexpr std::uint64_t resets_a_second = 33;     // … what comes back of it
constexpr std::size_t continuations_max = 8;

struct EndHttp2Callbacks {
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
};
struct EndHttp2Option {
  void operator()(nghttp2_option* option) const { nghttp2_option_del(option); }
};

std::string_view view_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace

Http2Server::Http2Server(ServerState& server, Stream& stream, Client client)
    : server_(server),
      client_(std::move(client)),
      wire_(server.poller, stream),
      idle_since_(server.clock.now()),
      handlers_(server.executor) {}

Http2Server::~Http2Server() = default;

Http2SessionPtr Http2Server::make_session() {
  nghttp2_session_callbacks* made = nullptr;
  if (nghttp2_session_callbacks_new(&made) != 0) return nullptr;
  const std::unique_ptr<nghttp2_session_callbacks, EndHttp2Callbacks> callbacks(made);
  nghttp2_session_callbacks_set_on_begin_headers_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
        return static_cast<Http2Server*>(self)->on_begin_headers(frame->hd.stream_id);
      });
  nghttp2_session_callbacks_set_on_header_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
               const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
        if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;  // trailers of a request go nowhere
        return static_cast<Http2Server*>(self)->on_field(frame->hd.stream_id, view_of(name, name_size),
                                                         view_of(value, value_size));
      });
  nghttp2_session_callbacks_set_on_frame_recv_callback(made,
                                                       [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
                                                         return static_cast<Http2Server*>(self)->on_frame(*frame);
                                                       });
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      made, [](nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* bytes, std::size_t size,
               void* self) { return static_cast<Http2Server*>(self)->on_data(stream, view_of(bytes, size)); });
  nghttp2_session_callbacks_set_on_frame_send_callback(
      made, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
        if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
        if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) return 0;
        auto& exchanges = static_cast<Http2Server*>(self)->exchanges_;
        if (const auto found = exchanges.find(frame->hd.stream_id); found != exchanges.end())
          found->second->answer_sent();
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      made, [](nghttp2_session*, std::int32_t stream, std::uint32_t, void* self) {
        static_cast<Http2Server*>(self)->closed(stream);
        return 0;
      });
  nghttp2_option* chosen = nullptr;
  if (nghttp2_option_new(&chosen) != 0) return nullptr;
  const std::unique_ptr<nghttp2_option, EndHttp2Option> option(chosen);
  nghttp2_option_set_no_auto_window_update(chosen, 1);  // a body that is not read is not asked for
  nghttp2_option_set_no_closed_streams(chosen, 1);
  nghttp2_option_set_max_outbound_ack(chosen, acknowledgements_max);
  nghttp2_option_set_stream_reset_rate_limit(chosen, resets_at_once, resets_a_second);
  nghttp2_option_set_max_continuations(chosen, continuations_max);
  nghttp2_session* session = nullptr;
  if (nghttp2_session_server_new2(&session, made, this, chosen) != 0) return nullptr;
  return Http2SessionPtr(session);
}

awaitable<void> Http2Server::run(std::string_view first) {
  auto session = make_session();
  const Http2Settings settings{.head_bytes_max = static_cast<std::uint32_t>(server_.limits.head_bytes_max),
                               .extended_connect = true};
  if (!session || !wire_.begin(std::move(session), settings)) {
    log::warn("a connection was closed: no session of HTTP/2 for it");
    co_return;
  }
  std::exception_ptr failure;
  try {
    co_await wire_.run(first, [this] { start_exchanges(); });
  } catch (...) {
    failure = std::current_exception();
  }
  complete_.clear();
  for (const auto& [stream, exchange] : exchanges_) exchange->close();
  // Handlers refer to this connection: it waits for them, also while it is being cancelled itself.
  co_await asio::this_coro::throw_if_cancelled(false);
  while (running_ > 0) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) handlers_.close();
    if (running_ > 0) co_await server_.poller.wait(handler_ended_);
  }
  co_await handlers_.join();
  if (failure) std::rethrow_exception(failure);
}

void Http2Server::pump() {
  if (exchanges_.size() > 1)
    wire_.pump_soon();  // with what the other streams have to say
  else
    wire_.pump();
}

// ---- what the client sends

int Http2Server::on_begin_headers(std::int32_t stream) {
  if (!exchanges_.contains(stream)) exchanges_.emplace(stream, std::make_shared<Http2Exchange>(*this, stream));
  return 0;
}

int Http2Server::on_field(std::int32_t stream, std::string_view name, std::string_view value) {
  if (const auto found = exchanges_.find(stream); found != exchanges_.end()) found->second->add_field(name, value);
  return 0;
}

int Http2Server::on_data(std::int32_t stream, std::string_view bytes) {
  const auto found = exchanges_.find(stream);
  const bool taken = found != exchanges_.end() && found->second->add_body(bytes);
  if (!taken) nghttp2_session_consume(wire_.session(), stream, bytes.size());
  return 0;
}

int Http2Server::on_frame(const nghttp2_frame& frame) {
  const bool last = frame.hd.flags & NGHTTP2_FLAG_END_STREAM;
  if (frame.hd.type != NGHTTP2_HEADERS && frame.hd.type != NGHTTP2_DATA) return 0;
  const auto found = exchanges_.find(frame.hd.stream_id);
  if (found == exchanges_.end()) return 0;
  const auto& exchange = found->second;
  if (frame.hd.type == NGHTTP2_HEADERS && frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
    exchange->complete_head(last);
    complete_.push_back(exchange);
  } else if (last) {
    exchange->end_body();
  }
  return 0;
}

void Http2Server::closed(std::int32_t stream) {
  const auto found = exchanges_.find(stream);
  if (found == exchanges_.end()) return;
  found->second->close();
  exchanges_.erase(found);
  if (exchanges_.empty()) idle_since_ = server_.clock.now();
}

// ---- exchanges

void Http2Server::start_exchanges() {
  auto complete = std::exchange(complete_, {});
  for (auto& exchange : complete) {
    ++running_;
    handlers_.spawn("http2 stream", serve(std::move(exchange)));
  }
}

awaitable<void> Http2Server::serve(ExchangePtr exchange) {
  struct Running {
    explicit Running(Http2Server& server) : server(server) {}
    ~Running() {
      --server.running_;
      server.server_.poller.wake_soon(server.handler_ended_);
    }
    Http2Server& server;
  };
  const Running running(*this);
  if (exchange->refusal()) {
    if (server_.metrics) server_.metrics->refused_request(exchange->refusal()->status);
    co_await exchange->answer_refusal();
    co_return;
  }
  if (server_.left) {  // it crossed our farewell: the client may ask another
    nghttp2_submit_rst_stream(wire_.session(), NGHTTP2_FLAG_NONE, exchange->stream(), NGHTTP2_REFUSED_STREAM);
    pump();
    co_return;
  }
  if (exchange->head().target == "*" || server_.shedding) {
    co_await answer_for_server(*exchange, server_.shedding);
    co_return;
  }
  std::exception_ptr failure;
  ++server_.in_flight;
  server_.poller.count_requests(1);
  try {
    co_await server_.handler(*exchange);
  } catch (...) {
    failure = std::current_exception();
  }
  --server_.in_flight;
  server_.poller.count_requests(-1);
  exchange->release();
  if (failure) log_handler_failure(exchange->id(), failure);
  if (!exchange->started())
    co_await answer_for_silent_handler(*exchange);
  else if (!exchange->answered() && exchange->clean())
    exchange->cut();  // a stream that was not finished: the client sees that it was cut
}

bool Http2Server::flows() const {
  if (!complete_.empty() || running_ > exchanges_.size()) return false;
  return going_away_ && std::ranges::all_of(exchanges_, [](const auto& each) { return each.second->started(); });
}

void Http2Server::check_limits(TimePoint now) {
  const auto& limits = server_.limits;
  auto session = wire_.session();
  if (!session || wire_.broken()) return;
  const bool idle = exchanges_.empty() && now >= idle_since_ + limits.keep_alive_limit;
  if (server_.draining && !server_.idle_given_up && !std::exchange(going_soon_, true)) {
    nghttp2_submit_shutdown_notice(session);
    wire_.pump();
  }
  if ((server_.idle_given_up || idle) && !std::exchange(going_away_, true)) {
    nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session),
                          NGHTTP2_NO_ERROR, nullptr, 0);
    wire_.pump();
  }
  bool slow_head = false;
  std::vector<ExchangePtr> exchanges;  // a stream that is cut leaves the map
  for (const auto& [stream, exchange] : exchanges_) exchanges.push_back(exchange);
  for (const auto& exchange : exchanges) {
    exchange->check_limits(now);
    slow_head |= !exchange->has_head() && now >= exchange->begun() + limits.head_limit;
  }
  if (slow_head) wire_.interrupt(ETIMEDOUT);
}

}  // namespace wick::http

#include "grpc_health.hpp"

#include <fmt/format.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <optional>

#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"

namespace wick::serving {

namespace {

constexpr std::size_t read_bytes = 4 << 10;
constexpr std::size_t message_bytes_max = 200;
constexpr std::string_view unimplemented = "12";  // grpc-status (grpc/grpc doc/statuscodes.md)
constexpr std::string_view not_found = "5";

struct EndSession {
  void operator()(nghttp2_session* session) const { nghttp2_session_del(session); }
};
struct EndCallbacks {
  void operator()(nghttp2_session_callbacks* callbacks) const { nghttp2_session_callbacks_del(callbacks); }
};

/// grpc's length-prefixed message of a HealthCheckRequest {service = 1}.
std::string request_of(std::string_view service) {
  std::string message;
  if (!service.empty()) {
    message += '\x0a';
    for (auto left = service.size(); true; left >>= 7) {
      message += static_cast<char>((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
      if (left <= 0x7f) break;
    }
    message += service;
  }
  std::string framed(1, '\0');
  for (const int shift : {24, 16, 8, 0}) framed += static_cast<char>(message.size() >> shift & 0xff);
  return framed + message;
}

std::optional<std::uint64_t> take_varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

/// `status` (field 1) of a HealthCheckResponse; 0 where it says none. Nothing for what is no such message.
std::optional<std::uint64_t> status_of(std::string_view framed) {
  if (framed.size() < 5 || framed[0] != '\0') return std::nullopt;  // a compressed one was not asked for
  std::size_t size = 0;
  for (const char byte : framed.substr(1, 4)) size = size << 8 | static_cast<unsigned char>(byte);
  auto message = framed.substr(5);
  if (message.size() != size) return std::nullopt;
  std::uint64_t status = 0;
  while (!message.empty()) {
    const auto tag = take_varint(message);
    auto value = tag ? take_varint(message) : std::nullopt;  // a length, for what has one
    if (!value || (*tag & 7) == 1 || (*tag & 7) > 2) return std::nullopt;
    if (*tag == 8) status = *value;
    if ((*tag & 7) != 2) continue;
    if (*value > message.size()) return std::nullopt;
    message.remove_prefix(*value);
  }
  return status;
}

nghttp2_nv header(std::string_view name, std::string_view value) {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

struct GrpcHealthCheck::Session {
  std::unique_ptr<nghttp2_session, EndSession> http2;
  std::string request;
  std::size_t sent = 0;
  std::string http_status;
  std::string grpc_status;
  std::string grpc_message;
  std::string answer;
  bool closed = false;  // the call
  std::string broken;   // what ended it early

  void note_broken() {
    if (!closed && broken.empty()) broken = "answered with something else than HTTP/2";
  }

  static Session& of(void* user) { return *static_cast<Session*>(user); }

  static int on_header(nghttp2_session*, const nghttp2_frame*, const std::uint8_t* name, std::size_t name_size,
                       const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
    auto& self = of(user);
    const std::string_view key(reinterpret_cast<const char*>(name), name_size);
    std::string text(reinterpret_cast<const char*>(value), value_size);
    if (key == ":status")
      self.http_status = std::move(text);
    else if (key == "grpc-status")
      self.grpc_status = std::move(text);
    else if (key == "grpc-message")
      self.grpc_message = std::move(text);
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t, const std::uint8_t* data, std::size_t size,
                     void* user) {
    auto& self = of(user);
    if (self.answer.size() + size > answer_bytes_max) {
      self.broken = fmt::format("answered with more than {} bytes", answer_bytes_max);
      return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    self.answer.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t, std::uint32_t error, void* user) {
    auto& self = of(user);
    self.closed = true;
    if (error != 0) self.broken = fmt::format("ended the call with {}", nghttp2_http2_strerror(error));
    return 0;
  }
  static ssize_t read_request(nghttp2_session*, std::int32_t, std::uint8_t* into, std::size_t size,
                              std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto& self = of(source->ptr);
    const auto part = self.request.substr(self.sent, size);
    std::ranges::copy(part, into);
    self.sent += part.size();
    if (self.sent == self.request.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(part.size());
  }
};

GrpcHealthCheck::GrpcHealthCheck(std::string_view service, const std::string& authority)
    : session_(std::make_unique<Session>()) {
  session_->request = request_of(service);
  nghttp2_session_callbacks* made = nullptr;
  nghttp2_session* session = nullptr;
  if (nghttp2_session_callbacks_new(&made) != 0) throw std::bad_alloc();
  const std::unique_ptr<nghttp2_session_callbacks, EndCallbacks> callbacks(made);
  nghttp2_session_callbacks_set_on_header_callback(made, Session::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, Session::on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(made, Session::on_close);
  if (nghttp2_session_client_new(&session, made, session_.get()) != 0) throw std::bad_alloc();
  session_->http2.reset(session);
  const nghttp2_settings_entry no_push{NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
  const std::array headers{header(":method", "POST"),
                           header(":scheme", "http"),
                           header(":path", "/grpc.health.v1.Health/Check"),
                           header(":authority", authority),
                           header("content-type", "application/grpc"),
                           header("te", "trailers"),
                           header("user-agent", "kube-probe/wick")};
  nghttp2_data_provider body{.source = {.ptr = session_.get()}, .read_callback = Session::read_request};
  if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &no_push, 1) != 0 ||
      nghttp2_submit_request(session, nullptr, headers.data(), headers.size(), &body, nullptr) < 0)
    throw std::bad_alloc();
}

GrpcHealthCheck::~GrpcHealthCheck() = default;

std::string GrpcHealthCheck::take_output() {
  std::string out;
  const std::uint8_t* data = nullptr;
  for (ssize_t size = 0; (size = nghttp2_session_mem_send(session_->http2.get(), &data)) > 0;)
    out.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  // nghttp2 is through with a peer that breaks the protocol once it has told it so.
  if (nghttp2_session_want_read(session_->http2.get()) == 0) session_->note_broken();
  return out;
}

void GrpcHealthCheck::read(std::string_view bytes) {
  const auto taken = nghttp2_session_mem_recv(session_->http2.get(),
                                              reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (taken < 0) session_->note_broken();
}

bool GrpcHealthCheck::done() const { return session_->closed || !session_->broken.empty(); }

std::string GrpcHealthCheck::complaint() const {
  const auto& call = *session_;
  if (!call.broken.empty()) return call.broken;
  if (!call.closed) return "closed the connection without an answer";
  if (call.grpc_status == unimplemented)
    return "does not implement the health checking protocol (grpc.health.v1.Health)";
  if (call.grpc_status == not_found) return "does not know the service";
  if (call.grpc_status.empty() && call.http_status != "200")
    return fmt::format("answered with the HTTP status {}", printable(call.http_status, 10));
  if (call.grpc_status != "0") {
    const auto message = printable(call.grpc_message, message_bytes_max);
    return fmt::format("answered with the status {}{}{}", printable(call.grpc_status, 10), message.empty() ? "" : ": ",
                       message);
  }
  const auto status = status_of(call.answer);
  if (!status) return "answered with no HealthCheckResponse";
  constexpr std::array names{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
  if (*status == 1) return {};
  return fmt::format("answered {}", *status < names.size() ? names[*status] : std::to_string(*status));
}

namespace {

awaitable<std::string> talk(Fd connection, GrpcHealthCheck& check) {
  asio::posix::stream_descriptor stream(co_await asio::this_coro::executor, connection.release());
  std::array<char, read_bytes> buffer;
  while (true) {
    const auto out = check.take_output();
    auto sent = co_await asio::async_write(stream, asio::buffer(out), asio::as_tuple(use_awaitable));
    (void)sent;  // one that has gone is seen by reading: it may have said why
    if (check.done()) co_return check.complaint();
    auto [error, got] = co_await stream.async_read_some(asio::buffer(buffer), asio::as_tuple(use_awaitable));
    if (error) co_return check.complaint();
    check.read({buffer.data(), got});
  }
}

}  // namespace

awaitable<std::string> ask_grpc(Clock& clock, Fd connection, std::string service, std::uint16_t port,
                                milliseconds limit) {
  GrpcHealthCheck check(service, fmt::format("127.0.0.1:{}", port));
  try {
    auto talking = talk(std::move(connection), check);
    co_return co_await with_deadline(clock, limit, std::move(talking));
  } catch (const DeadlineExceeded&) {
    co_return fmt::format("gave no answer within {} ms", limit.count());
  }
}

}  // namespace wick::serving

// An HTTP/2 client of nghttp2's over a raw socket, for tests.
#pragma once

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "http_fixture.hpp"

namespace wick::http {

/// A client whose frames are nghttp2's, or bytes of the test's own.
class Http2Client {
 public:
  struct Answer {
    std::map<std::string, std::string> fields;
    std::map<std::string, std::string> trailers;
    std::string body;
    std::vector<std::string> informational;
    bool closed = false;
    bool begun_ = false;  // the final head has come
    std::uint32_t error = 0;

    std::string status() const { return fields.contains(":status") ? fields.at(":status") : ""; }
  };

  explicit Http2Client(HttpFixture& fixture, bool no_validation = false) : fixture_(fixture), wire_(fixture.connect()) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                      const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* self) {
          auto& answer = static_cast<Http2Client*>(self)->answers[frame->hd.stream_id];
          const std::string key(reinterpret_cast<const char*>(name), name_size);
          const std::string text(reinterpret_cast<const char*>(value), value_size);
          if (key == ":status" && text.starts_with('1'))
            answer.informational.push_back(text);
          else if (key != ":status" && !answer.fields.contains(":status"))
            answer.informational.push_back(key + "=" + text);
          else
            (frame->headers.cat == NGHTTP2_HCAT_HEADERS && key != ":status" && answer.begun_ ? answer.trailers
                                                                                             : answer.fields)[key] =
                text;
          return 0;
        });
    nghttp2_session_callbacks_set_on_frame_recv_callback(
        callbacks, [](nghttp2_session*, const nghttp2_frame* frame, void* self) {
          auto& answer = static_cast<Http2Client*>(self)->answers[frame->hd.stream_id];
          if (frame->hd.type == NGHTTP2_HEADERS && !answer.status().empty()) answer.begun_ = true;
          return 0;
        });
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks, [](nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* bytes, std::size_t size,
                      void* self) {
          static_cast<Http2Client*>(self)->answers[stream].body.append(reinterpret_cast<const char*>(bytes), size);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(
        callbacks, [](nghttp2_session*, std::int32_t stream, std::uint32_t error, void* self) {
          auto& answer = static_cast<Http2Client*>(self)->answers[stream];
          answer.closed = true;
          answer.error = error;
          return 0;
        });
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_http_messaging(option, no_validation);
    nghttp2_session_client_new2(&session_, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~Http2Client() { nghttp2_session_del(session_); }
  Http2Client(const Http2Client&) = delete;

  using Lines = std::vector<std::pair<std::string, std::string>>;
  static Lines get(std::string path, Lines more = {}) {
    Lines lines{{":method", "GET"}, {":scheme", "http"}, {":authority", "v.test"}, {":path", std::move(path)}};
    lines.insert(lines.end(), more.begin(), more.end());
    return lines;
  }
  static Lines post(std::string path, Lines more = {}) {
    auto lines = get(std::move(path), std::move(more));
    lines[0].second = "POST";
    return lines;
  }

  std::int32_t send(const Lines& lines, std::optional<std::string> body = std::nullopt) {
    std::vector<nghttp2_nv> fields;
    for (const auto& [name, value] : lines)
      fields.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                        reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
                        0});
    nghttp2_data_provider source{.source = {.ptr = this}, .read_callback = give_body};
    const auto stream =
        nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), body ? &source : nullptr, nullptr);
    if (body) bodies_[stream] = std::move(*body);
    talk();
    return stream;
  }
  const Answer& ask(const Lines& lines, std::optional<std::string> body = std::nullopt) {
    const auto stream = send(lines, std::move(body));
    talk();
    return answers[stream];
  }
  /// Both sides say what they have to say, until neither has more.
  void talk() {
    for (int quiet = 0; quiet < 2;) {
      bool moved = false;
      const std::uint8_t* bytes = nullptr;
      for (ssize_t size; (size = nghttp2_session_mem_send(session_, &bytes)) > 0; moved = true)
        unsent_.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
      if (!unsent_.empty()) unsent_.erase(0, wire_.send_some(unsent_));
      fixture_.settle();
      const auto got = wire_.read();
      if (!got.empty() && !deaf)
        nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(got.data()), got.size());
      moved |= !got.empty();
      quiet = moved ? 0 : quiet + 1;
    }
  }
  void send_raw(std::string_view bytes) {
    wire_.send_some(bytes);
    fixture_.settle();
  }
  bool closed() { return wire_.closed(); }
  Wire& wire() { return wire_; }
  nghttp2_session* session() { return session_; }

  /// From now on bodies go out in pieces: one of so many bytes a call of send_piece().
  void send_in_pieces() { allowance_ = 0; }
  void send_piece(std::int32_t stream, std::size_t bytes) {
    allowance_ = bytes;
    nghttp2_session_resume_data(session_, stream);
    talk();
    allowance_ = 0;
  }

  /// A request whose body goes on until say_last().
  std::int32_t open(const Lines& lines) {
    open_ = true;
    const auto stream = send(lines, std::string());
    open_ = false;
    kept_open_.insert(stream);
    talk();
    return stream;
  }
  void say(std::int32_t stream, std::string_view text) {
    bodies_[stream] += text;
    nghttp2_session_resume_data(session_, stream);
    talk();
  }
  void say_last(std::int32_t stream, std::string_view text = {}) {
    kept_open_.erase(stream);
    say(stream, text);
  }
  void reset(std::int32_t stream) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL);
    talk();
  }

  std::map<std::int32_t, Answer> answers;
  bool deaf = false;

 private:
  static ssize_t give_body(nghttp2_session*, std::int32_t stream, std::uint8_t* into, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto& self = *static_cast<Http2Client*>(source->ptr);
    auto& body = self.bodies_[stream];
    const auto given = std::min({size, body.size(), self.allowance_});
    const bool open = self.open_ || self.kept_open_.contains(stream);
    if (given == 0 && (open || !body.empty())) return NGHTTP2_ERR_DEFERRED;
    self.allowance_ -= given;
    std::memcpy(into, body.data(), given);
    body.erase(0, given);
    if (body.empty() && !open) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(given);
  }

  HttpFixture& fixture_;
  Wire wire_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, std::string> bodies_;
  std::set<std::int32_t> kept_open_;
  bool open_ = false;
  std::string unsent_;
  std::size_t allowance_ = std::numeric_limits<std::size_t>::max();
};

}  // namespace wick::http

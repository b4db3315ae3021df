// HTTP/2 of the server, spoken to by nghttp2's client over a raw socket: streams, bodies both ways, what is refused and
// what is bounded.
#include <nghttp2/nghttp2.h>

#include <boost/asio/as_tuple.hpp>
#include <map>

#include "http_fixture.hpp"

using namespace wick;
using namespace wick::http;

namespace {

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

  std::map<std::int32_t, Answer> answers;
  bool deaf = false;

 private:
  static ssize_t give_body(nghttp2_session*, std::int32_t stream, std::uint8_t* into, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto& body = static_cast<Http2Client*>(source->ptr)->bodies_[stream];
    const auto given = std::min(size, body.size());
    std::memcpy(into, body.data(), given);
    body.erase(0, given);
    if (body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(given);
  }

  HttpFixture& fixture_;
  Wire wire_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, std::string> bodies_;
  std::string unsent_;
};

awaitable<void> echo_all(Exchange& exchange) {
  auto body = co_await exchange.read_all(8 << 20);
  if (!body) {
    co_await respond_error(exchange, 400, body.error());
    co_return;
  }
  co_await respond_text(
      exchange, 200, exchange.head().method + " " + exchange.head().authority + exchange.head().target + " " + *body);
}

}  // namespace

TEST_CASE("requests over HTTP/2 are answered, many on one connection") {
  HttpFixture f;
  f.serve(echo_all);
  Http2Client client(f);
  for (int i = 0; i < 5; ++i) {
    const auto& answer = client.ask(Http2Client::get("/" + std::to_string(i)));
    CHECK(answer.status() == "200");
    CHECK(answer.body == "GET v.test/" + std::to_string(i) + " \n");
    CHECK(answer.fields.at("content-type") == "text/plain; charset=utf-8");
    CHECK(answer.fields.contains("date"));
    CHECK(answer.closed);
    CHECK(answer.error == 0);
  }
  CHECK(f.server->connections() == 1);
  CHECK(f.server->in_flight() == 0);
}

TEST_CASE("bodies of any size go up and down under flow control") {
  const std::string big(3 << 20, 'x');
  HttpFixture f;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    auto body = co_await exchange.read_all(8 << 20);
    CHECK(body->size() == big.size());
    co_await exchange.start({.status = 200});
    for (int i = 0; i < 3; ++i) co_await exchange.write(std::string(1 << 20, 'y'));
    co_await exchange.finish();
  });
  Http2Client client(f);
  const auto& answer = client.ask(Http2Client::post("/"), big);
  CHECK(answer.closed);
  CHECK(answer.error == 0);
  CHECK(answer.body.size() == big.size());
}

TEST_CASE("a body that nobody reads stops coming when the window is full, and the other streams go on") {
  HttpFixture f;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/stuck") co_await exchange.wait_gone();
    if (exchange.head().target != "/stuck") co_await respond_text(exchange, 200, "fine");
  });
  Http2Client client(f);
  const auto stuck = client.send(Http2Client::post("/stuck"), std::string(1 << 20, 'x'));
  CHECK(nghttp2_session_get_stream_remote_window_size(client.session(), stuck) == 0);
  CHECK(client.ask(Http2Client::get("/other")).status() == "200");
  nghttp2_submit_rst_stream(client.session(), 0, stuck, NGHTTP2_CANCEL);
  client.talk();
  CHECK(f.server->in_flight() == 0);
  // What was not read does not narrow the connection's window for ever.
  for (int i = 0; i < 10; ++i) {
    const auto again = client.send(Http2Client::post("/stuck"), std::string(128 << 10, 'x'));
    CHECK(nghttp2_session_get_stream_remote_window_size(client.session(), again) == 0);
    nghttp2_submit_rst_stream(client.session(), 0, again, NGHTTP2_CANCEL);
    client.talk();
  }
}

TEST_CASE("the rules of HTTP/1.1 heads hold for those of HTTP/2") {
  HttpFixture f;
  f.serve(echo_all);
  const auto with = [](std::size_t index, std::string value) {
    auto lines = Http2Client::get("/");
    lines[index].second = std::move(value);
    return lines;
  };
  struct Case {
    const char* what;
    Http2Client::Lines lines;
    const char* status;
  };
  const std::vector<Case> cases{
      {"authority and host differ", Http2Client::get("/", {{"host", "other.test"}}), "400"},
      {"authority and host agree", Http2Client::get("/", {{"host", "V.test"}}), "200"},
      {"a bad authority", with(2, "v.test:80:80"), "400"},
      {"CONNECT", {{":method", "CONNECT"}, {":authority", "v.test:443"}}, "405"},
      {"TRACE", with(0, "TRACE"), "405"},
      {"an expectation that nobody meets", Http2Client::post("/", {{"expect", "more"}}), "417"},
      {"fields past 32 KB", Http2Client::get("/", {{"a", std::string(16000, 'a')}, {"b", std::string(17000, 'b')}}),
       "431"},
      {"a line past 16 KB", Http2Client::get("/", {{"a", std::string(17000, 'a')}}), "431"},
      {"OPTIONS *", {{":method", "OPTIONS"}, {":scheme", "http"}, {":authority", "v.test"}, {":path", "*"}}, "204"},
  };
  for (const auto& [what, lines, status] : cases) {
    CAPTURE(what);
    Http2Client client(f);
    CHECK(client.ask(lines).status() == status);
    CHECK(client.ask(Http2Client::get("/after")).status() == "200");  // only the stream was refused
  }
  Http2Client many(f);
  auto lines = Http2Client::get("/");
  for (int i = 0; i < 101; ++i) lines.push_back({"x-" + std::to_string(i), "1"});
  CHECK(many.ask(lines).status() == "431");
}

TEST_CASE("what RFC 9113 calls malformed resets its stream and never reaches a handler") {
  HttpFixture f;
  int asked = 0;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    ++asked;
    co_await respond_text(exchange, 200, "");
  });
  const Http2Client::Lines bad[] = {
      Http2Client::get("/", {{"connection", "close"}}), Http2Client::get("/", {{"transfer-encoding", "chunked"}}),
      Http2Client::get("/", {{"te", "gzip"}}),          Http2Client::get("/", {{"upgrade", "websocket"}}),
      Http2Client::get("/", {{"a", "x\r\nb: y"}}),      Http2Client::get("/", {{"a", std::string("x\0y", 3)}}),
      Http2Client::get("/", {{"content-length", "5"}}), {{":method", "GET"}, {":path", "/"}},
      Http2Client::get("/", {{":path", "/twice"}}),
  };
  for (const auto& lines : bad) {
    CAPTURE(lines.back().first, lines.back().second);
    Http2Client client(f, true);
    const auto& answer = client.ask(lines);
    CHECK(answer.status() == "");
    CHECK((answer.closed || client.closed()));
  }
  CHECK(asked == 0);
}

TEST_CASE("cookie crumbs are one cookie again") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    co_await respond_text(exchange, 200, std::string(exchange.head().fields.find("Cookie").value_or("")));
  });
  Http2Client client(f);
  CHECK(client.ask(Http2Client::get("/", {{"cookie", "a=1"}, {"cookie", "b=2"}})).body == "a=1; b=2\n");
}

TEST_CASE("a client that waits for 100 gets it when the body is wanted, and HEAD gets a length without a body") {
  HttpFixture f;
  f.serve(echo_all);
  Http2Client client(f);
  CHECK_THAT(client.ask(Http2Client::post("/", {{"expect", "100-continue"}}), "body").body, EndsWith("body\n"));
  Http2Client waiting(f);
  waiting.talk();
  // By hand, since nghttp2's client sends the body at once: POST, http, /, authority v, expect (RFC 7541 appendix A).
  const auto head_bytes = std::string("\x83\x86\x84\x01\x01v\x0f\x14\x0c", 9) + "100-continue";
  waiting.send_raw(std::string("\0\0", 2) + static_cast<char>(head_bytes.size()) +
                   std::string("\x01\x04\0\0\0\x01", 6) + head_bytes);
  const auto interim = waiting.wire().read();
  REQUIRE(interim.size() > 9);
  CHECK(interim[3] == NGHTTP2_HEADERS);
  CHECK((interim[4] & NGHTTP2_FLAG_END_STREAM) == 0);
  auto lines = Http2Client::get("/head");
  lines[0].second = "HEAD";
  const auto& head = client.ask(lines);
  CHECK(head.status() == "200");
  CHECK(head.fields.at("content-length") == "18");
  CHECK(head.body == "");
  CHECK(head.closed);
}

TEST_CASE("over HTTP/2 a handler without an answer gives 500, one that stops half-way a reset") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/half") {
      co_await exchange.start({.status = 200});
      co_await exchange.write("half");
    }
    if (exchange.head().target == "/throw") throw std::runtime_error("a bug over HTTP/2");
  });
  Http2Client client(f);
  CHECK(client.ask(Http2Client::get("/none")).status() == "500");
  CHECK(client.ask(Http2Client::get("/throw")).status() == "500");
  const auto& half = client.ask(Http2Client::get("/half"));
  CHECK(half.closed);
  CHECK(half.error == NGHTTP2_INTERNAL_ERROR);
}

TEST_CASE("an answer before the body was read asks the client to stop sending it") {
  HttpFixture f;
  f.serve([](Exchange& exchange) -> awaitable<void> { co_await respond_text(exchange, 413, "too much"); });
  Http2Client client(f);
  const auto& answer = client.ask(Http2Client::post("/"), std::string(1 << 20, 'x'));
  CHECK(answer.status() == "413");
  CHECK(answer.body == "too much\n");
  CHECK(answer.closed);
  CHECK(answer.error == NGHTTP2_NO_ERROR);
}

TEST_CASE("a stream that its client resets ends its handler, and the connection goes on") {
  HttpFixture f;
  int gone = 0;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/wait") {
      co_await exchange.wait_gone();
      ++gone;
      co_return;
    }
    co_await respond_text(exchange, 200, "on");
  });
  Http2Client client(f);
  const auto stream = client.send(Http2Client::get("/wait"));
  CHECK(f.server->in_flight() == 1);
  nghttp2_submit_rst_stream(client.session(), 0, stream, NGHTTP2_CANCEL);
  client.talk();
  CHECK(gone == 1);
  CHECK(client.ask(Http2Client::get("/")).body == "on\n");
  const auto last = client.send(Http2Client::get("/wait"));
  CHECK(last > 0);
  client.wire().close();
  f.settle();
  CHECK(gone == 2);
  CHECK(f.server->connections() == 0);
}

TEST_CASE("a client that takes nothing of an answer is cut after the body's idle limit") {
  HttpFixture f;
  bool failed = false;
  f.serve(
      [&](Exchange& exchange) -> awaitable<void> {
        co_await exchange.start({.status = 200});
        for (int i = 0; i < 64 && !failed; ++i) {
          auto written = co_await exchange.write(std::string(64 << 10, 'y'));
          failed = !written;
        }
      },
      {.body_idle_limit = 60s, .keep_alive_limit = 300s});
  Http2Client client(f);
  nghttp2_session_set_local_window_size(client.session(), 0, 0, 70'000);
  const nghttp2_settings_entry none[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
  nghttp2_submit_settings(client.session(), 0, none, 1);
  client.talk();
  const auto stream = client.send(Http2Client::get("/"));
  f.clock.advance(59s);
  CHECK_FALSE(failed);
  f.clock.advance(2s);
  CHECK(failed);
  client.talk();
  CHECK(client.answers[stream].error == NGHTTP2_INTERNAL_ERROR);
}

TEST_CASE("a body that does not go on is told 408's cause, a head that does not end closes the connection") {
  HttpFixture f;
  std::string told;
  f.serve(
      [&](Exchange& exchange) -> awaitable<void> {
        auto body = co_await exchange.read_all(100);
        told = body ? "whole" : body.error().what();
      },
      {.head_limit = 10s, .body_idle_limit = 60s, .keep_alive_limit = 300s});
  Http2Client client(f);
  client.send(Http2Client::post("/", {{"content-length", "10"}}), std::nullopt);
  client.talk();
  std::string request;  // HEADERS without END_STREAM by hand: nghttp2 would end it
  Http2Client slow(f);
  slow.talk();
  // literal fields of HPACK (RFC 7541 6.2.2): :method POST is 0x83, :scheme http 0x86, :path / 0x84, :authority v
  const std::string head("\x83\x86\x84\x01\x01v", 6);
  request += std::string("\0\0", 2) + static_cast<char>(head.size()) + std::string("\x01\x04\0\0\0\x01", 6) + head;
  slow.send_raw(request);
  CHECK(f.server->in_flight() == 1);
  f.clock.advance(61s);
  CHECK_THAT(told, Contains("sent no more of the request body in time"));
  Http2Client unfinished(f);
  unfinished.talk();
  unfinished.send_raw(std::string("\0\0\x01\x01\0\0\0\0\x01\x83", 10));  // no END_HEADERS
  f.clock.advance(9s);
  CHECK_FALSE(unfinished.closed());
  f.clock.advance(2s);
  CHECK(unfinished.closed());
}

TEST_CASE("an idle connection is told to go, a server that stops lets streams end first") {
  HttpFixture f;
  asio::steady_timer held(f.loop, asio::steady_timer::time_point::max());
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    if (exchange.head().target == "/held") co_await held.async_wait(asio::as_tuple(use_awaitable));
    co_await respond_text(exchange, 200, "done");
  });
  Http2Client idle(f);
  idle.ask(Http2Client::get("/"));
  f.clock.advance(76s);
  idle.talk();
  CHECK(idle.closed());

  Http2Client busy(f);
  const auto stream = busy.send(Http2Client::get("/held"));
  bool stopped = false;
  asio::co_spawn(f.loop, f.server->stop(std::chrono::seconds(30)), [&](std::exception_ptr) { stopped = true; });
  f.clock.advance(1s);
  busy.talk();
  CHECK_FALSE(stopped);
  held.cancel();
  f.settle();
  busy.talk();
  CHECK(busy.answers[stream].body == "done\n");
  f.clock.advance(1s);
  CHECK(stopped);
}

TEST_CASE("floods end the connection: resets, pings, settings, more streams than allowed") {
  HttpFixture f;
  int asked = 0;
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    ++asked;
    co_await exchange.wait_gone();
  });
  {
    Http2Client rapid(f);
    for (int i = 0; i < 1000 && !rapid.closed(); ++i) {
      const auto stream = rapid.send(Http2Client::get("/"));
      if (stream < 0) break;
      nghttp2_submit_rst_stream(rapid.session(), 0, stream, NGHTTP2_CANCEL);
      rapid.talk();
    }
    CHECK(rapid.closed());
    CHECK(asked < 300);
  }
  {
    Http2Client pings(f);
    pings.talk();
    pings.deaf = true;
    std::string flood;
    for (int i = 0; i < 200'000; ++i) flood += std::string("\0\0\x08\x06\0\0\0\0\0ABCDEFGH", 17);
    bool closed = false;
    for (std::size_t at = 0; at < flood.size() && !closed; at += 170'000) {
      pings.send_raw(std::string_view(flood).substr(at, 170'000));
      closed = f.server->connections() == 0;
    }
    CHECK(closed);
  }
  {
    Http2Client many(f);
    many.talk();
    for (int i = 0; i < 200; ++i) many.send(Http2Client::get("/"));
    many.talk();
    CHECK(f.server->in_flight() == 100);
  }
  f.settle();
  CHECK(f.server->in_flight() == 0);
}

TEST_CASE("garbage after the preface of HTTP/2 closes the connection") {
  HttpFixture f;
  f.serve(echo_all);
  auto client = f.connect();
  client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: v.test\r\n\r\n");
  f.settle();
  CHECK(client.closed());
  auto half = f.connect();
  CHECK_THAT(f.talk(half, "PRI * HTTP/2.1\r\n\r\n"), StartsWith("HTTP/1.1 "));
}

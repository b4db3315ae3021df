// The strict parsers: heads, framing, chunks. Every verdict is the same for whole input and for one byte at a time.
#include <catch2/catch.hpp>

#include "chunked.hpp"
#include "head_parser.hpp"

using namespace wick::http;

namespace {

template <class Parser>
Parsed feed_whole(Parser& parser, std::string_view text) {
  return parser.parse(text);
}

template <class Parser>
Parsed feed_bytes(Parser& parser, std::string_view text) {
  for (std::size_t size = 1; size <= text.size(); ++size)
    if (const auto parsed = parser.parse(text.substr(0, size)); parsed != Parsed::incomplete) return parsed;
  return Parsed::incomplete;
}

/// 0 where the head is accepted, -1 where it is incomplete, else the status of the refusal.
int verdict(std::string_view text, HeadLimits limits = {}) {
  RequestParser whole(limits);
  RequestParser bytes(limits);
  const auto parsed = feed_whole(whole, text);
  REQUIRE(feed_bytes(bytes, text) == parsed);
  REQUIRE(bytes.refusal().status == whole.refusal().status);
  if (parsed == Parsed::incomplete) return -1;
  return parsed == Parsed::complete ? 0 : whole.refusal().status;
}

int response_verdict(std::string_view text) {
  ResponseParser parser((HeadLimits()));
  const auto parsed = parser.parse(text);
  if (parsed == Parsed::incomplete) return -1;
  return parsed == Parsed::complete ? 0 : 502;
}

std::string get(std::string fields) { return "GET / HTTP/1.1\r\nHost: v.test\r\n" + fields + "\r\n"; }
std::string line(std::string start) { return start + "\r\nHost: v.test\r\n\r\n"; }
std::string host(std::string value) { return "GET / HTTP/1.1\r\nHost: " + value + "\r\n\r\n"; }

struct Chunked {
  ChunkDecoder::Status status;
  std::string body;
  std::size_t consumed;
};

Chunked decode(std::string_view text, std::size_t step_bytes) {
  ChunkDecoder decoder;
  std::string body;
  std::size_t at = 0;
  std::size_t visible = 0;
  while (true) {
    const auto step = decoder.step(text.substr(at, visible - at));
    at += step.consumed;
    body += step.data;
    if (step.status == ChunkDecoder::Status::done || step.status == ChunkDecoder::Status::failed)
      return {step.status, body, at};
    if (step.status == ChunkDecoder::Status::need_more) {
      if (visible == text.size()) return {step.status, body, at};
      visible = std::min(text.size(), visible + step_bytes);
    }
  }
}

ChunkDecoder::Status chunk_verdict(std::string_view text) {
  const auto whole = decode(text, text.size());
  const auto bytes = decode(text, 1);
  REQUIRE(whole.status == bytes.status);
  REQUIRE(whole.body == bytes.body);
  if (whole.status == ChunkDecoder::Status::done) REQUIRE(whole.consumed == bytes.consumed);
  return whole.status;
}

}  // namespace

TEST_CASE("a request head is taken apart") {
  const std::string text =
      "POST /a?b=c HTTP/1.1\r\nHost: V.test:80\r\nX-A:  two words \t\r\nContent-Length: 5\r\n\r\nhello";
  RequestParser parser((HeadLimits()));
  REQUIRE(parser.parse(text) == Parsed::complete);
  const auto at = [&](Span span) { return HeadParser::text(text, span); };
  CHECK(at(parser.method()) == "POST");
  CHECK(at(parser.target()) == "/a?b=c");
  CHECK(at(parser.authority()) == "V.test:80");
  REQUIRE(parser.fields().size() == 3);
  CHECK(at(parser.fields()[1].name) == "X-A");
  CHECK(at(parser.fields()[1].value) == "two words");
  CHECK(parser.framing() == Framing{BodyKind::length, 5});
  CHECK(text.substr(parser.head_bytes()) == "hello");
  CHECK(parser.keep_alive());
}

TEST_CASE("request lines are judged by RFC 9112 section 3") {
  CHECK(verdict(line("GET / HTTP/1.1")) == 0);
  CHECK(verdict("\r\n" + line("GET / HTTP/1.1")) == 0);
  CHECK(verdict("\r\n\r\n" + line("GET / HTTP/1.1")) == 400);
  CHECK(verdict(line("PURGE /x HTTP/1.1")) == 0);
  CHECK(verdict(line("GET / HTTP/1.2")) == 0);
  CHECK(verdict(line("GET /a%00b HTTP/1.1")) == 0);  // an application's matter
  for (const auto* bad : {"GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET /",
                          "GET / http/1.1", "GET / HTTP/1.10", "GET / HTTP/+1.1", "G@T / HTTP/1.1", "GET x HTTP/1.1",
                          "GET * HTTP/1.1", "GET v.test:80 HTTP/1.1", "GET /a\tb HTTP/1.1", "GET /\xc3\xa9 HTTP/1.1",
                          "GET /#f HTTP/1.1", "GET file:///etc/passwd HTTP/1.1", "GET http:///x HTTP/1.1",
                          "GET http://u@v.test/ HTTP/1.1", "GET / HTTP/0.9"}) {
    CAPTURE(bad);
    CHECK(verdict(line(bad)) == 400);
  }
  CHECK(verdict(line("GET / HTTP/2.0")) == 505);
  CHECK(verdict(line("CONNECT v.test:80 HTTP/1.1")) == 405);
  CHECK(verdict(line("TRACE / HTTP/1.1")) == 405);
  CHECK(verdict(line(std::string(65, 'A') + " / HTTP/1.1")) == 501);
  CHECK(verdict("GET / HTTP/1.1\nHost: v.test\n\n") == 400);
  CHECK(verdict("GET / HTTP/1.1\r\nHost: v.test\r\n") == -1);
}

TEST_CASE("the authority comes from an absolute target before Host") {
  const std::string text = "GET http://Real.test:8080/x HTTP/1.1\r\nHost: other.test\r\n\r\n";
  RequestParser parser((HeadLimits()));
  REQUIRE(parser.parse(text) == Parsed::complete);
  CHECK(HeadParser::text(text, parser.authority()) == "Real.test:8080");
  CHECK(HeadParser::text(text, parser.target()) == "/x");
  CHECK(verdict(line("GET http://v.test HTTP/1.1")) == 0);
}

TEST_CASE("Host is one valid authority") {
  for (const auto* good : {"v.test", "V.TEST", "v.test:", "v.test:8080", "[::1]", "[::1]:8080", "[2001:db8::1.2.3.4]",
                           "v.test.", "a_b.test", "v.test%00", "0.0.0.0=5000"}) {
    CAPTURE(good);
    CHECK(verdict(host(good)) == 0);
  }
  for (const auto* bad : {"", "a b", "a@b", "a/b", "a?b", "a\\b", "::1", "v.test:99999", "v.test:x", "v.test:80:80",
                          "[::1", "[x]", "v.test%0", "v\xc3\xa9.test", "a,b\"c"}) {
    CAPTURE(bad);
    CHECK(verdict(host(bad)) == 400);
  }
  CHECK(verdict("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n") == 400);
  CHECK(verdict("GET / HTTP/1.1\r\n\r\n") == 400);
  CHECK(verdict("GET / HTTP/1.0\r\n\r\n") == 0);
}

TEST_CASE("fields are judged by RFC 9112 section 5") {
  CHECK(verdict(get("X-A:\r\n")) == 0);
  CHECK(verdict(get("X-A: \t \r\n")) == 0);
  CHECK(verdict(get("X-A: caf\xc3\xa9\r\n")) == 0);
  for (const auto* bad :
       {"X-A : 1\r\n", "X-A\t: 1\r\n", "X A: 1\r\n", "X-A 1\r\n", ": 1\r\n", "X(A): 1\r\n", "X-A: a\r\n b\r\n",
        "X-A: a\rb\r\n", "X-A: a\nb\r\n", "X-A: a\x7f\r\n", "X-A: a\x01\r\n", " X-A: 1\r\n"}) {
    CAPTURE(bad);
    CHECK(verdict(get(bad)) == 400);
  }
  CHECK(verdict(get(std::string("X-A: a\0b\r\n", 10))) == 400);
  CHECK(verdict(get("Expect: 100-Continue\r\n")) == 0);
  CHECK(verdict(get("Expect: more\r\n")) == 417);
}

TEST_CASE("framing fields are judged by RFC 9112 section 6") {
  for (const auto* good : {"Content-Length: 0\r\n", "Content-Length: 003\r\n", "Content-Length: 5, 5\r\n",
                           "Content-Length: 5\r\nContent-Length: 5\r\n", "Transfer-Encoding: \tCHUNKED\t\r\n"}) {
    CAPTURE(good);
    CHECK(verdict(get(good)) == 0);
  }
  for (const auto* bad :
       {"Content-Length: \r\n", "Content-Length: +5\r\n", "Content-Length: -5\r\n", "Content-Length: 0x5\r\n",
        "Content-Length: 1 0\r\n", "Content-Length: 5,\r\n", "Content-Length: 5, 6\r\n",
        "Content-Length: 9223372036854775808\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"}) {
    CAPTURE(bad);
    CHECK(verdict(get(bad)) == 400);
  }
  for (const auto* unknown :
       {"Transfer-Encoding: gzip\r\n", "Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;a=b\r\n", "Transfer-Encoding:\r\n"}) {
    CAPTURE(unknown);
    CHECK(verdict(get(unknown)) == 501);
  }
  CHECK(verdict("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
}

TEST_CASE("a head past its limits is refused before it is complete") {
  const HeadLimits limits{.head_bytes_max = 400, .line_bytes_max = 100, .fields_max = 3};
  CHECK(verdict("GET /" + std::string(120, 'a'), limits) == 414);
  CHECK(verdict("GET / HTTP/1.1\r\nX: " + std::string(120, 'a'), limits) == 431);
  CHECK(verdict(get("A: 1\r\nB: 1\r\n"), limits) == 0);
  CHECK(verdict(get("A: 1\r\nB: 1\r\nC: 1\r\n"), limits) == 431);
  const std::string field = "X: " + std::string(90, 'a') + "\r\n";
  const HeadLimits many{.head_bytes_max = 400, .line_bytes_max = 100, .fields_max = 100};
  CHECK(verdict(get(field + field + field + field), many) == 431);
}

TEST_CASE("only a complete WebSocket handshake is one") {
  const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  const auto wants = [](const std::string& text) {
    RequestParser parser((HeadLimits()));
    REQUIRE(parser.parse(text) == Parsed::complete);
    return parser.wants_websocket();
  };
  CHECK(wants(get("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n" + key)));
  CHECK_FALSE(wants(get("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" + key)));
  CHECK_FALSE(wants(get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n" + key)));
  CHECK_FALSE(wants(get("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")));
  CHECK_FALSE(wants(get("Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Version: 13\r\n" + key)));
}

TEST_CASE("responses are framed by RFC 9112 section 6.3") {
  const auto framing = [](std::string text, bool head_request = false) {
    ResponseParser parser((HeadLimits()));
    parser.answers_head(head_request);
    REQUIRE(parser.parse(text) == Parsed::complete);
    return parser.framing();
  };
  CHECK(framing("HTTP/1.1 200 OK\r\n\r\n").kind == BodyKind::until_close);
  CHECK(framing("HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n") == Framing{BodyKind::length, 3});
  CHECK(framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").kind == BodyKind::chunked);
  CHECK(framing("HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\n").kind == BodyKind::none);
  CHECK(framing("HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n").kind == BodyKind::none);
  CHECK(framing("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true).kind == BodyKind::none);
  for (const auto* bad :
       {"HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 600 x\r\n\r\n", "HTTP/1.1 2x0 x\r\n\r\n", "HTTP/2 200 x\r\n\r\n",
        "ICY 200 OK\r\n\r\n", "HTTP/1.1\t200 OK\r\n\r\n", "HTTP/1.1 200 a\rb\r\n\r\n", "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    CAPTURE(bad);
    CHECK(response_verdict(bad) == 502);
  }
}

TEST_CASE("chunked bodies are decoded by RFC 9112 section 7.1") {
  const auto done = decode("5;a=b;c=\"d\\\"e\"\r\nhello\r\n0006 ;x\r\n world\r\n000\r\nX-T: 1\r\n\r\nGET /", 3);
  CHECK(done.status == ChunkDecoder::Status::done);
  CHECK(done.body == "hello world");
  for (const auto* good :
       {"0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n", "A;x\r\n0123456789\r\n0\r\n\r\n", "1 ;a = b\r\nx\r\n0\r\n\r\n"})
    CHECK(chunk_verdict(good) == ChunkDecoder::Status::done);
  for (const auto* bad : {"\r\n",
                          "x\r\n",
                          "+5\r\n",
                          "-5\r\n",
                          "0x5\r\n",
                          "5,5\r\n",
                          "5 \r\nhello",
                          "5\nhello",
                          "5;\nhello",
                          "5;\r\nhello",
                          "5;=b\r\n",
                          "5;a=\"\r\nhello",
                          "5;a\rb",
                          "4\r\nhello\r\n",
                          "6\r\nhello\r\n0\r\n",
                          "ffffffffffffffff\r\n",
                          "10000000000000005\r\n",
                          "0\r\nBad Trailer: 1\r\n\r\n",
                          "0\r\n folded\r\n\r\n",
                          "0\r\nX: a\x01\r\n\r\n",
                          "0\r\n\rx",
                          "5\r\nhello\rx"}) {
    CAPTURE(bad);
    CHECK(chunk_verdict(bad) == ChunkDecoder::Status::failed);
  }
  CHECK(chunk_verdict("5\r\nhel") == ChunkDecoder::Status::need_more);
  CHECK(chunk_verdict(std::string(100, '0') + "1\r\nx\r\n0\r\n\r\n") == ChunkDecoder::Status::done);
  CHECK(chunk_verdict(std::string(200, '0') + "1\r\nx\r\n0\r\n\r\n") == ChunkDecoder::Status::failed);
  CHECK(chunk_verdict("1;" + std::string(5000, 'a') + "\r\nx\r\n0\r\n\r\n") == ChunkDecoder::Status::failed);
  CHECK(chunk_verdict("0\r\nX: " + std::string(9000, 'a') + "\r\n\r\n") == ChunkDecoder::Status::failed);
}

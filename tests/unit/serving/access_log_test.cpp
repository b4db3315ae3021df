#include "access_log.hpp"

#include <catch2/catch.hpp>

#include <boost/json/parse.hpp>

using namespace wick;
using namespace wick::serving;

namespace {

class Asked final : public http::Exchange {
 public:
  const http::RequestHead& head() const override { return asked; }
  std::string_view peer() const override { return "192.0.2.1"; }
  long peer_uid() const override { return -1; }
  std::string_view id() const override { return "r-1"; }
  awaitable<Result<std::size_t>> read_some(std::span<char>) override { co_return 0; }
  awaitable<Result<void>> respond(http::ResponseHead, std::string) override { co_return Result<void>(); }
  awaitable<Result<void>> start(http::ResponseHead) override { co_return Result<void>(); }
  awaitable<Result<void>> write(std::string_view) override { co_return Result<void>(); }
  awaitable<Result<void>> finish() override { co_return Result<void>(); }
  bool started() const override { return false; }
  awaitable<void> wait_gone() override { co_return; }

  http::RequestHead asked;
};

boost::json::object line_of(const Asked& exchange, const RequestRecord& record) {
  std::string line;
  const RevisionSpec revision{.key = {"team", "shop-00002"}, .service = "shop", .configuration = "shop"};
  append_access_line(line, exchange, record, revision);
  CHECK(line.ends_with("}\n"));
  CHECK(std::ranges::count(line, '\n') == 1);
  return boost::json::parse(line).as_object();
}

}  // namespace

TEST_CASE("an access log line has Knative's request log fields, and the route it took") {
  Asked exchange;
  exchange.asked.target = "/cart?id=7";
  exchange.asked.authority = "shop.team.example.com";
  exchange.asked.fields = {{"User-Agent", "curl/7"},
                           {"Referer", "http://a/"},
                           {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}};
  const auto line = line_of(exchange, {.id = "r-1",
                                       .method = "GET",
                                       .target = "/cart?id=7",
                                       .status = 201,
                                       .total = 12ms,
                                       .queued = 3ms,
                                       .cold = true,
                                       .tag = "blue",
                                       .request_bytes = 5,
                                       .response_bytes = 1234});
  const auto& request = line.at("httpRequest").as_object();
  CHECK(request.at("requestMethod") == "GET");
  CHECK(request.at("requestUrl") == "/cart?id=7");
  CHECK(request.at("requestSize") == "5");
  CHECK(request.at("status") == 201);
  CHECK(request.at("responseSize") == "1234");
  CHECK(request.at("userAgent") == "curl/7");
  CHECK(request.at("remoteIp") == "192.0.2.1");
  CHECK(request.at("referer") == "http://a/");
  CHECK(request.at("latency") == "0.012000s");
  CHECK(request.at("protocol") == "HTTP/1.1");
  CHECK(line.at("traceId") == "0af7651916cd43dd8448eb211c80319c");
  CHECK(line.at("host") == "shop.team.example.com");
  CHECK(line.at("revision") == "shop-00002");
  CHECK(line.at("routeTag") == "blue");
  CHECK(line.at("queued") == "0.003000s");
  CHECK(line.at("coldStart") == true);
}

TEST_CASE("an access log line stays one valid JSON line, whatever a client sends") {
  Asked exchange;
  for (const std::string hostile : {"\"}\n{\"a\":\"", "\\", "\x01\x7f", "\xff\xfe", "\xc3", "\xe2\x82",
                                    "\xc3\xa9\xf0\x9f\x98\x80", "\xed\xa0\x80x"}) {
    exchange.asked.fields = {{"User-Agent", hostile}};
    exchange.asked.target = "/" + hostile;
    line_of(exchange, {.status = 200});
  }
  exchange.asked.fields = {{"User-Agent", std::string(100'000, 'a')}};
  CHECK(line_of(exchange, {}).at("httpRequest").at("userAgent").as_string().size() < 2100);
}

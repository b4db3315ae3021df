// The PROXY protocol: what a load balancer says of the client, and what is refused.
#include "proxy_header.hpp"
#include <netinet/in.h>

#include "http_fixture.hpp"

using namespace wick;
using namespace wick::http;

namespace {

using State = ProxyHeader::State;

std::string binary(int command, int family, std::string_view addresses) {
  std::string text("\r\n\r\n\0\r\nQUIT\n", 12);
  text += static_cast<char>(0x20 | command);
  text += static_cast<char>(family << 4 | 1);
  text += static_cast<char>(addresses.size() >> 8);
  text += static_cast<char>(addresses.size() & 255);
  return text.append(addresses);
}

awaitable<void> tell_peer(Exchange& exchange) {
  co_await respond_text(exchange, 200,
                        std::string(exchange.peer()) + (exchange.from_trusted_proxy() ? " trusted" : ""));
}

const std::string get = "GET / HTTP/1.1\r\nHost: v.test\r\n\r\n";

struct BehindProxy : HttpFixture {
  explicit BehindProxy(std::string_view trusted) {
    server = std::make_unique<Server>(loop.get_executor(), clock, ServerLimits{}, tell_peer);
    server->trust(*TrustedProxies::parse(trusted));
    auto listener = listen_on("127.0.0.1:0").value();
    port = bound_address(listener);
    server->listen(std::move(listener), {.tls = nullptr, .clear_too = false, .proxy_header = true});
    settle();
  }
  Wire connect_tcp() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port.substr(port.find(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    settle();
    return Wire(fd);
  }
  std::string port;
};

}  // namespace

TEST_CASE("headers of both versions of the PROXY protocol name the client") {
  const std::string four("\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x34\x01\xbb", 12);
  const std::string six =
      std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\1" + std::string(16, '\2') + "\1\2\3\4";
  const std::pair<std::string, std::string> cases[] = {
      {"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", "192.0.2.1"},
      {"PROXY TCP6 2001:DB8::1 ::1 1 65535\r\n", "2001:db8::1"},
      {"PROXY UNKNOWN\r\n", ""},
      {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""},
      {binary(1, 1, four), "192.0.2.1"},
      {binary(1, 1, four + std::string("\x04\x00\x01\x07", 4)), "192.0.2.1"},
      {binary(1, 2, six), "2001:db8::1"},
      {binary(0, 0, ""), ""},
      {binary(1, 3, std::string(216, '\0')), ""},
  };
  for (const auto& [text, client] : cases) {
    CAPTURE(text);
    const auto whole = read_proxy_header(text + "GET / HTTP/1.1\r\n");
    CHECK(whole.state == State::complete);
    CHECK(whole.bytes == text.size());
    CHECK(whole.client == client);
    for (std::size_t part = 0; part < text.size(); ++part)
      CHECK(read_proxy_header(text.substr(0, part)).state == State::incomplete);
  }
}

TEST_CASE("what is no header of the PROXY protocol is refused") {
  const std::string cases[] = {
      get,
      "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
      "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
      "PROXY TCP4 ::1 ::1 1 2\r\n",
      "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
      "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
      "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
      "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
      "PROXY " + std::string(120, 'x'),
      binary(2, 1, std::string(12, '\0')),
      binary(1, 1, std::string(11, '\0')),
      binary(1, 5, std::string(12, '\0')),
      binary(1, 1, std::string(1020, '\0')),
      std::string("\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c", 16),
  };
  for (const auto& text : cases) {
    CAPTURE(text);
    CHECK(read_proxy_header(text).state == State::failed);
  }
}

TEST_CASE("behind a load balancer the client is the one it names, and is not trusted as the balancer is") {
  BehindProxy f("127.0.0.0/8");
  auto wire = f.connect_tcp();
  CHECK(f.talk(wire, "PROXY TCP4 192.0.2.1 ") == "");
  CHECK_THAT(f.talk(wire, "192.0.2.2 56324 443\r\n" + get), EndsWith("192.0.2.1\n"));
  CHECK_THAT(f.talk(wire, get), EndsWith("192.0.2.1\n"));
  auto own = f.connect_tcp();
  CHECK_THAT(f.talk(own, "PROXY UNKNOWN\r\n" + get), EndsWith("127.0.0.1 trusted\n"));
}

TEST_CASE("without its header, or from a stranger, nothing is answered; who sends none in time is closed") {
  BehindProxy f("127.0.0.0/8");
  auto bare = f.connect_tcp();
  CHECK(f.talk(bare, get) == "");
  CHECK(bare.closed());
  auto silent = f.connect_tcp();
  f.clock.advance(11s);
  CHECK(silent.closed());
  BehindProxy strangers("10.0.0.0/8");
  auto stranger = strangers.connect_tcp();
  CHECK(strangers.talk(stranger, "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n" + get) == "");
  CHECK(stranger.closed());
}

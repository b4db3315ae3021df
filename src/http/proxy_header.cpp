#include "proxy_header.hpp"

#include <arpa/inet.h>

#include <array>

#include "wick/base/text.hpp"

namespace wick::http {

namespace {

using State = ProxyHeader::State;

constexpr std::string_view signature2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view signature1 = "PROXY ";
constexpr std::size_t line_bytes_max = 107;
constexpr std::size_t fixed_bytes = 16;

ProxyHeader failed() { return {.state = State::failed, .bytes = 0, .client = {}}; }

/// The address in its usual form; empty for what is none.
std::string normal_address(int family, std::string_view text) {
  unsigned char address[16];
  char normal[INET6_ADDRSTRLEN];
  if (inet_pton(family, std::string(text).c_str(), address) != 1) return {};
  return inet_ntop(family, address, normal, sizeof normal);
}

bool is_port(std::string_view text) {
  const auto port = parse_unsigned(text);
  return port && *port <= 65535 && (text.size() == 1 || text.front() != '0');
}

/// "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
ProxyHeader read_line(std::string_view bytes) {
  const auto end = bytes.find("\r\n");
  if (end == bytes.npos) return bytes.size() >= line_bytes_max ? failed() : ProxyHeader{};
  if (end + 2 > line_bytes_max) return failed();
  ProxyHeader header{.state = State::complete, .bytes = end + 2, .client = {}};
  const auto words = split(bytes.substr(0, end), ' ');
  if (words.size() >= 2 && words[1] == "UNKNOWN") return header;
  if (words.size() != 6 || !is_port(words[4]) || !is_port(words[5])) return failed();
  const int family = words[1] == "TCP4" ? AF_INET : words[1] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (family == AF_UNSPEC || normal_address(family, words[3]).empty()) return failed();
  header.client = normal_address(family, words[2]);
  return header.client.empty() ? failed() : header;
}

ProxyHeader read_binary(std::string_view bytes) {
  if (bytes.size() < fixed_bytes) return {};
  const auto at = [&](std::size_t index) { return static_cast<unsigned char>(bytes[index]); };
  const std::size_t length = at(14) << 8 | at(15);
  const int version = at(12) >> 4, command = at(12) & 15, family = at(13) >> 4;
  if (version != 2 || command > 1 || fixed_bytes + length > ProxyHeader::bytes_max) return failed();
  if (bytes.size() < fixed_bytes + length) return {};
  ProxyHeader header{.state = State::complete, .bytes = fixed_bytes + length, .client = {}};
  if (command == 0) return header;
  char text[INET6_ADDRSTRLEN];
  const auto* address = bytes.data() + fixed_bytes;
  if (family == 1 && length >= 12) header.client = inet_ntop(AF_INET, address, text, sizeof text);
  if (family == 2 && length >= 36) header.client = inet_ntop(AF_INET6, address, text, sizeof text);
  const bool has_no_address = family == 0 || family == 3;  // unspecified, or a unix socket of the proxy's machine
  return header.client.empty() && !has_no_address ? failed() : header;
}

}  // namespace

ProxyHeader read_proxy_header(std::string_view bytes) {
  const auto begins = [bytes](std::string_view signature) {
    return bytes.substr(0, signature.size()) == signature.substr(0, bytes.size());
  };
  if (begins(signature1)) return bytes.size() < signature1.size() ? ProxyHeader{} : read_line(bytes);
  if (begins(signature2)) return bytes.size() < signature2.size() ? ProxyHeader{} : read_binary(bytes);
  return failed();
}

}  // namespace wick::http

#include "trace_context.hpp"

#include <sys/random.h>

#include <stdexcept>

namespace wick::http {

namespace {

bool is_lower_hex(std::string_view text) {
  for (const char c : text)
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  return true;
}

bool is_id(std::string_view text) {
  return is_lower_hex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

void append_hex(std::string& text, std::uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[(value >> shift) & 15];
}

}  // namespace

bool is_traceparent(std::string_view text) {
  constexpr std::size_t size = 55;
  if (text.size() < size || text[2] != '-' || text[35] != '-' || text[52] != '-') return false;
  const auto version = text.substr(0, 2);
  if (!is_lower_hex(version) || version == "ff") return false;
  if (version == "00" ? text.size() != size : text.size() > size && text[size] != '-') return false;
  return is_id(text.substr(3, 32)) && is_id(text.substr(36, 16)) && is_lower_hex(text.substr(53, 2));
}

TraceSource::TraceSource() {
  if (getrandom(state_, sizeof state_, 0) != sizeof state_) throw std::runtime_error("getrandom failed");
  state_[0] |= 1;  // the all-zero state would stay there
}

std::uint64_t TraceSource::next() {
  auto a = state_[0];
  const auto b = state_[1];
  state_[0] = b;
  a ^= a << 23;
  state_[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
  return state_[1] + b;
}

void TraceSource::append(std::string& text) {
  text += "00-";
  append_hex(text, next() | 1);
  append_hex(text, next());
  text += '-';
  append_hex(text, next() | 1);
  text += "-01";
}

}  // namespace wick::http

// What the parts of a message are made of, for both sides: ids, digests, texts and layers in structs of fixed size, and
// the rules that the runner holds what it is told to, which the front asks before it says it.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "protocol.hpp"

namespace wick::container::protocol {

/// Errors: invalid, of every function here.
Result<InstanceId> parse_id(const char (&bytes)[InstanceId::size]);
bool is_blank(const char (&bytes)[InstanceId::size]);
void put_id(char (&target)[InstanceId::size], const InstanceId& id);
Result<Digest> parse_digest(const std::uint8_t (&bytes)[Digest::size]);
Result<std::vector<Digest>> parse_layers(const LayerList& list);
Result<void> put_layers(LayerList& target, const std::vector<Digest>& layers);

template <std::size_t N>
Result<std::string> parse_text(const Text<N>& text, std::string_view what) {
  if (text.length > N)
    return fail(Errc::invalid, fmt::format("{} claims {} bytes, at most {} fit", what, text.length, N));
  std::string out(text.bytes, text.length);
  if (out.find('\0') != std::string::npos) return fail(Errc::invalid, fmt::format("{} has a NUL inside", what));
  return out;
}

template <std::size_t N>
Result<void> put_text(Text<N>& target, std::string_view text, std::string_view what) {
  if (text.size() > N)
    return fail(Errc::invalid, fmt::format("{} is {} bytes long, at most {} are allowed", what, text.size(), N));
  if (text.contains('\0')) return fail(Errc::invalid, fmt::format("{} has a NUL inside", what));
  target.length = static_cast<std::uint32_t>(text.size());
  std::ranges::copy(text, target.bytes);
  return {};
}

Result<void> check_process(const Process& process);
Result<void> check_spec(const InstanceSpec& spec);
Result<void> check_pod(const InstanceSpec& spec);

}  // namespace wick::container::protocol

// The part of DNS that a forwarder with a few names of its own needs (RFC 1035): who asks for what, and short answers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::container::dns {

inline constexpr std::size_t udp_bytes_max = 4096;  // of a query or an answer with EDNS
inline constexpr std::uint16_t type_a = 1;
inline constexpr std::uint16_t type_aaaa = 28;
inline constexpr std::uint16_t type_any = 255;
inline constexpr std::uint16_t class_in = 1;

enum class Code : std::uint8_t { ok = 0, server_failure = 2, no_such_name = 3, refused = 5 };

struct Question {
  std::uint16_t id = 0;
  std::string name;  // lower case, without the last dot; a byte of a label that is no letter, digit, '-' or '_' is '?'
  std::uint16_t type = 0;
  std::uint16_t klass = 0;
  std::size_t end = 0;  // of the question in the message
};

/// Of a message with exactly one question. Errors: invalid.
Result<Question> parse_question(std::string_view message);

/// The answer to `query`, which has `question`: its head and question again, then the addresses (4 or 16 bytes each).
std::string answer(std::string_view query, const Question& question, Code code,
                   const std::vector<std::string>& addresses = {});

/// Whether `reply` is one to `query`: same question, a response. Its id is not looked at.
bool answers(std::string_view reply, const Question& question);

/// `message` with another id.
std::string with_id(std::string_view message, std::uint16_t id);

}  // namespace wick::container::dns

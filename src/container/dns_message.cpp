#include "dns_message.hpp"

#include <fmt/format.h>

namespace wick::container::dns {

namespace {

constexpr std::size_t head_bytes = 12;
constexpr std::size_t name_bytes_max = 255;
constexpr std::uint32_t answer_seconds = 5;  // a service may be gone soon

std::uint16_t number_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[at]) << 8 |
                                    static_cast<unsigned char>(bytes[at + 1]));
}

void put16(std::string& out, std::uint32_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value);
}

char plain(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  const bool known = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  return known ? c : '?';
}

}  // namespace

Result<Question> parse_question(std::string_view message) {
  if (message.size() < head_bytes) return fail(Errc::invalid, "a DNS message shorter than its head");
  Question question;
  question.id = number_at(message, 0);
  if (number_at(message, 4) != 1) return fail(Errc::invalid, "a DNS message without its one question");
  std::size_t at = head_bytes;
  while (true) {
    if (at >= message.size()) return fail(Errc::invalid, "a DNS name that is cut");
    const auto length = static_cast<unsigned char>(message[at]);
    if (length == 0) break;
    // Two high bits are a pointer, which a question has no use for.
    if (length > 63 || at + 1 + length > message.size()) return fail(Errc::invalid, "a DNS label that is none");
    if (!question.name.empty()) question.name += '.';
    for (const char c : message.substr(at + 1, length)) question.name += plain(c);
    if (question.name.size() > name_bytes_max) return fail(Errc::invalid, "a DNS name past 255 bytes");
    at += 1U + length;
  }
  if (at + 5 > message.size()) return fail(Errc::invalid, "a DNS question that is cut");
  question.type = number_at(message, at + 1);
  question.klass = number_at(message, at + 3);
  question.end = at + 5;
  return question;
}

std::string answer(std::string_view query, const Question& question, Code code,
                   const std::vector<std::string>& addresses) {
  std::string out(query.substr(0, question.end));
  const auto recursion_desired = static_cast<unsigned char>(query[2]) & 0x79U;  // opcode and RD as asked
  out[2] = static_cast<char>(0x80U | recursion_desired);
  out[3] = static_cast<char>(0x80U | static_cast<unsigned>(code));  // recursion available
  out[6] = 0;
  out[7] = static_cast<char>(addresses.size());
  for (std::size_t i = 8; i < head_bytes; ++i) out[i] = 0;
  for (const auto& address : addresses) {
    put16(out, 0xc000 | head_bytes);  // the name of the question
    put16(out, address.size() == 4 ? type_a : type_aaaa);
    put16(out, class_in);
    put16(out, answer_seconds >> 16);
    put16(out, answer_seconds & 0xffff);
    put16(out, static_cast<std::uint32_t>(address.size()));
    out += address;
  }
  return out;
}

bool answers(std::string_view reply, const Question& question) {
  if (reply.size() < head_bytes || !(static_cast<unsigned char>(reply[2]) & 0x80U)) return false;
  auto other = parse_question(reply);
  return other && other->name == question.name && other->type == question.type && other->klass == question.klass;
}

std::string with_id(std::string_view message, std::uint16_t id) {
  std::string out(message);
  out[0] = static_cast<char>(id >> 8);
  out[1] = static_cast<char>(id);
  return out;
}

}  // namespace wick::container::dns

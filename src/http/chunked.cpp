#include "chunked.hpp"

#include <algorithm>
#include <limits>

#include "chars.hpp"

namespace wick::http {

ChunkDecoder::Status ChunkDecoder::fail(const char* reason) {
  state_ = State::failed;
  reason_ = reason;
  return Status::failed;
}

ChunkDecoder::Step ChunkDecoder::step(std::string_view input) {
  std::size_t at = 0;
  while (true) {
    if (state_ == State::failed) return {Status::failed, at, {}};
    if (state_ == State::done) return {Status::done, at, {}};
    if (at == input.size()) return {Status::need_more, at, {}};
    if (state_ == State::data) {
      const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size() - at));
      left_ -= take;
      if (left_ == 0) state_ = State::data_cr;
      return {Status::data, at + take, input.substr(at, take)};
    }
    if (!framing_byte(input[at])) {
      fail(reason_);
      return {Status::failed, at, {}};
    }
    ++at;
  }
}

bool ChunkDecoder::framing_byte(char c) {
  switch (state_) {
    case State::size_first:
    case State::size:
      return size_byte(c);
    case State::size_lf:
      reason_ = "chunk size line does not end in CRLF";
      return c == '\n' && end_size_line();
    case State::data_cr:
      reason_ = "chunk data is not followed by CRLF";
      state_ = State::data_lf;
      return c == '\r';
    case State::data_lf:
      reason_ = "chunk data is not followed by CRLF";
      state_ = State::size_first;
      return c == '\n';
    case State::trailer_first:
    case State::trailer_name:
    case State::trailer_value:
    case State::trailer_lf:
    case State::last_lf:
      return trailer_byte(c);
    default:
      return extension_byte(c);
  }
}

bool ChunkDecoder::size_byte(char c) {
  reason_ = "chunk size is not a hexadecimal number";
  if (const int digit = chars::hex_digit(c); digit >= 0) {
    constexpr auto size_max = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (left_ > (size_max - static_cast<std::uint64_t>(digit)) / 16) {
      reason_ = "chunk size is too large";
      return false;
    }
    left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
    state_ = State::size;
    return ++size_digits_ <= size_digits_max;
  }
  if (state_ == State::size_first) return false;
  if (c == '\r') {
    state_ = State::size_lf;
    return true;
  }
  if (c == ';') {
    state_ = State::extension_name_first;
    return true;
  }
  state_ = State::extension_blank;
  return chars::is_blank(c);
}

bool ChunkDecoder::extension_byte(char c) {
  // chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
  reason_ = "chunk extension is malformed";
  if (++extension_bytes_ > limits_.extension_bytes_max) {
    reason_ = "chunk extensions are too long";
    return false;
  }
  const auto next = [this](State state) {
    state_ = state;
    return true;
  };
  switch (state_) {
    case State::extension_blank:
      if (chars::is_blank(c)) return true;
      return c == ';' && next(State::extension_name_first);
    case State::extension_name_first:
      if (chars::is_blank(c)) return true;
      return chars::is_token(c) && next(State::extension_name);
    case State::extension_name:
      if (chars::is_token(c)) return true;
      if (chars::is_blank(c)) return next(State::extension_name_blank);
      break;
    case State::extension_name_blank:
      if (chars::is_blank(c)) return true;
      if (c == '\r') return false;
      break;
    case State::extension_value_first:
      if (chars::is_blank(c)) return true;
      if (c == '"') return next(State::extension_quoted);
      return chars::is_token(c) && next(State::extension_token);
    case State::extension_token:
      if (chars::is_token(c)) return true;
      if (c == ';') return next(State::extension_name_first);
      if (c == '\r') return next(State::size_lf);
      return chars::is_blank(c) && next(State::extension_blank);
    case State::extension_quoted:
      if (c == '"') return next(State::extension_after);
      if (c == '\\') return next(State::extension_escape);
      return chars::is_value(c);
    case State::extension_escape:
      return chars::is_value(c) && next(State::extension_quoted);
    case State::extension_after:
      if (c == ';') return next(State::extension_name_first);
      if (c == '\r') return next(State::size_lf);
      return chars::is_blank(c) && next(State::extension_blank);
    default:
      return false;
  }
  // after a name
  if (c == '=') return next(State::extension_value_first);
  if (c == ';') return next(State::extension_name_first);
  return c == '\r' && next(State::size_lf);
}

bool ChunkDecoder::end_size_line() {
  size_digits_ = 0;
  state_ = left_ == 0 ? State::trailer_first : State::data;
  return true;
}

bool ChunkDecoder::trailer_byte(char c) {
  reason_ = "trailer field is malformed";
  if (++trailer_bytes_ > limits_.trailer_bytes_max) {
    reason_ = "trailer fields are too long";
    return false;
  }
  const bool last_line = state_ == State::last_lf || (state_ == State::trailer_first && c == '\r');
  if (trailers_ && !last_line) *trailers_ += c;
  const auto next = [this](State state) {
    state_ = state;
    return true;
  };
  switch (state_) {
    case State::trailer_first:
      if (c == '\r') return next(State::last_lf);
      return chars::is_token(c) && next(State::trailer_name);
    case State::trailer_name:
      if (chars::is_token(c)) return true;
      return c == ':' && next(State::trailer_value);
    case State::trailer_value:
      if (c == '\r') return next(State::trailer_lf);
      return chars::is_value(c);
    case State::trailer_lf:
      return c == '\n' && next(State::trailer_first);
    case State::last_lf:
      return c == '\n' && next(State::done);
    default:
      return false;
  }
}

}  // namespace wick::http

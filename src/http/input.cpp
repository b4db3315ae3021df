#include "input.hpp"

#include <algorithm>
#include <cstring>

namespace wick::http {

void Input::give_block() {
  if (!block_) return;
  blocks_.give(std::move(block_));
  begin_ = end_ = 0;
  slice_ = {};
}

Io Input::try_receive() {
  if (!block_) block_ = blocks_.take();
  if (begin_ == end_) {
    begin_ = end_ = 0;
  } else if (begin_ > 0) {
    std::memmove(block_.get(), block_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  const auto got = stream_.try_read(block_.get() + end_, Blocks::block_bytes - end_);
  end_ += got.bytes;
  return got;
}

awaitable<Io> Input::receive() {
  while (true) {
    const auto got = try_receive();
    if (!got.would_block()) co_return got;
    if (end_ == 0) give_block();
    co_await stream_.readable();
  }
}

void Input::begin_body(const Framing& framing) {
  framing_ = framing;
  left_ = framing.length;
  chunks_.reset();
  decoded_ = framing.kind == BodyKind::none;
  broken_ = nullptr;
  slice_ = {};
}

std::string_view Input::slice() {
  if (!slice_.empty() || decoded_ || broken_) return slice_;
  const auto bytes = received();
  switch (framing_.kind) {
    case BodyKind::length:
      slice_ = bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size())));
      left_ -= slice_.size();
      begin_ += slice_.size();
      decoded_ = left_ == 0;
      break;
    case BodyKind::chunked: {
      const auto step = chunks_.step(bytes);
      begin_ += step.consumed;
      slice_ = step.data;
      if (step.status == ChunkDecoder::Status::done) decoded_ = true;
      if (step.status == ChunkDecoder::Status::failed) broken_ = chunks_.reason();
      break;
    }
    case BodyKind::until_close:
      slice_ = bytes;
      begin_ = end_;
      break;
    case BodyKind::none:
      break;
  }
  return slice_;
}

std::string_view Input::joined_slice() {
  if (framing_.kind != BodyKind::chunked) return slice();
  auto joined = slice();
  while (!joined.empty()) {
    slice_ = {};
    const auto next = slice();
    if (next.empty()) break;
    auto* end = const_cast<char*>(joined.data()) + joined.size();
    std::memmove(end, next.data(), next.size());
    joined = {joined.data(), joined.size() + next.size()};
  }
  slice_ = joined;
  return joined;
}

bool Input::end_of_stream() {
  if (framing_.kind != BodyKind::until_close) return decoded_;
  decoded_ = true;
  return true;
}

}  // namespace wick::http
